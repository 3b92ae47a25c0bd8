package logstore

import (
	"os"
	"path/filepath"
	"testing"
)

// What may be short is told until everyone knows, over starts.
func TestShort(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	if s.Short(testID, false, true) == "" {
		t.Error("a log in a new directory is trusted")
	}
	stop(true)
	s, stop = running(t, dir)
	if s.Short(testID, false, true) == "" {
		t.Error("a second start forgot that the directory is new")
	}
	mustDo(t, s.ClearSuspects())
	if why := s.Short(testID, false, true); why != "" {
		t.Errorf("it may be new: %s", why)
	}
	if s.Short(testID, false, false) == "" {
		t.Error("a log that was there once and is not known is trusted")
	}
	l := taken(t, s, Options{})
	var m maker
	written(t, l, &m, 5)
	reached(t, l.AckedMark(), 10)
	mustDo(t, s.NameAll([]ID{testID}))
	if why := s.Short(testID, true, false); why != "" {
		t.Errorf("nothing happened: %s", why)
	}
	mustDo(t, s.suspect(testID, "cut"))
	if s.Short(testID, false, false) != "cut" || len(s.Doubtful()) != 1 {
		t.Errorf("a suspect log: %q, %v", s.Short(testID, false, false), s.Doubtful())
	}
	mustDo(t, s.ClearSuspect(testID))
	s.props.OtherBoot = true
	if s.Short(testID, true, false) == "" || s.Short(testID, false, false) != "" {
		t.Error("after another boot only what leaves flushing to the page cache is in doubt")
	}
	s.props.OtherBoot = false
	stop(true)

	mustDo(t, os.RemoveAll(filepath.Join(dir, logsName, testID.String())))
	s, stop = running(t, dir)
	if s.Short(testID, false, true) == "" || !s.Log(testID).Offline() || len(s.Doubtful()) != 1 {
		t.Errorf("a log whose files are gone: %q", s.Short(testID, false, true))
	}
	stop(false)
}

// A log that was named is known by the next start, though it never had a record.
func TestNameAll(t *testing.T) {
	dir := t.TempDir()
	s, stop := running(t, dir)
	mustDo(t, s.ClearSuspects())
	taken(t, s, Options{})
	mustDo(t, s.NameAll([]ID{testID}))
	stop(false)
	s, stop = running(t, dir)
	if why := s.Short(testID, false, false); why != "" {
		t.Error(why)
	}
	stop(true)
}
