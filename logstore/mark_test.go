package logstore

import (
	"errors"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// woken counts the calls of a Waiter's Waker.
type woken struct {
	Waiter
	times atomic.Int32
	err   atomic.Pointer[error]
	done  func()
}

func (w *woken) Wake(err error) {
	w.err.Store(&err)
	w.times.Add(1)
	if w.done != nil {
		w.done()
	}
}

func waitAt(m *Mark, at int64) *woken {
	w := &woken{}
	w.Waiter = Waiter{At: at, Waker: w}
	m.Wait(&w.Waiter)
	return w
}

func TestMarkWakesInAnyOrderOfWaiting(t *testing.T) {
	for seed := range uint64(50) {
		r := rand.New(rand.NewPCG(seed, 1))
		var m Mark
		var ws []*woken
		for range 40 {
			ws = append(ws, waitAt(&m, r.Int64N(20)))
		}
		for v := int64(0); v < 20; v += r.Int64N(4) {
			m.advance(v)
			for _, w := range ws {
				want := int32(0)
				if w.At <= v {
					want = 1
				}
				if got := w.times.Load(); got != want {
					t.Fatalf("seed %d: mark %d: waiter at %d was woken %d times, not %d", seed, v, w.At, got, want)
				}
			}
		}
	}
}

func TestMarkIsMonotonic(t *testing.T) {
	var m Mark
	m.advance(10)
	m.advance(3)
	if m.Load() != 10 {
		t.Fatalf("mark %d after 10 and then 3", m.Load())
	}
	m.reset(3)
	if m.Load() != 3 {
		t.Fatalf("mark %d after reset to 3", m.Load())
	}
}

func TestMarkCancel(t *testing.T) {
	var m Mark
	ws := []*woken{waitAt(&m, 5), waitAt(&m, 7), waitAt(&m, 6)}
	if !m.Cancel(&ws[2].Waiter) {
		t.Fatal("a waiting waiter could not be cancelled")
	}
	if m.Cancel(&ws[2].Waiter) {
		t.Fatal("a waiter was cancelled twice")
	}
	m.advance(6)
	if m.Cancel(&ws[0].Waiter) {
		t.Fatal("a woken waiter was cancelled")
	}
	m.advance(100)
	for i, want := range []int32{1, 1, 0} {
		if got := ws[i].times.Load(); got != want {
			t.Errorf("waiter %d woken %d times, not %d", i, got, want)
		}
	}
}

func TestMarkFail(t *testing.T) {
	var m Mark
	boom := errors.New("boom")
	m.advance(4)
	w := waitAt(&m, 5)
	m.fail(boom)
	late, reached := waitAt(&m, 5), waitAt(&m, 4)
	for i, x := range []*woken{w, late} {
		if x.times.Load() != 1 || !errors.Is(*x.err.Load(), boom) {
			t.Errorf("waiter %d: %d times", i, x.times.Load())
		}
	}
	if reached.times.Load() != 1 || *reached.err.Load() != nil {
		t.Error("what the mark had reached before the failure is an error")
	}
	m.reset(5)
	if again := waitAt(&m, 5); again.times.Load() != 1 || *again.err.Load() != nil {
		t.Error("the failure outlives reset")
	}
}

func TestMarkAllocatesNothing(t *testing.T) {
	var m Mark
	ws := make([]*woken, 64)
	for i := range ws {
		ws[i] = &woken{}
		ws[i].Waker = ws[i]
	}
	end := int64(0)
	allocs := testing.AllocsPerRun(100, func() {
		for i, w := range ws {
			w.At = end + int64(i%7)
			m.Wait(&w.Waiter)
		}
		end += 10
		m.advance(end)
	})
	if allocs > float64(len(ws))+1 { // the test's own Wake keeps the error's address
		t.Errorf("%v allocations for %d waits", allocs, len(ws))
	}
}

// Every waiter is woken exactly once, however waiting, cancelling and advancing cross.
func TestMarkConcurrently(t *testing.T) {
	const rounds = 500
	var m Mark
	var waiters, movers sync.WaitGroup
	var stop atomic.Bool
	for g := range uint64(4) {
		waiters.Go(func() {
			r := rand.New(rand.NewPCG(g, 2))
			for range rounds {
				waitOrCancel(t, &m, r)
			}
		})
	}
	for range 2 {
		movers.Go(func() {
			for !stop.Load() {
				m.advance(m.Load() + 1)
				runtime.Gosched()
			}
		})
	}
	waiters.Wait()
	stop.Store(true)
	movers.Wait()
	if m.first != nil || m.last != nil || m.lowest.Load() != 0 {
		t.Error("someone is still listed")
	}
}

func waitOrCancel(t *testing.T, m *Mark, r *rand.Rand) {
	done := make(chan struct{})
	w := &woken{done: func() { close(done) }}
	w.Waiter = Waiter{At: m.Load() + r.Int64N(4), Waker: w}
	m.Wait(&w.Waiter)
	if r.IntN(4) == 0 && m.Cancel(&w.Waiter) {
		if w.times.Load() != 0 {
			t.Error("cancelled and woken")
		}
		return
	}
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Errorf("waiter at %d sleeps while the mark is %d", w.At, m.Load())
		return
	}
	if m.Load() < w.At || w.times.Load() != 1 {
		t.Errorf("woken %d times at %d for %d", w.times.Load(), m.Load(), w.At)
	}
}

func TestMarkFailsWhileWaiting(t *testing.T) {
	boom := errors.New("boom")
	for range 200 {
		var m Mark
		var wg sync.WaitGroup
		ws := make([]*woken, 4)
		for i := range ws {
			wg.Go(func() { ws[i] = waitAt(&m, int64(i+1)) })
		}
		wg.Go(func() { m.advance(2) })
		wg.Go(func() { m.fail(boom) })
		wg.Wait()
		if i := slices.IndexFunc(ws, func(w *woken) bool { return w.times.Load() != 1 }); i >= 0 {
			t.Fatalf("waiter %d woken %d times", i, ws[i].times.Load())
		}
	}
}

// A single advance that crosses a single Wait is never missed.
func TestMarkAdvanceCrossesWait(t *testing.T) {
	const rounds = 20_000
	var m Mark
	var turn, back atomic.Int64 // two goroutines meet at each round, and after it
	var wg sync.WaitGroup
	wg.Go(func() {
		for i := int64(1); i <= rounds; i++ {
			for turn.Load() < i {
				runtime.Gosched()
			}
			m.advance(i)
			back.Store(i)
		}
	})
	missed := 0
	for i := int64(1); i <= rounds; i++ {
		w := &woken{}
		w.Waiter = Waiter{At: i, Waker: w}
		turn.Store(i)
		for range i % 64 { // another place of the crossing each time
			_ = m.Load()
		}
		m.Wait(&w.Waiter)
		for back.Load() < i {
			runtime.Gosched()
		}
		if w.times.Load() != 1 {
			missed++
		}
	}
	wg.Wait()
	if missed > 0 {
		t.Errorf("%d of %d waiters were missed", missed, rounds)
	}
}
