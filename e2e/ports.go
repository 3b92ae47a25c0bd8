package e2e

import (
	"fmt"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
)

// portsGiven are those that were found before: who has one may not listen yet, or be down.
var portsGiven sync.Map

// freePorts finds ports that nothing uses.
func freePorts(t testing.TB, n int) []string {
	t.Helper()
	var found []string
	for range n {
		found = append(found, fmt.Sprintf("127.0.0.1:%d", freePortsInARow(t, 1)))
	}
	return found
}

// freePortsInARow finds n ports that nothing uses, and returns the first. They lie below
// the range of outgoing connections, one of which could else take a node's port while the
// node is down.
func freePortsInARow(t testing.TB, n int) int {
	t.Helper()
	for range 1000 {
		first, given := 12000+rand.IntN(20000), 0
		for given < n && givePort(first+given) {
			given++
		}
		if given == n {
			return first
		}
	}
	t.Fatal("no free port found")
	return 0
}

// givePort reports whether nothing uses a port and nobody was given it before.
func givePort(port int) bool {
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
	if err != nil {
		return false
	}
	l.Close()
	_, given := portsGiven.LoadOrStore(port, true)
	return !given
}
