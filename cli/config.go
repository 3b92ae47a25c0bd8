package cli

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strconv"
	"strings"

	"chronik/broker"
)

// property is one setting of a file, with the line it begins on.
type property struct {
	name, value string
	line        int
}

// readProperties reads Java's properties form: name=value, name:value or name
// value, # and ! begin comments, a backslash at the end continues a line.
func readProperties(r io.Reader) ([]property, error) {
	var props []property
	lines := bufio.NewScanner(r)
	number, from := 0, 0
	var logical strings.Builder
	for lines.Scan() {
		number++
		text := strings.TrimLeft(lines.Text(), " \t\f")
		if logical.Len() == 0 {
			from = number
			if text == "" || text[0] == '#' || text[0] == '!' {
				continue
			}
		}
		if slashes := len(text) - len(strings.TrimRight(text, `\`)); slashes%2 == 1 {
			logical.WriteString(text[:len(text)-1])
			continue
		}
		logical.WriteString(text)
		p, err := parseProperty(logical.String())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", from, err)
		}
		p.line = from
		props = append(props, p)
		logical.Reset()
	}
	if logical.Len() > 0 {
		return nil, fmt.Errorf("line %d: the file ends in a continued line", from)
	}
	return props, lines.Err()
}

// parseProperty splits one logical line and undoes its escapes.
func parseProperty(text string) (property, error) {
	end := len(text)
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' {
			i++
			continue
		}
		if strings.IndexByte("=: \t\f", text[i]) >= 0 {
			end = i
			break
		}
	}
	value := strings.TrimLeft(text[end:], " \t\f")
	if value != "" && (value[0] == '=' || value[0] == ':') {
		value = strings.TrimLeft(value[1:], " \t\f")
	}
	name, err := unescape(text[:end])
	if err != nil {
		return property{}, err
	}
	value, err = unescape(value)
	return property{name: name, value: strings.TrimRight(value, " \t\r")}, err
}

func unescape(s string) (string, error) {
	if !strings.Contains(s, `\`) {
		return s, nil
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i == len(s)-1 {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		case 'f':
			b.WriteByte('\f')
		case 'u':
			if len(s) < i+5 {
				return "", errors.New(`\u needs four digits`)
			}
			n, err := strconv.ParseUint(s[i+1:i+5], 16, 16)
			if err != nil {
				return "", fmt.Errorf(`\u%s is no character`, s[i+1:i+5])
			}
			b.WriteRune(rune(n))
			i += 4
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String(), nil
}

// nodeSettings is what a file says of a node: fields of its Config, and settings.
type nodeSettings struct {
	config   broker.Config
	ids      map[string]int32 // node.id and broker.id, as far as they are set
	settings map[string]string
	ignored  []string
}

// nodeNames are the names of Kafka that are fields of a node here.
var nodeNames = map[string]func(*broker.Config, string) error{
	"node.id":              setNodeID,
	"broker.id":            setNodeID,
	"broker.rack":          func(c *broker.Config, v string) error { c.Rack = v; return nil },
	"log.dir":              setDataDir,
	"log.dirs":             setDataDir,
	"listeners":            func(c *broker.Config, v string) (err error) { c.Listen, err = clientListener(v); return err },
	"advertised.listeners": func(c *broker.Config, v string) (err error) { c.Advertise, err = clientListener(v); return err },
}

func setNodeID(c *broker.Config, v string) error {
	id, err := strconv.ParseInt(v, 10, 32)
	if err != nil || id < 1 {
		return fmt.Errorf("%q is no node id: it is a number from 1 on", v)
	}
	c.NodeID = int32(id)
	return nil
}

// sameID refuses two ids: node.id and broker.id are names of one setting.
func (n *nodeSettings) sameID(name string) error {
	if n.ids == nil {
		n.ids = map[string]int32{}
	}
	n.ids[name] = n.config.NodeID
	node, broker := n.ids["node.id"], n.ids["broker.id"]
	if node != 0 && broker != 0 && node != broker {
		return fmt.Errorf("node.id=%d and broker.id=%d differ: both name the id of this node, set one", node, broker)
	}
	return nil
}

func setDataDir(c *broker.Config, v string) error {
	if strings.Contains(v, ",") {
		return errors.New("several log directories are not supported: name one")
	}
	c.DataDir = v
	return nil
}

// clientListener takes the one listener for clients out of Kafka's list. The
// controller's has no meaning here.
func clientListener(list string) (string, error) {
	var found []string
	for l := range strings.SplitSeq(list, ",") {
		name, addr, ok := strings.Cut(strings.TrimSpace(l), "://")
		if !ok {
			return "", fmt.Errorf("%q is no listener: it is like PLAINTEXT://host:port", l)
		}
		switch {
		case strings.EqualFold(name, "CONTROLLER"):
			continue
		case strings.HasPrefix(strings.ToUpper(name), "SSL"), strings.HasPrefix(strings.ToUpper(name), "SASL"):
			return "", fmt.Errorf("listener %s: TLS and SASL are not supported yet", l)
		}
		if strings.HasPrefix(addr, ":") {
			addr = "0.0.0.0" + addr
		}
		found = append(found, addr)
	}
	if len(found) != 1 {
		return "", fmt.Errorf("%q has %d listeners for clients: exactly one is supported", list, len(found))
	}
	return found[0], nil
}

// loadConfig reads a properties file. A name that is neither enforced nor known
// to be without meaning here is refused.
func loadConfig(path string) (*nodeSettings, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("--config: %w", err)
	}
	defer f.Close()
	props, err := readProperties(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	n := &nodeSettings{settings: map[string]string{}}
	for _, p := range props {
		if err := n.set(p.name, p.value); err != nil {
			return nil, fmt.Errorf("%s line %d: %w", path, p.line, err)
		}
	}
	return n, nil
}

// set takes one setting by its name.
func (n *nodeSettings) set(name, value string) error {
	if field := nodeNames[name]; field != nil {
		if err := field(&n.config, value); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if name == "node.id" || name == "broker.id" {
			return n.sameID(name)
		}
		return nil
	}
	switch {
	case broker.KnownSetting(name):
		if err := broker.CheckSetting(name, value); err != nil {
			return err
		}
		n.settings[name] = value
		return nil
	case broker.IgnoredSetting(name):
		n.ignored = append(n.ignored, name)
		return nil
	}
	err := fmt.Errorf("unknown setting %s", name)
	if near := nearest(name); near != "" {
		err = fmt.Errorf("%w: did you mean %s?", err, near)
	}
	return err
}

func nearest(name string) string {
	if near := broker.NearestSetting(name); near != "" {
		return near
	}
	for _, known := range slices.Sorted(maps.Keys(nodeNames)) {
		if strings.Trim(known, "s") == strings.Trim(name, "s") || strings.ReplaceAll(known, ".", "") == strings.ReplaceAll(name, ".", "") {
			return known
		}
	}
	return ""
}
