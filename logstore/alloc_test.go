//go:build !race

package logstore

import "testing"

// An append of a batch allocates nothing once the log has been written to.
func TestAppendAllocatesNothing(t *testing.T) {
	s, kill := still(t, t.TempDir())
	l := taken(t, s, Options{FlushMessages: 1 << 60, IndexIntervalBytes: 1 << 20})
	var m maker
	items := []Item{{Batch: m.batch(1, 1000, 1)}, {Batch: m.batch(1, 1000, 1)}}
	mustDo(t, l.Append(0, items))
	if n := testing.AllocsPerRun(200, func() { mustDo(t, l.Append(0, items)) }); n >= 1 {
		t.Errorf("%v allocations for an append", n)
	}
	kill()
}
