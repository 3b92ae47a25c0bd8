package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"chronik/logstore"
	"chronik/meta"
)

// followed is a partition that this broker follows, in one leader epoch. Another
// epoch or leader makes another one, so what a leader sent in one epoch is not
// written in the next. mu is held while the log is changed.
type followed struct {
	id     logstore.ID
	name   string
	leader int32
	epoch  int32
	store  *logstore.Store
	logger *slog.Logger
	seen   atomic.Int32 // partition epoch

	followedState

	mu      sync.Mutex
	log     *logstore.Log // guarded by mu
	options logstore.Options
	ended   bool // guarded by mu

	again time.Time // not fetched before; the fetcher's alone
}

// followedState is what others read of a partition that is followed.
type followedState struct {
	reads     atomic.Pointer[partition] // the log as consumers read it; another one after each cut
	behind    atomic.Bool               // not in sync, by the metadata
	throttled atomic.Bool
}

// errEnded means that the partition is not followed in this epoch any more.
var errEnded = errors.New("not followed any more")

// end waits for a change of the log that is under way; there is none afterwards.
func (f *followed) end() {
	if f == nil {
		return
	}
	f.mu.Lock()
	f.ended = true
	f.hide()
	f.mu.Unlock()
}

// configure takes the settings of the topic.
func (f *followed) configure(o logstore.Options) {
	f.mu.Lock()
	f.options = o
	f.log.Configure(o)
	f.mu.Unlock()
}

// change has the log changed, unless the epoch is over.
func (f *followed) change(do func() error) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return errEnded
	}
	return do()
}

// at is the log of this moment.
func (f *followed) at() *logstore.Log {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log
}

// append takes batches of the leader as they are, and what it says of itself.
func (f *followed) append(batches []byte, hw int64) error {
	return f.change(func() error {
		err := f.log.AppendReplica(f.epoch, batches)
		if err == nil {
			f.committed(min(hw, f.log.End()))
		}
		return err
	})
}

// cut ends the log where its history and the leader's part: the leader's records of
// epoch and of those before end at end (KIP-101, KIP-279).
func (f *followed) cut(epoch int32, end int64) error {
	return f.change(func() error {
		had := f.log.End()
		to := min(end, had)
		if hw := f.log.KnownHighWatermark(); to < hw {
			f.logger.Error("the leader lacks records that were committed: they are cut here too",
				"topic", f.name, "partition", f.id.Partition, "leader", f.leader, "highWatermark", hw, "to", to)
		}
		if _, own := f.log.EpochEnd(epoch); own >= 0 {
			to = min(to, own)
		}
		if to < f.log.Start() {
			return f.restart(to)
		}
		f.hide()
		defer f.show()
		if err := f.log.TruncateTo(to); err != nil {
			return err
		}
		if f.log.End() >= had {
			return fmt.Errorf("nothing to cut at epoch %d, offset %d: the log ends at %d in epoch %d", epoch, end, had, f.log.LastEpoch())
		}
		return nil
	})
}

// begin starts the log anew at the leader's log start, which has passed its end.
func (f *followed) begin(leaderStart int64) error {
	return f.change(func() error {
		if leaderStart <= f.log.End() && f.log.LastEpoch() >= 0 {
			return fmt.Errorf("offset %d is out of the leader's range, which starts at %d", f.log.End(), leaderStart)
		}
		return f.restart(leaderStart)
	})
}

// restart empties the log; the caller holds mu.
func (f *followed) restart(offset int64) error {
	f.hide()
	defer f.show()
	log, err := f.store.Restart(f.id, offset, f.options)
	if err == nil {
		f.log = log
		log.Fence(f.epoch)
	}
	return err
}

// failed reports whether the log can take nothing, or has to be built anew.
func (f *followed) failed() bool {
	l := f.at()
	return l.Err() != nil || l.Damage() != nil
}

// rebuild begins a damaged log anew, unless it may still be needed: its leader has all of it.
func (b *Broker) rebuild(f *followed) {
	if b.store.Log(f.id) != f.at() { // beginning anew failed half-way: the old log is gone
		b.restart(f)
		return
	}
	t := b.snap().TopicByID(f.id.Topic)
	if fitnessOf(b.store, f.id) != ruined || t == nil || int(f.id.Partition) >= len(t.Partitions) {
		return
	}
	p := t.Partitions[f.id.Partition]
	if b.counts(p) || !slices.Contains(p.Offline, b.cfg.NodeID) { // what its leader was told of it may count yet
		return
	}
	b.log.Warn("a damaged log is built anew from its leader", "topic", f.name, "partition", f.id.Partition, "why", errors.Join(f.at().Err(), f.at().Damage()))
	b.restart(f)
}

func (b *Broker) restart(f *followed) {
	if err := f.change(func() error { return f.restart(0) }); err != nil && !errors.Is(err, errEnded) {
		b.log.Error("a log not built anew; trying again", "topic", f.name, "partition", f.id.Partition, "err", err)
	}
	b.isr.logs.nudge()
}

// advance moves the log start to the leader's.
func (f *followed) advance(leaderStart int64) error {
	return f.change(func() error {
		if leaderStart <= f.log.Start() {
			return nil
		}
		if leaderStart > f.log.End() {
			return f.restart(leaderStart)
		}
		return f.log.AdvanceStart(leaderStart)
	})
}

// flushed waits until a log has on disk what it promises.
func flushed(ctx context.Context, l *logstore.Log) error {
	end := l.End()
	if l.Acked() >= end {
		return nil
	}
	done := make(waitChan, 1)
	w := logstore.Waiter{At: end, Waker: done}
	l.AckedMark().Wait(&w)
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		l.AckedMark().Cancel(&w)
		return ctx.Err()
	}
}

// fetchers are the fetch loops of this broker, one for each broker that leads
// something it follows. State: the goroutine that applies metadata owns byLeader.
type fetchers struct {
	b        *Broker
	byLeader map[int32]*fetcher
	start    chan *fetcher
}

func newFetchers(b *Broker) *fetchers {
	return &fetchers{b: b, byLeader: map[int32]*fetcher{}, start: make(chan *fetcher)}
}

// run runs the fetch loops until ctx ends.
func (fs *fetchers) run(ctx context.Context) error {
	var running sync.WaitGroup
	for {
		select {
		case f := <-fs.start:
			running.Go(func() { f.run(ctx) })
		case <-ctx.Done():
			running.Wait()
			return nil
		}
	}
}

// follow begins to follow a partition.
func (fs *fetchers) follow(ctx context.Context, p *followed) {
	f := fs.byLeader[p.leader]
	if f == nil {
		f = &fetcher{b: fs.b, leader: p.leader, clock: fs.b.peers.fetchClockOf(p.leader), wake: make(nudge, 1), parts: map[logstore.ID]*followed{}}
		fs.byLeader[p.leader] = f
		select {
		case fs.start <- f:
		case <-ctx.Done():
			return
		}
	}
	f.add(p)
}

// again has the leader told anew of a partition.
func (fs *fetchers) again(p *followed) {
	if f := fs.byLeader[p.leader]; f != nil {
		f.version.Add(1)
		f.wake.nudge()
	}
}

// leave ends following a partition.
func (fs *fetchers) leave(p *followed) {
	if p == nil {
		return
	}
	p.end()
	if f := fs.byLeader[p.leader]; f != nil {
		f.mu.Lock()
		if f.parts[p.id] == p {
			delete(f.parts, p.id)
		}
		f.version.Add(1)
		f.mu.Unlock()
		f.wake.nudge()
	}
}

// fetcher follows all partitions that one broker leads. mu guards parts.
type fetcher struct {
	b       *Broker
	leader  int32
	clock   *fetchClock
	wake    nudge        // parts changed
	version atomic.Int64 // of parts

	mu    sync.Mutex
	parts map[logstore.ID]*followed
}

// The first attempt after a failure comes soon: the leader may just have started.
const (
	fetchBackoff     = 50 * time.Millisecond
	fetchBackoffMost = time.Second
)

func (f *fetcher) run(ctx context.Context) {
	wait := fetchBackoff
	for ctx.Err() == nil {
		if f.count() == 0 {
			f.clock.stop()
			select {
			case <-f.wake:
			case <-ctx.Done():
			}
			continue
		}
		f.clock.start(time.Now())
		answered, err := f.connect(ctx)
		if ctx.Err() != nil {
			return
		}
		if answered {
			wait = fetchBackoff
		}
		f.b.log.Debug("fetching from leader ended", "leader", f.leader, "err", err)
		select {
		case <-time.After(wait):
		case <-ctx.Done():
		}
		wait = min(2*wait, fetchBackoffMost)
	}
}

// add begins to follow a partition.
func (f *fetcher) add(p *followed) {
	f.mu.Lock()
	f.parts[p.id] = p
	f.version.Add(1)
	f.mu.Unlock()
	f.wake.nudge()
}

func (f *fetcher) count() int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.parts)
}

// wanted are the partitions of this moment.
func (f *fetcher) wanted(into []*followed) []*followed {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.parts {
		into = append(into, p)
	}
	return into
}

// address is where the leader is, in the life that the metadata shows.
func (f *fetcher) address(snap *meta.Snapshot) (string, error) {
	br := snap.Broker(f.leader)
	if _, live := snap.Live(f.leader); br == nil || !live {
		return "", fmt.Errorf("broker %d is not alive", f.leader)
	}
	return hostPort(br.Host, br.Port), nil
}
