package group

import (
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// Config are the settings that groups are held against.
type Config struct {
	MinSession, MaxSession time.Duration // of a member's session timeout
	InitialDelay           time.Duration // of the first rebalance of an empty group
	MaxSize                int           // members
	MaxMetadata            int           // UTF-16 units of text with a committed offset
	Retention              time.Duration // of offsets that nobody uses
	RetentionCheck         time.Duration // how often it is looked for those
}

// State is where a group is in its protocol.
type State int8

// The states. Dead is also that of a group that nobody made.
const (
	Dead State = iota
	Empty
	PreparingRebalance
	CompletingRebalance
	Stable
)

var stateNames = [...]string{"Dead", "Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}

func (s State) String() string { return stateNames[s] }

// Group is one consumer group. Its methods are for one goroutine.
type Group struct {
	id      string
	members membership
	gen     generation
	offsets offsets
	log     appends
	round   round
	out     []Effect
}

// generation is what the members agreed on last.
type generation struct {
	state        State
	since        time.Time // when the state was entered
	number       int32
	protocolType string
	protocol     string
	leader       string
}

// round is a rebalance under way.
type round struct {
	joinBy  time.Time // members that have not joined by then are out
	settled time.Time // of an initial delay: when it ends, if nobody comes
	initial bool      // the group was empty: it waits until settled
	syncBy  time.Time // members that have not synced by then are out; zero: all have, or there are none
	storing bool      // the leader's assignment is on its way to the log
}

// New is a group that nobody made yet.
func New(id string) *Group { return &Group{id: id} }

// Gone reports whether the group holds nothing.
func (g *Group) Gone() bool {
	return g.gen.state == Dead && g.offsets.empty() && len(g.log.pending) == 0 && g.members.none()
}

// State is the state.
func (g *Group) State() State { return g.gen.state }

// ProtocolType is what kind of protocol the members speak, "" for none.
func (g *Group) ProtocolType() string { return g.gen.protocolType }

// Step takes one event and returns what is to be done.
func (g *Group) Step(now time.Time, cfg *Config, ev Event) []Effect {
	g.out = nil
	switch ev := ev.(type) {
	case Join:
		g.join(now, cfg, &ev)
	case Sync:
		g.sync(now, &ev)
	case Heartbeat:
		g.reply(ev.Token, HeartbeatResponse{g.heartbeat(now, &ev)})
	case Leave:
		g.leave(now, cfg, &ev)
	case Commit:
		g.commit(now, cfg, &ev)
	case DeleteOffsets:
		g.deleteOffsets(&ev)
	case Delete:
		g.delete(&ev)
	case TopicDeleted:
		g.topicDeleted(&ev)
	case Tick:
		g.tick(now, cfg)
	case Appended:
		g.appended(now, cfg, &ev)
	case Resign:
		g.resign()
	}
	return g.out
}

func (g *Group) reply(token any, r Response) {
	if token != nil {
		g.out = append(g.out, Reply{token, r})
	}
}

func (g *Group) enter(now time.Time, s State) {
	g.gen.state, g.gen.since = s, now
}

// Deadline is when Tick is wanted next; zero is never.
func (g *Group) Deadline() time.Time {
	var next time.Time
	sooner := func(t time.Time) {
		if !t.IsZero() && (next.IsZero() || t.Before(next)) {
			next = t
		}
	}
	sooner(g.members.next)
	switch g.gen.state {
	case PreparingRebalance:
		if g.round.initial {
			sooner(g.round.settled)
		} else {
			sooner(g.round.joinBy)
		}
	case CompletingRebalance, Stable:
		sooner(g.round.syncBy)
	}
	sooner(g.offsets.next)
	return next
}

// tick does what is due.
func (g *Group) tick(now time.Time, cfg *Config) {
	g.expireMembers(now, cfg)
	switch {
	case g.gen.state == PreparingRebalance:
		if g.round.initial && !now.Before(g.round.settled) || !g.round.initial && !now.Before(g.round.joinBy) {
			g.completeJoin(now, cfg)
		}
	case !g.round.syncBy.IsZero() && !now.Before(g.round.syncBy):
		g.expireSync(now, cfg)
	}
	g.expireOffsets(now, cfg)
}

// resign answers whoever waits; the group holds nothing any more.
func (g *Group) resign() {
	for _, m := range g.members.order {
		g.giveUp(m, kerr.NotCoordinator, m.id)
	}
	for _, w := range g.log.order() {
		w.done(kerr.NotCoordinator)
	}
	out := g.out
	*g = Group{id: g.id, out: out}
}
