package logstore

// Ends says where a log ends, and what that is worth.
type Ends struct {
	Epoch   int32 // newest leader epoch that has records, -1 when none has
	End     int64 // next offset, -1: there is no log
	Flushed int64 // all below it is on disk
	Failed  bool  // it serves nothing, until a reopening mends it
	Short   bool  // it may lack records that were on disk or acknowledged, and nothing here mends that
}

// Ends tells where the log of a partition ends. Logs are recovered before.
func (s *Store) Ends(id ID) Ends {
	s.mu.RLock()
	defer s.mu.RUnlock()
	l := s.logs[id]
	if l == nil {
		return Ends{Epoch: -1, End: -1, Flushed: -1, Short: s.props.NewDirectory}
	}
	e := Ends{Flushed: l.Flushed(), End: l.End(), Short: s.props.NewDirectory || s.props.Suspects[id] != ""}
	e.Epoch = l.LastEpoch() // after the end, whose epoch might else not be known yet
	if t := l.trouble.Load(); t != nil {
		e.Short = e.Short || t.offline
		e.Failed = !t.offline
	}
	return e
}
