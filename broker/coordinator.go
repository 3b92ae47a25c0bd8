package broker

import (
	"container/heap"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/broker/group"
)

// coordinator keeps the groups of one partition of __consumer_offsets while this
// broker leads it. State: one goroutine, run, owns the groups, their timers and
// what is being appended; others talk to it through the inbox. It is bound to the
// leader epoch of its partition: another epoch has another coordinator.
type coordinator struct {
	b       *Broker
	p       *partition
	inbox   inbox
	loading atomic.Bool // the partition is not read to its end yet
	end     context.CancelFunc

	groups  map[string]*heldGroup
	timers  groupTimers
	writing offsetsWriter
	guard   guard
}

// heldGroup is a group and its place among the timers.
type heldGroup struct {
	id    string
	group *group.Group
	due   time.Time // zero: not among the timers
	index int
}

// op is what the owner of the groups is asked to do: an event for one group, or
// anything else. refuse is called instead when the coordinator has ended, or cannot
// know that it has not.
type op struct {
	group    string
	event    group.Event
	do       func(*coordinator)
	refuse   func(error)
	internal bool // nobody is told anything by it
}

// inbox is a queue that refuses when its owner is gone. Connections bound what
// lies in it: each owes few answers at a time.
type inbox struct {
	mu     sync.Mutex
	ops    []op // guarded by mu
	closed bool // guarded by mu
	wake   nudge
}

// put adds to the queue, or reports that nobody reads it any more.
func (in *inbox) put(o op) bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.closed {
		return false
	}
	in.ops = append(in.ops, o)
	in.wake.nudge()
	return true
}

// take empties the queue into into.
func (in *inbox) take(into []op) []op {
	in.mu.Lock()
	defer in.mu.Unlock()
	into = append(into[:0], in.ops...)
	clear(in.ops)
	in.ops = in.ops[:0]
	return into
}

// close refuses what comes later and returns what is left.
func (in *inbox) close() []op {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.closed = true
	left := in.ops
	in.ops = nil
	return left
}

func newCoordinator(b *Broker, p *partition) *coordinator {
	c := &coordinator{b: b, p: p, inbox: inbox{wake: make(nudge, 1)}, groups: map[string]*heldGroup{}}
	c.writing.c, c.writing.wake, c.guard.c = c, make(nudge, 1), c
	c.loading.Store(p.log.End() > 0) // an empty one is read already
	return c
}

// ask hands o to the coordinator; refuse is called at once when it has ended.
func (c *coordinator) ask(o op) {
	if !c.inbox.put(o) {
		o.refuse(kerr.NotCoordinator)
	}
}

// run loads the groups and serves them until the leadership or ctx ends.
func (c *coordinator) run(ctx context.Context) {
	defer c.end()
	defer c.resign()
	err := c.load(ctx)
	c.loading.Store(false)
	if err != nil {
		if ctx.Err() == nil {
			c.b.log.Error("groups not loaded, they are not served", "partition", c.name(), "err", err)
		}
		return
	}
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	var ops []op
	for {
		ops = c.inbox.take(ops)
		for _, o := range ops {
			c.guard.admit(o)
		}
		clear(ops)
		c.writing.appended()
		c.tick()
		c.guard.step(time.Now())
		c.writing.flush()
		timer.Reset(min(c.timers.wait(), c.guard.wait()))
		select {
		case <-c.inbox.wake:
		case <-c.writing.wake:
		case <-timer.C:
		case <-ctx.Done():
			return
		}
	}
}

func (c *coordinator) name() string { return fmt.Sprintf("%s-%d", offsetsTopic, c.p.num) }

// perform does what the inbox asked for.
func (c *coordinator) perform(o op) {
	if o.do != nil {
		o.do(c)
		return
	}
	c.step(c.group(o.group), o.event)
}

// group finds a group; one that is not there is Dead, and kept only if it becomes more.
func (c *coordinator) group(id string) *heldGroup {
	if h := c.groups[id]; h != nil {
		return h
	}
	return &heldGroup{id: id, group: group.New(id), index: -1}
}

// step has a group take an event and carries out the effects.
func (c *coordinator) step(h *heldGroup, ev group.Event) {
	for _, effect := range h.group.Step(time.Now(), c.b.groupConfig(), ev) {
		switch e := effect.(type) {
		case group.Reply:
			e.Token.(func(group.Response))(e.Response)
		case group.Append:
			c.writing.stage(h, &e)
		}
	}
	c.keep(h)
}

// keep puts a group where its state says: among the groups unless it is gone, and
// among the timers while it waits for something.
func (c *coordinator) keep(h *heldGroup) {
	if h.group.Gone() {
		if c.groups[h.id] == h {
			delete(c.groups, h.id)
		}
		c.timers.set(h, time.Time{})
		return
	}
	c.groups[h.id] = h
	c.timers.set(h, h.group.Deadline())
}

// tick tells the groups whose time has come.
func (c *coordinator) tick() {
	now := time.Now()
	for len(c.timers) > 0 && !c.timers[0].due.After(now) {
		c.step(c.timers[0], group.Tick{})
	}
}

// resign answers whoever waits, and drops all state.
func (c *coordinator) resign() {
	for _, h := range c.groups {
		for _, effect := range h.group.Step(time.Now(), c.b.groupConfig(), group.Resign{}) {
			if r, ok := effect.(group.Reply); ok {
				r.Token.(func(group.Response))(r.Response)
			}
		}
	}
	c.guard.resign()
	for _, o := range c.inbox.close() {
		o.refuse(kerr.NotCoordinator)
	}
	c.writing.cancel()
	c.groups, c.timers = nil, nil
}

// topicDeleted forgets the offsets of a topic.
func (c *coordinator) topicDeleted(gone group.TopicDeleted) {
	for _, h := range c.groups {
		c.step(h, gone)
	}
}

// groupTimers is a heap of the groups that wait for a time, the earliest first.
type groupTimers []*heldGroup

func (t groupTimers) Len() int           { return len(t) }
func (t groupTimers) Less(i, j int) bool { return t[i].due.Before(t[j].due) }
func (t groupTimers) Swap(i, j int)      { t[i], t[j] = t[j], t[i]; t[i].index, t[j].index = i, j }

// Push and Pop are heap's.
func (t *groupTimers) Push(x any) {
	h := x.(*heldGroup)
	h.index = len(*t)
	*t = append(*t, h)
}

// Pop removes the last element.
func (t *groupTimers) Pop() any {
	last := len(*t) - 1
	h := (*t)[last]
	(*t)[last] = nil
	*t = (*t)[:last]
	h.index = -1
	return h
}

// set gives h its time; zero takes it out.
func (t *groupTimers) set(h *heldGroup, due time.Time) {
	switch {
	case due.IsZero() && h.index >= 0:
		heap.Remove(t, h.index)
	case due.IsZero() || h.index >= 0 && h.due.Equal(due):
	case h.index >= 0:
		h.due = due
		heap.Fix(t, h.index)
	default:
		h.due = due
		heap.Push(t, h)
	}
}

// wait is how long nothing is due.
func (t groupTimers) wait() time.Duration {
	if len(t) == 0 {
		return time.Hour
	}
	return max(0, time.Until(t[0].due))
}
