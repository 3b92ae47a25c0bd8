package group

import (
	"bytes"
	"flag"
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

var schedules = flag.Int("schedules", 400, "how many random schedules TestRandomSchedules plays")

// TestRandomSchedules has members of one group, which lose answers, die, come back, send old
// requests, and a log that is slow, fails and changes hands, play at random, and holds after each
// step:
//
//   - a partition has one owner in a generation;
//   - every request is answered exactly once;
//   - what commits are written belong to the generation, and committed offsets do not go back to
//     an older one;
//   - after a Tick the Deadline is later than now;
//   - a settled group is what its records load.
func TestRandomSchedules(t *testing.T) {
	for seed := range uint64(*schedules) {
		w := newWorld(seed)
		for range 400 {
			if w.act(); w.err != nil {
				t.Fatalf("seed %d, step %d: %v\n%s", seed, w.steps, w.err, w.story())
			}
		}
		w.resign()
		if err := w.ledger.check(); err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, w.story())
		}
	}
}

// world is a group, its clients and its log.
type world struct {
	rand   *rand.Rand
	g      *Group
	cfg    Config
	now    time.Time
	actors []*actor
	ids    []string // all that were ever given

	held, log []Append
	failed    bool // metadata that did not get into the log

	life    int // of the group: it begins anew when it is deleted
	owners  map[string]string
	seen    map[TopicPartition]int32        // the generation of the commit that is visible
	ahead   map[TopicPartition]OffsetRecord // loaded, of a generation that is not in the log
	ledger  ledger
	steps   int
	history []string
	err     error
}

// actor is a client and what it believes.
type actor struct {
	name, id string
	instance *string
	gen      int32
	members  []string // it leads, when there are some
	latest   any      // its last request
	protocol int
}

// owned is the token of a request of an actor.
type owned struct {
	token
	by  *actor
	gen int32
	id  string
}

func newWorld(seed uint64) *world {
	r := rand.New(rand.NewPCG(seed, 0))
	w := &world{
		rand: r, g: New("g"), now: began, ledger: ledger{}, owners: map[string]string{}, seen: map[TopicPartition]int32{}, ahead: map[TopicPartition]OffsetRecord{},
		cfg: Config{
			MinSession: time.Second, MaxSession: time.Hour, MaxSize: 3 + r.IntN(4), MaxMetadata: 100,
			InitialDelay: time.Duration(r.IntN(2)) * 3 * time.Second, Retention: time.Hour, RetentionCheck: time.Minute,
		},
	}
	for i := range 5 {
		a := &actor{name: string(rune('a' + i))}
		if i >= 3 {
			a.instance = new(strings.ToUpper(a.name))
		}
		w.actors = append(w.actors, a)
	}
	return w
}

func (w *world) story() string {
	return strings.Join(w.history[max(0, len(w.history)-60):], "\n")
}

func (w *world) fail(format string, args ...any) {
	if w.err == nil {
		w.err = fmt.Errorf(format, args...)
	}
}

// act does one thing at random.
func (w *world) act() {
	w.steps++
	a := w.actors[w.rand.IntN(len(w.actors))]
	switch n := w.rand.IntN(100); {
	case n < 25:
		w.store(w.rand.IntN(60) == 0)
	case n < 35:
		w.pass(time.Duration(w.rand.IntN(4000)) * time.Millisecond)
	case n == 35:
		w.pass(time.Duration(w.rand.IntN(120)) * time.Minute)
	case n == 36:
		w.resign()
	case n == 37:
		w.step(Delete{Token: w.token(a)})
	case n == 38:
		w.step(DeleteOffsets{Token: w.token(a), Partitions: []TopicPartition{{"t", w.rand.Int32N(4)}}})
	case n == 39:
		w.step(TopicDeleted{Topic: "t"})
	case n < 44:
		w.step(w.leaving(a))
	case n < 46: // it dies and comes back as somebody new
		*a = actor{name: a.name, instance: a.instance, protocol: w.rand.IntN(3)}
	default:
		w.step(w.asks(a))
	}
	w.invariants()
}

// asks is what a client would send next, or an old or a mad one.
func (w *world) asks(a *actor) Event {
	id, gen := a.id, a.gen
	if w.rand.IntN(10) == 0 && len(w.ids) > 0 {
		id, gen = w.ids[w.rand.IntN(len(w.ids))], a.gen+w.rand.Int32N(3)-1
	}
	tok := w.token(a)
	tok.gen, tok.id = gen, id
	switch w.rand.IntN(6) {
	case 0, 1:
		return w.joining(a, id, tok)
	case 2, 3:
		ev := Sync{Token: tok, MemberID: id, InstanceID: a.instance, Generation: gen}
		for p := range 4 {
			if n := len(a.members); n > 0 {
				ev.Assignments = append(ev.Assignments, Assignment{a.members[w.rand.IntN(n)], fmt.Append(nil, p, " ")})
			}
		}
		ev.Assignments = merged(ev.Assignments)
		return ev
	case 4:
		return Heartbeat{Token: tok, MemberID: id, InstanceID: a.instance, Generation: gen}
	}
	if w.rand.IntN(5) == 0 {
		id, gen = "", -1
	}
	return Commit{Token: tok, MemberID: id, InstanceID: a.instance, Generation: gen, RetentionMs: -1, Offsets: []CommittedOffset{
		{Topic: "t", Partition: w.rand.Int32N(4), Offset: w.rand.Int64N(1000), Metadata: fmt.Sprint(gen)},
		{Topic: "u", Partition: 0, Offset: w.rand.Int64N(1000), Metadata: fmt.Sprint(gen)},
	}}
}

// merged has one assignment a member.
func merged(all []Assignment) []Assignment {
	by := map[string][]byte{}
	for _, a := range all {
		by[a.MemberID] = append(by[a.MemberID], a.Assignment...)
	}
	all = nil
	for id, text := range by {
		all = append(all, Assignment{id, text})
	}
	return all
}

func (w *world) joining(a *actor, id string, tok *owned) Join {
	fresh := fmt.Sprint(a.name, len(w.ids))
	w.ids = append(w.ids, fresh)
	return Join{
		Token: tok, MemberID: id, InstanceID: a.instance, NewMemberID: fresh, ClientID: a.name, ClientHost: "/h",
		SessionTimeout: time.Duration(1+w.rand.IntN(20)) * time.Second, RebalanceTimeout: time.Duration(w.rand.IntN(20)) * time.Second,
		ProtocolType: "consumer", RequireKnownMember: w.rand.IntN(2) == 0, SkipAssignment: w.rand.IntN(2) == 0,
		Protocols: [][]Protocol{
			{{"range", subscription("t")}}, {{"range", subscription("t")}, {"sticky", subscription("t")}}, {{"sticky", subscription("u")}, {"range", nil}},
		}[a.protocol],
	}
}

func (w *world) leaving(a *actor) Leave {
	ev := Leave{Token: w.token(a), Members: []LeavingMember{{a.id, a.instance}}}
	if w.rand.IntN(3) == 0 && len(w.ids) > 0 {
		ev.Members = append(ev.Members, LeavingMember{MemberID: w.ids[w.rand.IntN(len(w.ids))]}, LeavingMember{InstanceID: new("D")})
	}
	return ev
}

func (w *world) token(a *actor) *owned {
	tok := &owned{token: token{a.name}, by: a}
	a.latest = tok
	return tok
}

// step has the group take an event and the clients its answers.
func (w *world) step(ev Event) {
	w.history = append(w.history, fmt.Sprintf("%v %T %+v", w.now.Sub(began), ev, ev))
	if tok := tokenOf(ev); tok != nil {
		w.ledger.asked(&tok.(*owned).token)
	}
	before, number := w.g.State(), w.g.gen.number
	for _, effect := range w.g.Step(w.now, &w.cfg, ev) {
		switch e := effect.(type) {
		case Reply:
			w.history = append(w.history, fmt.Sprintf("    %s: %s", e.Token.(*owned).name, responseText(e.Response)))
			w.ledger.answered(&e.Token.(*owned).token)
			w.answer(e.Token.(*owned), e.Response)
		case Append:
			w.history = append(w.history, fmt.Sprintf("    log %d: %s", e.Seq, appendText(&e)))
			w.held = append(w.held, e)
			w.written(&e, before, number)
		}
	}
	if w.g.State() == Dead || w.g.gen.number < number {
		w.life++
		clear(w.seen)
	}
}

// written holds that commits are of the generation that is.
func (w *world) written(a *Append, before State, number int32) {
	for _, o := range a.Offsets {
		switch gen := generationOf(&o); {
		case gen < 0 && before != Empty && before != Dead:
			w.fail("a commit of nobody in %v", before)
		case gen >= 0 && (gen != number || before == CompletingRebalance):
			w.fail("a commit of generation %d in %v of generation %d", gen, before, number)
		}
	}
}

func generationOf(o *OffsetRecord) int32 {
	n, err := strconv.Atoi(o.Metadata)
	if err != nil {
		panic(err)
	}
	return int32(n)
}

// answer is what a client makes of an answer, unless that is lost.
func (w *world) answer(tok *owned, r Response) {
	a := tok.by
	lost := a.latest != tok || w.rand.IntN(10) == 0
	switch r := r.(type) {
	case SyncResponse:
		if r.Err == nil {
			w.owns(tok, r.Assignment)
		}
	case JoinResponse:
		switch {
		case lost:
		case r.Err == nil:
			a.id, a.gen, a.members = r.MemberID, r.Generation, nil
			for _, m := range r.Members {
				a.members = append(a.members, m.MemberID)
			}
		case r.Err == kerr.MemberIDRequired:
			a.id = r.MemberID
		case r.Err == kerr.UnknownMemberID || r.Err == kerr.FencedInstanceID:
			a.id, a.gen, a.members = "", -1, nil
		}
	}
}

// owns holds that nobody else was told to own the same in this generation: not by another id,
// unless that is a static member that came back.
func (w *world) owns(tok *owned, assignment []byte) {
	owner := tok.id
	if tok.by.instance != nil {
		owner = "@" + *tok.by.instance
	} else if m := w.g.members.byID[tok.id]; m != nil && m.static {
		owner = "@" + m.instance
	}
	for p := range bytes.FieldsSeq(assignment) {
		key := fmt.Sprintf("%d/%d/%s", w.life, tok.gen, p)
		if other, ok := w.owners[key]; ok && other != owner {
			w.fail("partition %s of generation %d belongs to %s and %s", p, tok.gen, other, owner)
		}
		w.owners[key] = owner
	}
}

// store has the log answer for the first append that it holds.
func (w *world) store(fails bool) {
	if len(w.held) == 0 {
		return
	}
	a := w.held[0]
	w.held = w.held[1:]
	if !fails {
		w.log = append(w.log, a)
		w.failed = w.failed && a.Metadata == nil && !a.DeletedGroup
		w.step(Appended{Seq: a.Seq})
		return
	}
	w.failed = w.failed || a.Metadata != nil
	w.step(Appended{Seq: a.Seq, Err: kerr.MessageTooLarge})
}

// pass lets time pass.
func (w *world) pass(d time.Duration) {
	for end := w.now.Add(d); ; {
		next := w.g.Deadline()
		if next.IsZero() || next.After(end) {
			w.now = end
			return
		}
		if next.After(w.now) {
			w.now = next
		}
		w.step(Tick{})
		if at := w.g.Deadline(); !at.IsZero() && !at.After(w.now) {
			w.fail("Deadline is %v after a Tick at %v", at.Sub(began), w.now.Sub(began))
			return
		}
	}
}

// resign hands the group over: some of what was on its way is in the log all the same.
func (w *world) resign() {
	w.log = append(w.log, w.held[:w.rand.IntN(len(w.held)+1)]...)
	w.held, w.failed = nil, false
	w.step(Resign{})
	if !w.g.Gone() {
		w.fail("something is left after Resign")
	}
	w.g = loaded(w.log)
	w.g.Loaded(w.now, &w.cfg)
	clear(w.seen)
	clear(w.ahead)
	for o := range w.g.Offsets() {
		if generationOf(&o) > w.g.gen.number {
			w.ahead[TopicPartition{o.Topic, o.Partition}] = o
		}
	}
}

// invariants are held after each step.
func (w *world) invariants() {
	for o := range w.g.Offsets() {
		tp, gen := TopicPartition{o.Topic, o.Partition}, generationOf(&o)
		if was, ok := w.seen[tp]; ok && gen >= 0 && gen < was {
			w.fail("offset of %v goes back from generation %d to %d", tp, was, gen)
		}
		if w.ahead[tp] != o {
			w.seen[tp] = max(gen, w.seen[tp])
		}
	}
	if n := w.g.members.waiting(); n > w.cfg.MaxSize {
		w.fail("%d members have joined of at most %d", n, w.cfg.MaxSize)
	}
	if settled := w.g.State() == Stable || w.g.State() == Empty; settled && len(w.held) == 0 && !w.failed && w.g.gen.number > 0 {
		w.loads()
	}
}

// loads holds that a settled group is what its records load.
func (w *world) loads() {
	is, again, cfg := w.g, loaded(w.log), w.cfg
	cfg.MaxSize = 100 // static members may be too many until their sessions end
	again.Loaded(w.now, &cfg)
	a, b := is.gen, again.gen
	a.since, b.since = time.Time{}, time.Time{}
	if a != b {
		w.fail("it is %+v and loads %+v", a, b)
	}
	if x, y := is.Describe(), again.Describe(); !reflect.DeepEqual(x, y) {
		w.fail("it is %+v and loads %+v", x, y)
	}
	if x, y := slices.Collect(is.Offsets()), slices.Collect(again.Offsets()); !slices.Equal(x, y) {
		w.fail("offsets are %v and load %v", x, y)
	}
}
