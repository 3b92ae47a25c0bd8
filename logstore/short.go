package logstore

import (
	"errors"
	"maps"
)

// Short says why the log of a partition may lack records that it once had on disk or
// acknowledged, "" when it does not: then a replica with this log must be neither
// leader nor in sync. pageCache says that acknowledgements of it wait for no flush,
// mayBeNew that it may not have been taken up here before. Logs are recovered before.
func (s *Store) Short(id ID, pageCache, mayBeNew bool) string {
	l := s.Log(id)
	s.mu.RLock()
	defer s.mu.RUnlock()
	switch {
	case s.props.NewDirectory:
		return "the data directory is new"
	case l == nil && mayBeNew:
		return ""
	case l == nil:
		return "the data directory does not know it"
	case s.props.OtherBoot && pageCache:
		return "the machine went down, and the topic leaves flushing to it"
	case s.props.Suspects[id] != "":
		return s.props.Suspects[id]
	}
	if t := l.trouble.Load(); t != nil && t.offline {
		return t.err.Error()
	}
	return ""
}

// ClearSuspects forgets durably what may be short: everyone who relied on those logs
// knows. Logs that are out of service stay so.
func (s *Store) ClearSuspects() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.props.NewDirectory && !s.props.OtherBoot && len(s.props.Suspects) == 0 {
		return nil
	}
	cleared := *s.props
	cleared.NewDirectory, cleared.OtherBoot, cleared.Suspects = false, false, nil
	if err := cleared.write(s.cfg.Dir); err != nil {
		return err
	}
	s.props = &cleared
	return nil
}

// Doubtful are the logs that have stopped, are damaged or became suspect, in this life too.
func (s *Store) Doubtful() []ID {
	s.mu.RLock()
	defer s.mu.RUnlock()
	var ids []ID
	for id, l := range s.logs {
		if errors.Is(l.Err(), ErrPoisoned) || l.Damage() != nil || s.props.Suspects[id] != "" {
			ids = append(ids, id)
		}
	}
	return ids
}

// IsSuspect reports whether a log became suspect.
func (s *Store) IsSuspect(id ID) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.props.Suspects[id] != ""
}

// ClearSuspect is ClearSuspects for one log.
func (s *Store) ClearSuspect(id ID) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.props.Suspects[id] == "" {
		return nil
	}
	cleared := *s.props
	cleared.Suspects = maps.Clone(cleared.Suspects)
	delete(cleared.Suspects, id)
	if err := cleared.write(s.cfg.Dir); err != nil {
		return err
	}
	s.props = &cleared
	return nil
}

// Offline reports whether the log is out of service until it is rebuilt.
func (l *Log) Offline() bool {
	t := l.trouble.Load()
	return t != nil && t.offline && errors.Is(t.err, ErrPoisoned)
}

// NameAll has the checkpoint name the logs, durably when it returns: a log that is
// lost later is told from one that never was. Logs are taken up before.
func (s *Store) NameAll(ids []ID) error {
	for _, id := range ids {
		if l := s.Log(id); l != nil && !l.named.Load() {
			return s.writeCheckpoint()
		}
	}
	return nil
}

// Named reports whether the checkpoint on disk names the log.
func (l *Log) Named() bool { return l.named.Load() }
