package broker

import (
	"slices"
	"sync"
	"time"

	"chronik/logstore"
)

// hotSet are the partitions of a session of which there may be something to tell, in
// the order in which they are served next. The others wait for their logs to grow, so
// that a fetch costs what has changed and not what the session holds. The session's
// mu guards it.
type hotSet struct {
	hot      []*fetchPartition
	named    []*fetchPartition // by the last request
	requests int64
	version  int64     // of the broker, when all were hot
	noted    int64     // the same, at the last request that counted for all
	at       time.Time // of that
	ended    bool
}

// fetchInbox gathers the partitions whose logs have grown.
type fetchInbox struct {
	mu      sync.Mutex
	grown   []*fetchPartition
	waiting *answers // of the connection that waits, nil when none does
}

// fetchWatch is a partition's place in its session.
type fetchWatch struct {
	inbox  *fetchInbox
	hot    bool
	gone   bool  // from the session
	born   int64 // the request that named it first
	waiter logstore.Waiter
	mark   *logstore.Mark // that waiter is, or was, listed at
	armed  bool           // until it is woken; guarded by inbox.mu
}

// lookMost is the longest time until a partition is looked at that nothing is known to have
// happened to, and a follower counts anew there.
const lookMost = 500 * time.Millisecond

// heat has a partition looked at.
func (f *fetchSession) heat(fp *fetchPartition) {
	if !fp.hot && !fp.gone {
		fp.hot = true
		f.hot = append(f.hot, fp)
	}
}

func (f *fetchSession) heatAll() {
	for _, fp := range f.parts {
		f.heat(fp)
	}
}

// readableVersion changes when partitions are taken up or given up here, or begin elsewhere.
func (b *Broker) readableVersion() int64 {
	v, _ := b.topics.version.get()
	return v + b.store.StartsMoved()
}

// refresh heats what has grown, and everything when the version changed.
func (f *fetchSession) refresh(b *Broker) {
	for _, fp := range f.inbox.take() {
		f.heat(fp)
	}
	if v := b.readableVersion(); v != f.version {
		f.version = v
		f.heatAll()
	}
}

// due are the partitions in which a request of a follower counts: what it names, and now
// and then all. These are looked at then, too.
func (f *fetchSession) due(b *Broker, now time.Time) []*fetchPartition {
	every := min(lookMost, time.Duration(replicaLagMs.of(b.brokerConfigs()))*time.Millisecond/4)
	v := b.readableVersion()
	if v == f.noted && now.Sub(f.at) < every {
		return f.named
	}
	f.noted, f.at = v, now
	f.heatAll()
	return f.parts
}

// cool takes a partition out of the hot ones if the client knows all of it, and has
// its growth bring it back.
func (f *fetchSession) cool(fp *fetchPartition, p *partition) bool {
	mark := fp.watched(p)
	end := mark.Load()
	known := fp.hw == p.hw() && fp.start == p.log.Start() && (fp.replica < 0 || fp.hw == end)
	if f.ended || !known || end > fp.offset {
		return false
	}
	fp.arm(mark, end)
	fp.hot = false
	return true
}

// forgotten leaves out what is not in the session any more.
func (f *fetchSession) forgotten() {
	gone := func(fp *fetchPartition) bool { return fp.gone }
	f.parts = slices.DeleteFunc(f.parts, gone)
	f.hot = slices.DeleteFunc(f.hot, gone)
	f.named = slices.DeleteFunc(f.named, gone)
}

// end takes back what waits for growth.
func (f *fetchSession) end() {
	if f == nil {
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	for _, fp := range f.parts {
		fp.forget()
	}
}

// watched is the mark up to which whoever fetches may read.
func (fp *fetchPartition) watched(p *partition) *logstore.Mark {
	if fp.replica >= 0 {
		return p.log.EndMark()
	}
	return p.hwMark()
}

// arm brings the partition into the inbox when mark passes end.
func (fp *fetchPartition) arm(mark *logstore.Mark, end int64) {
	if fp.isArmed() {
		if fp.mark == mark && fp.waiter.At <= end+1 {
			return
		}
		if !fp.mark.Cancel(&fp.waiter) {
			return // it is being woken
		}
	}
	fp.inbox.mu.Lock()
	fp.armed = true
	fp.inbox.mu.Unlock()
	fp.mark, fp.waiter.At, fp.waiter.Waker = mark, end+1, fp
	mark.Wait(&fp.waiter)
}

func (fp *fetchPartition) isArmed() bool {
	fp.inbox.mu.Lock()
	defer fp.inbox.mu.Unlock()
	return fp.armed
}

// forget ends the part of a partition in its session.
func (fp *fetchPartition) forget() {
	fp.gone = true
	if fp.isArmed() && fp.mark.Cancel(&fp.waiter) {
		fp.armed = false
	}
}

// Wake is called by a mark; what there is to tell is decided by who takes it out.
func (fp *fetchPartition) Wake(error) {
	b := fp.inbox
	b.mu.Lock()
	fp.armed = false
	b.grown = append(b.grown, fp)
	b.mu.Unlock()
	b.nudge()
}

// wait has the connection of q look again when something comes.
func (b *fetchInbox) wait(q *answers) {
	b.mu.Lock()
	b.waiting = q
	b.mu.Unlock()
}

// leave ends that, unless another connection has come to wait instead.
func (b *fetchInbox) leave(q *answers) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == q {
		b.waiting = nil
	}
}

func (b *fetchInbox) nudge() {
	b.mu.Lock()
	q := b.waiting
	b.mu.Unlock()
	if q != nil {
		q.wake.nudge()
	}
}

func (b *fetchInbox) take() []*fetchPartition {
	b.mu.Lock()
	defer b.mu.Unlock()
	grown := b.grown
	b.grown = nil
	return grown
}
