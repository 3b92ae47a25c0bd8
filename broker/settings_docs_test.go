package broker

import (
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"testing"
)

var rewrite = flag.Bool("rewrite", false, "write docs/settings.md instead of comparing it")

const settingsDocs = "../docs/settings.md"

// The page of settings is the tables of settings.
func TestSettingsDocs(t *testing.T) {
	want := settingsPage()
	if *rewrite {
		if err := os.WriteFile(settingsDocs, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(settingsDocs)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != want {
		t.Errorf("docs/settings.md is not what the tables say: go test ./broker -run TestSettingsDocs -rewrite")
	}
}

func settingsPage() string {
	var p strings.Builder
	p.WriteString(`# Settings

Written from the tables in ` + "`broker/settings*.go`" + `. A setting that is accepted is enforced; anything else is refused by name.

A topic has its own value (` + "`chronik topic create --config`, `chronik topic alter`" + `, any admin client), else that of its broker.
A broker has the value that was changed for it while it runs, else the one that was changed for all brokers, else that of
` + "`--set` or `--config`" + `, else the default. Changes are in force when they are answered. Read-only settings are read at the start.
Times are in ms, sizes in bytes.

## Topics

| topic setting | broker-wide default | type | default | |
|---|---|---|---|---|
`)
	for _, row := range settingTable {
		if row.topicKey() != "" {
			fmt.Fprintf(&p, "| %s | %s | %s | %s | %s |\n", row.topicKey(), row.brokerKey(), typeText(row), row.defaultText(), row.help())
		}
	}
	p.WriteString("\nKafka's log.retention.minutes, log.retention.hours and log.roll.hours are taken at the start; the finer unit wins.\n")
	p.WriteString("\nRefused, though Kafka's topics have them:\n\n")
	for _, name := range slices.Sorted(maps.Keys(refusedTopicSettings)) {
		fmt.Fprintf(&p, "- %s: %s\n", name, refusedTopicSettings[name])
	}
	p.WriteString("\n## Brokers\n\n| setting | type | default | |\n|---|---|---|---|\n")
	for _, row := range settingTable {
		if row.topicKey() != "" {
			continue
		}
		help := row.help()
		if row.readOnly() {
			help += " Read-only."
		}
		fmt.Fprintf(&p, "| %s | %s | %s | %s |\n", row.brokerKey(), typeText(row), row.defaultText(), help)
	}
	p.WriteString("\nShown, and given by flags or the file: ")
	var names []string
	for i := range identities {
		names = append(names, identities[i].broker)
	}
	p.WriteString(strings.Join(names, ", ") + ".\n\nTaken from a `server.properties` without a meaning here (* is anything):\n\n")
	for _, name := range slices.Sorted(slices.Values(ignoredSettings)) {
		fmt.Fprintf(&p, "- %s\n", name)
	}
	return p.String()
}

func typeText(row settingRow) string { return strings.ToLower(row.configType().String()) }
