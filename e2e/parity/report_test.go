//go:build parity

package parity

import (
	"cmp"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
)

// difference is one leaf that the brokers do not agree on, in one or more versions.
type difference struct {
	scene, path string // scene is "API/name"
	kafka, ours string
	versions    []int16
}

const absent = "(absent)"

// differ compares two lists of leaves. Below an element that is absent on one side
// nothing is listed, and beside an outcome or an error code that differs nothing else.
func differ(kafka, ours []leaf) []difference {
	left, right := values(kafka), values(ours)
	var found []difference
	var beyond []string // what is below these is not compared
	for _, l := range slices.Concat(kafka, ours) {
		a, b := cmp.Or(left[l.path], absent), cmp.Or(right[l.path], absent)
		if a == b {
			continue
		}
		for _, decides := range []string{"outcome", "ErrorCode"} {
			if parent, ok := strings.CutSuffix(l.path, decides); ok && (decides == "outcome" || a != absent && b != absent) {
				beyond = append(beyond, parent)
			}
		}
		if a == absent || b == absent || a == "some" || b == "some" {
			beyond = append(beyond, l.path+".", l.path+"[")
		}
	}
	for _, l := range slices.Concat(kafka, ours) {
		a, b := cmp.Or(left[l.path], absent), cmp.Or(right[l.path], absent)
		below := func(parent string) bool {
			return strings.HasPrefix(l.path, parent) && l.path != parent+"ErrorCode" && l.path != parent+"outcome"
		}
		again := func(d difference) bool { return d.path == l.path }
		if a != b && !slices.ContainsFunc(beyond, below) && !slices.ContainsFunc(found, again) {
			found = append(found, difference{path: l.path, kafka: a, ours: b})
		}
	}
	return found
}

func values(leaves []leaf) map[string]string {
	m := make(map[string]string, len(leaves))
	for _, l := range leaves {
		m[l.path] = l.value
	}
	return m
}

// String is what a person reads: the scene, the versions, the field, both answers.
func (d difference) String() string {
	return fmt.Sprintf("%s %s: %s", d.scene, span(d.versions), d.answers())
}

func (d difference) answers() string {
	return fmt.Sprintf("%s: kafka %s, chronik %s", d.path, d.kafka, d.ours)
}

func span(versions []int16) string {
	low, high := slices.Min(versions), slices.Max(versions)
	switch {
	case low == high:
		return fmt.Sprintf("v%d", low)
	case len(versions) == int(high-low)+1:
		return fmt.Sprintf("v%d–%d", low, high)
	default:
		return fmt.Sprintf("v%v", versions)
	}
}

// merge joins what differs in the same way in several versions.
func merge(all []difference) []difference {
	var merged []difference
	for _, d := range all {
		same := func(m difference) bool {
			return m.scene == d.scene && m.path == d.path && m.kafka == d.kafka && m.ours == d.ours
		}
		if i := slices.IndexFunc(merged, same); i >= 0 {
			merged[i].versions = append(merged[i].versions, d.versions...)
		} else {
			merged = append(merged, d)
		}
	}
	return merged
}

// intended is a line of parity.md: scene and field are patterns in which * stands for
// any text and {a,b} for one of some. field may go on with what the brokers answer, as
// difference prints it.
type intended struct {
	scene, field *regexp.Regexp
	line         string
	used         bool
}

// readIntended reads the table of parity.md: | `scene` | `field` | why |
func readIntended(path string) ([]*intended, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	return parseIntended(string(text))
}

func parseIntended(text string) ([]*intended, error) {
	var all []*intended
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "| `") {
			continue
		}
		cells := strings.Split(strings.Trim(strings.TrimSpace(line), "|"), "|")
		if len(cells) != 3 || strings.TrimSpace(cells[2]) == "" {
			return nil, fmt.Errorf("want | `scene` | `field` | why |: %s", line)
		}
		all = append(all, &intended{scene: pattern(cells[0]), field: pattern(cells[1]), line: strings.TrimSpace(line)})
	}
	return all, nil
}

func pattern(cell string) *regexp.Regexp {
	text := regexp.QuoteMeta(strings.Trim(strings.TrimSpace(cell), "`"))
	text = strings.ReplaceAll(text, `\*`, ".*")
	text = regexp.MustCompile(`\\\{.*?\\\}`).ReplaceAllStringFunc(text, func(one string) string {
		return "(" + strings.ReplaceAll(one[2:len(one)-2], ",", "|") + ")"
	})
	return regexp.MustCompile("^" + text + "$")
}

// unintended leaves out what parity.md lists.
func unintended(all []difference, list []*intended) []difference {
	return slices.DeleteFunc(all, func(d difference) bool {
		for _, i := range list {
			if i.scene.MatchString(d.scene) && (i.field.MatchString(d.path) || i.field.MatchString(d.answers())) {
				i.used = true
				return true
			}
		}
		return false
	})
}
