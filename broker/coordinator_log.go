package broker

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/broker/group"
	"chronik/logstore"
	"chronik/wire/batch"
)

// offsetsWriter appends what the groups of a coordinator want to be written, many
// at once, and tells them when it is committed. The coordinator's goroutine owns
// it; the log wakes it.
type offsetsWriter struct {
	c      *coordinator
	staged []offsetsWrite
	sent   []offsetsWrite // appended, above the high watermark; in the order of their ends
	items  []logstore.Item

	waiter  logstore.Waiter
	waiting bool // waiter is listed, or was woken
	woken   atomic.Bool
	lost    atomic.Pointer[error] // why nothing more is committed
	wake    nudge
}

// offsetsWrite is one Append of a group, or a barrier's record.
type offsetsWrite struct {
	h     *heldGroup
	seq   uint64
	batch batch.Batch
	end   int64
	err   error
	told  func(error) // of a barrier's record, which has no group
}

// stage takes an Append for the next flush.
func (w *offsetsWriter) stage(h *heldGroup, a *group.Append) {
	write := offsetsWrite{h: h, seq: a.Seq}
	write.batch, write.err = encodeAppend(h.id, a, time.Now().UnixMilli())
	if limit := w.c.p.rules.Load().maxMessageBytes; write.err == nil && int64(len(write.batch)) > limit {
		write.err = explain(kerr.MessageTooLarge, "%d bytes for group %s, above max.message.bytes=%d of %s", len(write.batch), h.id, limit, offsetsTopic)
	}
	w.staged = append(w.staged, write)
}

// stageBarrier takes a record that changes nothing: it deletes a group that cannot be.
func (w *offsetsWriter) stageBarrier(told func(error)) {
	write := offsetsWrite{told: told}
	write.batch, write.err = encodeAppend("", &group.Append{DeletedGroup: true}, time.Now().UnixMilli())
	w.staged = append(w.staged, write)
}

// flush appends what is staged by one write. What that makes groups stage is left
// to the next time.
func (w *offsetsWriter) flush() {
	if len(w.staged) == 0 {
		return
	}
	writes := w.staged
	w.staged = nil
	w.items = w.items[:0]
	for i := range writes {
		if writes[i].err == nil {
			w.items = append(w.items, logstore.Item{Batch: writes[i].batch})
		}
	}
	whole := w.c.p.usable()
	if whole == nil {
		whole = w.c.b.mayAppend(w.c.p, -1)
	}
	if whole == nil && len(w.items) > 0 {
		whole = w.c.p.log.Append(w.c.p.epoch, w.items)
	}
	next := 0
	for i := range writes {
		write := &writes[i]
		if write.err == nil {
			item := &w.items[next]
			next++
			if write.err = whole; whole == nil {
				write.err = item.Err
			}
			write.end = item.BaseOffset + int64(write.batch.NumRecords())
		}
		write.batch = nil
		if write.err == nil {
			w.sent = append(w.sent, *write)
		}
	}
	clear(w.items)
	for i := range writes {
		if writes[i].err != nil {
			w.tell(&writes[i], writes[i].err)
		}
	}
	w.watch()
	if len(w.staged) > 0 {
		w.wake.nudge()
	}
}

// tell tells a group what became of its Append.
func (w *offsetsWriter) tell(write *offsetsWrite, err error) {
	if write.told != nil {
		write.told(err)
		return
	}
	if err != nil {
		w.c.b.log.Warn("group state not written", "group", write.h.id, "partition", w.c.name(), "err", err)
		err = kerr.ErrorForCode(errorCode(err))
	}
	w.c.step(write.h, group.Appended{Seq: write.seq, Err: err})
}

// appended tells the groups of what is committed, or that nothing more will be.
func (w *offsetsWriter) appended() {
	if w.woken.CompareAndSwap(true, false) {
		w.waiting = false
	}
	hw, lost := w.c.p.hw(), w.lost.Swap(nil)
	for len(w.sent) > 0 && (w.sent[0].end <= hw || lost != nil) {
		write := w.sent[0]
		w.sent[0] = offsetsWrite{}
		w.sent = w.sent[1:]
		if write.end <= hw {
			w.tell(&write, nil)
		} else {
			w.tell(&write, *lost)
		}
	}
	w.watch()
}

// watch has the log wake the coordinator when the next append is committed.
func (w *offsetsWriter) watch() {
	if w.waiting || len(w.sent) == 0 {
		return
	}
	w.waiting = true
	w.waiter.At, w.waiter.Waker = w.sent[0].end, w
	w.c.p.hwMark().Wait(&w.waiter)
}

// Wake is called by the log.
func (w *offsetsWriter) Wake(err error) {
	if err != nil {
		w.lost.Store(&err)
	}
	w.woken.Store(true)
	w.wake.nudge()
}

// cancel ends the wait; who appended has been answered.
func (w *offsetsWriter) cancel() {
	if w.waiting {
		w.c.p.hwMark().Cancel(&w.waiter)
	}
	w.staged, w.sent = nil, nil
}

// load reads the partition to its end and waits until all of that is committed:
// what a client is told of offsets must not be taken back.
func (c *coordinator) load(ctx context.Context) error {
	began := time.Now()
	l := groupLoad{c: c, topics: interned{}, seen: map[group.TopicDeleted]bool{}}
	from, end := c.p.log.Start(), c.p.log.End()
	if planted("lose-commits") {
		end = from
	}
	var buf []byte
	for from < end && ctx.Err() == nil {
		var err error
		if buf, err = c.p.log.Read(buf[:0], from, end, loadRead); err != nil {
			return err
		}
		if len(buf) == 0 {
			break // compacted away
		}
		if from, err = l.replay(buf); err != nil {
			return err
		}
	}
	if err := c.committed(ctx, end); err != nil {
		return err
	}
	now := time.Now()
	for _, h := range c.groups {
		h.group.Loaded(now, c.b.groupConfig())
		c.keep(h)
	}
	c.forgetMissing(l.seen)
	if len(c.groups) > 0 {
		c.b.log.Info("groups loaded", "partition", c.name(), "groups", len(c.groups), "records", l.records, "took", time.Since(began).Round(time.Millisecond))
	}
	return nil
}

// loadRead is how much of the partition is read at once.
const loadRead = 1 << 20

// committed waits until the high watermark is at offset, however long too few are in sync:
// of that only those are told who could try again.
func (c *coordinator) committed(ctx context.Context, offset int64) error {
	done := make(waitChan, 1)
	w := logstore.Waiter{At: offset, Waker: done}
	for {
		c.p.hwMark().Wait(&w)
		select {
		case err := <-done:
			if !errors.Is(err, kerr.NotEnoughReplicasAfterAppend) {
				return err
			}
		case <-ctx.Done():
			c.p.hwMark().Cancel(&w)
			return ctx.Err()
		}
	}
}

// waitChan is a waker that sends, once.
type waitChan chan error

// Wake is called by the log.
func (c waitChan) Wake(err error) { c <- err }

// forgetMissing forgets offsets of topics that were deleted while nobody looked. While a
// key of the metadata cannot be read, a topic that is not there may be all the same.
func (c *coordinator) forgetMissing(topics map[group.TopicDeleted]bool) {
	snap := c.b.snap()
	if len(snap.Unreadable()) > 0 {
		return
	}
	maps.DeleteFunc(topics, func(t group.TopicDeleted, _ bool) bool {
		if t.ID == [16]byte{} {
			return snap.Topic(t.Topic) != nil
		}
		return snap.KnowsTopicID(t.ID)
	})
	if len(topics) == 0 {
		return
	}
	for _, h := range c.groups {
		for t := range h.group.Topics() {
			if topics[t] {
				c.step(h, t)
			}
		}
	}
}

// groupLoad fills the groups of a coordinator from the log.
type groupLoad struct {
	c       *coordinator
	topics  interned
	seen    map[group.TopicDeleted]bool
	last    group.TopicDeleted // in seen
	latest  *heldGroup
	records int
	wrong   int
}

// replay applies whole batches and returns the offset behind them.
func (l *groupLoad) replay(batches []byte) (next int64, err error) {
	for len(batches) > 0 {
		b, rest, err := batch.First(batches)
		if err != nil {
			return 0, err
		}
		err = b.Records(func(_ int, r *batch.Record) error {
			l.records++
			if err := replayRecord(r.Key, r.Value, l); err != nil {
				if l.wrong++; l.wrong == 1 {
					l.c.b.log.Warn("record skipped", "partition", l.c.name(), "batch", b.BaseOffset(), "err", err)
				}
			}
			return nil
		})
		if err != nil {
			return 0, fmt.Errorf("batch at offset %d: %w", b.BaseOffset(), err)
		}
		next, batches = b.LastOffset()+1, rest
	}
	return next, nil
}

// held finds the group of a record, or begins it.
func (l *groupLoad) held(id string) *heldGroup {
	if l.latest != nil && l.latest.id == id {
		return l.latest
	}
	h := l.c.groups[id]
	if h == nil {
		h = l.c.group(strings.Clone(id))
		l.c.groups[h.id] = h
	}
	l.latest = h
	return h
}

func (l *groupLoad) offset(id string, record group.OffsetRecord) {
	record.Topic = l.topics.keep(record.Topic)
	if t := (group.TopicDeleted{Topic: record.Topic, ID: record.TopicID}); t != l.last {
		l.seen[t], l.last = true, t
	}
	l.held(id).group.LoadOffset(record)
}

func (l *groupLoad) noOffset(id string, tp group.TopicPartition) {
	l.held(id).group.LoadDeletedOffset(tp)
}

func (l *groupLoad) group(id string, record *group.MetadataRecord) {
	h := l.held(id)
	if record == nil {
		h.group.LoadDeletedGroup()
		return
	}
	h.group.LoadMetadata(record)
}
