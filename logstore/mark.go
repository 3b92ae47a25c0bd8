package logstore

import (
	"math"
	"sync"
	"sync/atomic"
)

// A Mark is an offset that grows (a log end, an acknowledged end) and the waiters for it.
// Load and an advance that nobody waits for are single atomic operations.
type Mark struct {
	v      atomic.Int64
	lowest atomic.Int64 // math.MaxInt64 - (smallest At waited for); 0 while nobody waits

	mu          sync.Mutex // guards what follows, and every link of a listed waiter
	first, last *Waiter    // ordered by At
	err         error      // why nothing more will come; nil while the log lives
}

// A Waiter waits for one offset of one Mark. It is embedded in the object that waits, so that
// waiting allocates nothing. It may be used again after it was woken, or after Cancel said true.
type Waiter struct {
	At    int64 // wakes once the mark is at or above it
	Waker Waker

	prev, next *Waiter
	listed     bool
}

// A Waker is told, exactly once for each Wait that was not cancelled, that its mark has come
// (nil) or never will (the log's error). It is called without any lock of this package held,
// by whoever moves the mark, and must not block.
type Waker interface{ Wake(err error) }

// Load returns the mark.
func (m *Mark) Load() int64 { return m.v.Load() }

// Wait has w woken when the mark reaches w.At: in this very call if it already has, or if the
// log has failed.
func (m *Mark) Wait(w *Waiter) {
	if m.v.Load() >= w.At {
		w.Waker.Wake(nil)
		return
	}
	m.mu.Lock()
	if m.err != nil {
		err := m.err
		m.mu.Unlock()
		w.Waker.Wake(err)
		return
	}
	m.insert(w)
	// An advance that came before this store did not see w; the load after it sees that advance.
	m.publishLowest()
	due := m.takeDue(m.v.Load())
	m.mu.Unlock()
	wakeAll(due, nil)
}

// Cancel takes w back. False says that w was woken or is being woken: its Waker has been or
// will be called, and w must not be used again before that.
func (m *Mark) Cancel(w *Waiter) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !w.listed {
		return false
	}
	m.unlink(w)
	m.publishLowest()
	return true
}

// advance moves the mark up to v and wakes who waited for it; a lower v changes nothing.
func (m *Mark) advance(v int64) {
	if m.raise(v) {
		m.notify()
	}
}

// raise moves the mark up to v and leaves the waking to notify, for a caller that holds a lock.
func (m *Mark) raise(v int64) bool {
	for {
		old := m.v.Load()
		if v <= old {
			return false
		}
		if m.v.CompareAndSwap(old, v) {
			return true
		}
	}
}

// notify wakes who waits for what the mark has reached.
func (m *Mark) notify() {
	if low := m.lowest.Load(); low != 0 && math.MaxInt64-low <= m.v.Load() {
		m.wakeDue()
	}
}

// Raise moves a mark that is not a log's own up to v; a lower v changes nothing. The caller may hold
// locks, and calls Notify when it holds none.
func (m *Mark) Raise(v int64) { m.raise(v) }

// Notify wakes who waits for what the mark has reached.
func (m *Mark) Notify() { m.notify() }

// Fail wakes every waiter of a mark that is not a log's own with err, and whoever will wait.
func (m *Mark) Fail(err error) { m.fail(err) }

// Dismiss wakes every waiter with err. Who waits later is not concerned.
func (m *Mark) Dismiss(err error) { m.lose(err, false) }

// fail wakes every waiter with err, now and at each later Wait, until reset.
func (m *Mark) fail(err error) { m.lose(err, true) }

// lose wakes who waits for what is there, and with err who waits for more; lasting concerns who
// comes later, too.
func (m *Mark) lose(err error, lasting bool) {
	m.mu.Lock()
	if lasting {
		m.err = err
	}
	due := m.takeDue(m.v.Load())
	lost := m.first
	for w := lost; w != nil; w = w.next {
		w.listed = false
	}
	m.first, m.last = nil, nil
	m.publishLowest()
	m.mu.Unlock()
	wakeAll(due, nil)
	wakeAll(lost, err)
}

// reset sets the mark, downwards too, and ends a failure: for a log that was opened, truncated
// or opened again. The caller keeps advance away meanwhile, and notifies once it holds no lock.
func (m *Mark) reset(v int64) {
	m.mu.Lock()
	m.err = nil
	m.v.Store(v)
	m.mu.Unlock()
}

func (m *Mark) wakeDue() {
	m.mu.Lock()
	due := m.takeDue(m.v.Load())
	m.publishLowest()
	m.mu.Unlock()
	wakeAll(due, nil)
}

// insert keeps the order; who comes later mostly waits for more, so it looks from the end.
func (m *Mark) insert(w *Waiter) {
	after := m.last
	for after != nil && after.At > w.At {
		after = after.prev
	}
	w.prev, w.listed = after, true
	if after == nil {
		w.next, m.first = m.first, w
	} else {
		w.next, after.next = after.next, w
	}
	if w.next == nil {
		m.last = w
	} else {
		w.next.prev = w
	}
}

func (m *Mark) unlink(w *Waiter) {
	if w.prev == nil {
		m.first = w.next
	} else {
		w.prev.next = w.next
	}
	if w.next == nil {
		m.last = w.prev
	} else {
		w.next.prev = w.prev
	}
	w.prev, w.next, w.listed = nil, nil, false
}

// takeDue cuts off the waiters at or below v and returns their chain.
func (m *Mark) takeDue(v int64) *Waiter {
	due := m.first
	var lastDue *Waiter
	for w := due; w != nil && w.At <= v; w = w.next {
		w.listed, lastDue = false, w
	}
	if lastDue == nil {
		return nil
	}
	m.first = lastDue.next
	if m.first == nil {
		m.last = nil
	} else {
		m.first.prev = nil
	}
	lastDue.next = nil
	m.publishLowest()
	return due
}

func (m *Mark) publishLowest() {
	if m.first == nil {
		m.lowest.Store(0)
		return
	}
	m.lowest.Store(math.MaxInt64 - max(m.first.At, 0))
}

// wakeAll reads each link before its waiter is woken: from then on it is its owner's again.
func wakeAll(w *Waiter, err error) {
	for w != nil {
		next := w.next
		w.prev, w.next = nil, nil
		w.Waker.Wake(err)
		w = next
	}
}
