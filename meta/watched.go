package meta

import "sync/atomic"

// watched is a value and a channel that is closed when a newer one is there.
// State: an atomic pointer to an immutable pair.
type watched[T any] struct{ now atomic.Pointer[state[T]] }

type state[T any] struct {
	v       T
	changed chan struct{}
}

func (w *watched[T]) init(v T) { w.now.Store(&state[T]{v, make(chan struct{})}) }

func (w *watched[T]) get() (T, <-chan struct{}) {
	s := w.now.Load()
	return s.v, s.changed
}

// update replaces the value by what change makes of it; change may be called
// again when another writer was faster.
func (w *watched[T]) update(change func(T) T) {
	for {
		old := w.now.Load()
		if w.now.CompareAndSwap(old, &state[T]{change(old.v), make(chan struct{})}) {
			close(old.changed)
			return
		}
	}
}
