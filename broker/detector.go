package broker

import "time"

// observed is what this broker knows of another one by its connections to it.
// Refused is proof, silence is not: when a connection broke and nobody listens at the
// address any more, the process is gone; a broker that does not answer is left to its
// lease. A mistake costs availability alone, since safety rests on epochs. Pure.
type observed struct {
	reached  int64     // the last life that answered
	stopping int64     // the life that said that it is about to stop
	spent    bool      // a refusal was used, and the broker was not reached since
	heard    time.Time // when it answered last
	silent   time.Time // when it was noticed that it is not reached; zero: it is
	missing  missing
	refusals refusals
}

// brokerLife is a broker in one of its lives.
type brokerLife struct {
	id    int32
	epoch int64
}

// missing is a life that broke its connection or refuses others, and since when; the
// zero value is none.
type missing struct {
	epoch int64
	since time.Time
}

// refusals are dials in a row that the host of one life refused.
type refusals struct {
	epoch       int64
	first, last time.Time
}

const (
	// A life that was reached is over when two dials are refused within this time.
	refusedWithin = 200 * time.Millisecond

	// A life that never was, perhaps for a wrong address, is over when all dials are
	// refused for this time.
	refusedFor = time.Second

	// One that was about to stop without saying that it does has this time to stop.
	refusedDraining = 3 * time.Second
)

// answered notes that the broker answered, in a life.
func (o *observed) answered(epoch int64, stopping bool, now time.Time) {
	o.present(epoch)
	o.reached, o.spent, o.heard, o.silent = epoch, false, now, time.Time{}
	if stopping {
		o.stopping = epoch
	}
}

// present forgets what spoke against a life.
func (o *observed) present(epoch int64) {
	o.refusals = refusals{}
	if o.missing.epoch == epoch {
		o.missing = missing{}
	}
}

// broke notes that a connection ended on which a life had answered.
func (o *observed) broke(epoch int64, now time.Time) {
	o.unreached(now)
	o.miss(epoch, now)
}

// turnedAway notes that a connection was accepted and ended before anything was
// answered: by a process that dies, or, if that goes on, by one that takes no more.
func (o *observed) turnedAway(epoch int64, now time.Time) {
	o.unreached(now)
	if o.refusals = (refusals{}); now.Sub(o.missing.since) > refusedWithin {
		o.present(epoch)
	}
}

// failed notes a dial or a request without an answer: that says nothing.
func (o *observed) failed(epoch int64, now time.Time) {
	o.unreached(now)
	o.present(epoch)
}

// refused notes a dial that the host of a life refused, and reports whether that
// proves the life to be over. It does so once until the broker is reached again.
// draining says that the metadata shows it about to stop.
func (o *observed) refused(epoch int64, draining bool, now time.Time) (over bool) {
	o.unreached(now)
	if o.refusals.epoch != epoch {
		o.refusals = refusals{epoch: epoch, first: now}
	}
	again := !o.refusals.last.IsZero()
	apart := now.Sub(o.refusals.last)
	o.refusals.last = now
	if o.spent {
		return false
	}
	o.miss(epoch, now)
	switch {
	case !again || o.stopping == epoch: // one that stops gives its lease back itself
		return false
	case draining:
		o.spent = now.Sub(o.refusals.first) >= refusedDraining
	case o.reached == epoch:
		o.spent = apart <= refusedWithin
	default:
		o.spent = now.Sub(o.refusals.first) >= refusedFor
	}
	return o.spent
}

// refuted notes that others reach the broker that this one is refused by.
func (o *observed) refuted() { o.missing = missing{} }

func (o *observed) unreached(now time.Time) {
	if o.silent.IsZero() {
		o.silent = now
	}
}

func (o *observed) miss(epoch int64, now time.Time) {
	if o.missing.epoch != epoch {
		o.missing = missing{epoch, now}
	}
}

// unreachedFor is for how long an answer of the broker is due, 0 while none is. The
// connection need not have failed for that.
func (o *observed) unreachedFor(now time.Time) time.Duration {
	switch {
	case o == nil, o.heard.IsZero() && o.silent.IsZero():
		return 0
	case o.heard.IsZero():
		return now.Sub(o.silent)
	}
	return max(0, now.Sub(o.heard)-keepAliveEvery)
}

// begins notes that the metadata shows another life, which nobody has dialled yet.
func (o *observed) begins(now time.Time) { o.heard, o.silent = time.Time{}, now }

// reaches reports whether a life is reached at this moment.
func (o *observed) reaches(epoch int64) bool {
	return o != nil && o.reached == epoch && o.silent.IsZero()
}

// isSettled reports whether more refusals of a life prove nothing.
func (o *observed) isSettled(epoch int64) bool { return o.spent || o.stopping == epoch }

// How long after a failed dial the next one is made.
const (
	redialRefused = 50 * time.Millisecond
	redialAway    = 10 * time.Millisecond  // turned away, perhaps by a process that dies
	redialSilent  = 500 * time.Millisecond // where another failure proves nothing
)
