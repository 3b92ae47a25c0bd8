package logstore

import "testing"

// Where a log ends is told with what that is worth: of one that failed, that it is out of
// service; of one that may lack records, that too.
func TestEnds(t *testing.T) {
	s, kill := still(t, t.TempDir())
	mustDo(t, s.ClearSuspects())
	told := func(want Ends) {
		t.Helper()
		if got := s.Ends(testID); got != want {
			t.Errorf("told %+v, want %+v", got, want)
		}
	}
	told(Ends{Epoch: -1, End: -1, Flushed: -1})
	l := taken(t, s, Options{FlushMessages: 1 << 60})
	told(Ends{Epoch: -1})
	var m maker
	mustDo(t, l.Append(4, []Item{{Batch: m.batch(3, 10, 1)}}))
	l.doFlush()
	mustDo(t, l.Append(7, []Item{{Batch: m.batch(2, 10, 1)}}))
	told(Ends{Epoch: 7, End: 5, Flushed: 3})
	broken(t, l)
	l.doFlush()
	told(Ends{Epoch: 7, End: 5, Flushed: 3, Failed: true})
	mustDo(t, s.suspect(testID, "for a test"))
	told(Ends{Epoch: 7, End: 5, Flushed: 3, Failed: true, Short: true})
	flip(t, l.active().path, 70)
	l.trouble.Load().next = l.trouble.Load().next.AddDate(-1, 0, 0)
	l.tryReopen()
	isShort(t, l)
	if got := s.Ends(testID); got.Failed || !got.Short {
		t.Errorf("of a log that is offline: %+v", got)
	}
	kill()
}
