package logstore

import "errors"

// tryReopen brings a poisoned log back once its wait is over and the disk has space: cut to its
// flushed end, then recovered as after a crash.
func (l *Log) tryReopen() {
	t := l.trouble.Load()
	if t == nil {
		return
	}
	l.tell() // has happened when the log is reopened
	now := l.store.cfg.Now()
	if t.offline || now.Before(t.next) || l.store.disk.full.Load() {
		return
	}
	if err := l.reopen(); err != nil {
		wait := min(2*t.wait, reopenAtMost)
		l.trouble.CompareAndSwap(t, &trouble{err: t.err, wait: wait, next: now.Add(wait), told: t.told})
		l.store.log.Warn("log not reopened", "log", l.id, "again", wait, "err", err)
		return
	}
	if l.Err() != nil {
		return // deleted, or offline: logged there
	}
	l.mended.Store(&trouble{wait: t.wait, next: now})
	l.written.notify()
	l.acked.notify()
	l.store.log.Info("log reopened", "log", l.id, "end", l.End())
	if l.store.cfg.OnReopen != nil {
		l.store.cfg.OnReopen(l.id)
	}
}

func (l *Log) reopen() error {
	l.store.checkpoint.mu.Lock()
	defer l.store.checkpoint.mu.Unlock()
	l.flush.mu.Lock()
	defer l.flush.mu.Unlock()
	l.mu.Lock()
	defer l.mu.Unlock()
	defer l.guard()
	if t := l.trouble.Load(); t == nil || t.offline {
		return nil
	}
	l.store.caches.discard(*l.segs.Load())
	saved, named := l.store.checkpoint.at[l.id]
	r := recovery{l: l, known: known{from: saved.position, start: l.start.Load(), named: named, floor: saved.Offset}}
	if l.w.served {
		at := l.flush.at()
		r.limit, r.floor, r.named = &at, at.Offset, true
	}
	err := r.run()
	l.w.fenced = l.w.epoch // an offset names one record in an epoch for ever
	if errors.Is(err, errShort) {
		l.offline(err)
		return nil
	}
	return err
}

// suspect notes durably that a log may be short.
func (s *Store) suspect(id ID, why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, ok := s.props.Suspects[id]; ok {
		return nil
	}
	if s.props.Suspects == nil {
		s.props.Suspects = map[ID]string{}
	}
	s.props.Suspects[id] = why
	return s.props.write(s.cfg.Dir)
}
