package broker

import (
	"net"
	"path/filepath"
	"strconv"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// identity is a setting that makes this node what it is: it comes from the start,
// never changes, and is shown with the settings of the broker.
type identity struct {
	setting[string]
	of func(*Broker) string // "" when the node has none
}

var identities = []identity{
	{setting[string]{broker: "advertised.listeners", typ: typeString, fixed: true, doc: "Where clients are told to connect to."}, func(b *Broker) string {
		host, port := b.advertised(nil)
		return listenerText(net.JoinHostPort(host, strconv.Itoa(int(port))))
	}},
	{setting[string]{broker: "broker.id", typ: typeInt, fixed: true, doc: "The id of this broker."}, nodeIDText},
	{setting[string]{broker: "broker.rack", typ: typeString, fixed: true, doc: "The rack of this broker."}, func(b *Broker) string {
		return b.cfg.Rack
	}},
	{setting[string]{broker: "listeners", typ: typeString, fixed: true, doc: "Where this broker listens for clients."}, func(b *Broker) string {
		return listenerText(b.server.addr())
	}},
	{setting[string]{broker: "log.dirs", typ: typeString, fixed: true, doc: "Where this broker keeps everything."}, func(b *Broker) string {
		dir, err := filepath.Abs(b.cfg.DataDir)
		if err != nil {
			return b.cfg.DataDir
		}
		return dir
	}},
	{setting[string]{broker: "node.id", typ: typeInt, fixed: true, doc: "The id of this broker."}, nodeIDText},
}

func listenerText(addr string) string { return "PLAINTEXT://" + addr }

func nodeIDText(b *Broker) string { return strconv.Itoa(int(b.cfg.NodeID)) }

// identityNamed reports whether a name is one of the identities.
func identityNamed(name string) bool {
	for i := range identities {
		if identities[i].broker == name {
			return true
		}
	}
	return false
}

// identityShown are the identities of this broker.
func (b *Broker) identityShown() []shownConfig {
	var shown []shownConfig
	for i := range identities {
		id := &identities[i]
		if value := id.of(b); value != "" {
			shown = append(shown, shownConfig{id, id.broker, value, []settingSource{{id.broker, value, kmsg.ConfigSourceStaticBrokerConfig}}})
		}
	}
	return shown
}
