package broker

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

// The README's table of APIs is the table of routes.
func TestReadmeListsAPIs(t *testing.T) {
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	b := &Broker{}
	b.routes = b.routeTable()
	var want []string
	for _, a := range b.APIs() {
		want = append(want, fmt.Sprintf("| %d | %s | %d–%d |", a.Key, a.Name, a.Min, a.Max))
	}
	if !strings.Contains(string(text), strings.Join(want, "\n")) {
		t.Errorf("README.md should have:\n%s", strings.Join(want, "\n"))
	}
}
