package broker

import (
	"testing"
	"time"
)

// A leader that owes an answer is silent as long as nothing of it comes.
func TestFetchClock(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(1000, 0).Add(time.Duration(s) * time.Second) }
	var c fetchClock
	want := func(what string, now, seconds int) {
		t.Helper()
		if got := c.owedFor(at(now)); got != time.Duration(seconds)*time.Second {
			t.Errorf("%s: %v, want %d s", what, got, seconds)
		}
	}
	c.moves(at(1))
	want("nothing is owed", 9, 0)
	c.start(at(10))
	c.start(at(12))
	want("from the first request", 14, 4)
	c.moves(at(14))
	want("something came", 17, 3)
	c.stop()
	want("all came", 20, 0)
}
