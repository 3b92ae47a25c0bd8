package broker

import "sync/atomic"

// watched is a value and a channel that is closed at its next change. It
// composes with ctx and timers. One goroutine sets it; any may read.
type watched[T any] struct{ now atomic.Pointer[state[T]] }

type state[T any] struct {
	v       T
	changed chan struct{}
}

func (w *watched[T]) set(v T) {
	old := w.now.Swap(&state[T]{v: v, changed: make(chan struct{})})
	if old != nil {
		close(old.changed)
	}
}

func (w *watched[T]) get() (T, <-chan struct{}) {
	s := w.now.Load()
	return s.v, s.changed
}
