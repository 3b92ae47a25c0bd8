package meta

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	// ErrExists means that what was to be created is there.
	ErrExists = errors.New("exists already")
	// ErrNotFound means that what was to be changed is not there.
	ErrNotFound = errors.New("not found")
	// ErrConflict means that another write came in between, or this broker or a
	// leader began another life.
	ErrConflict = errors.New("the metadata changed meanwhile")
	// ErrTimeout means that the outcome of a write is unknown.
	ErrTimeout = errors.New("no answer from the metadata in time; the change may or may not be made")
	// ErrNoQuorum means that etcd has no leader; nothing was changed.
	ErrNoQuorum = errors.New("the metadata has no quorum")
	// ErrRefused means that etcd refused a write; nothing was changed.
	ErrRefused = errors.New("the metadata refused the change")
)

const (
	// callDeadline bounds every write, all its attempts together.
	callDeadline = 5 * time.Second
	// attemptDeadline is after how long a write that got no answer is sent again.
	attemptDeadline = 2 * time.Second
	// defaultResendAfter is the same for the first attempt; each further one has twice the
	// time. What was on its way to a leader of etcd that went away is lost, and the clients
	// of a partition wait meanwhile.
	defaultResendAfter = 400 * time.Millisecond
)

// change is what one transaction does: ops, if all conds hold. At least one op
// makes a condition fail, so that sending it twice has the effect of once.
type change struct {
	conds []clientv3.Cmp
	ops   []clientv3.Op
	// otherwise is read when a condition fails.
	otherwise []clientv3.Op
}

func (c *change) when(conds ...clientv3.Cmp) { c.conds = append(c.conds, conds...) }
func (c *change) do(ops ...clientv3.Op)      { c.ops = append(c.ops, ops...) }

func (c *change) put(key, value string, opts ...clientv3.OpOption) {
	c.do(clientv3.OpPut(key, value, opts...))
}

// at holds while a key is at the mod revision that a decision was based on; 0 is
// a key that is not there.
func at(key string, rev int64) clientv3.Cmp {
	return clientv3.Compare(clientv3.ModRevision(key), "=", rev)
}

// send commits one transaction once. Its errors say what is known: ErrNoQuorum and
// ErrRefused that nothing was changed, ErrTimeout that nobody knows.
func (m *Meta) send(ctx context.Context, c change) (*clientv3.TxnResponse, error) {
	return m.sendWithin(ctx, attemptDeadline, c)
}

// sendWithin is send with another time for the answer, from when etcd has a leader.
func (m *Meta) sendWithin(ctx context.Context, patience time.Duration, c change) (*clientv3.TxnResponse, error) {
	if !wait(ctx, m.ready) {
		return nil, fmt.Errorf("%w: etcd has not started", ErrNoQuorum)
	}
	leaderCtx, cancel := context.WithTimeout(ctx, attemptDeadline)
	defer cancel()
	if err := m.node.awaitLeader(leaderCtx); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	ctx, cancel = context.WithTimeout(ctx, patience)
	defer cancel()
	resp, err := m.client.Txn(ctx).If(c.conds...).Then(c.ops...).Else(c.otherwise...).Commit()
	if err == nil {
		return resp, nil
	}
	for _, refusal := range refusals {
		if errors.Is(err, refusal) {
			return nil, fmt.Errorf("%w: %w", ErrRefused, err)
		}
	}
	return nil, fmt.Errorf("%w: %w", ErrTimeout, err)
}

// refusals are the answers that prove that nothing was written.
var refusals = []error{
	rpctypes.ErrNoSpace, rpctypes.ErrTooManyRequests, rpctypes.ErrRequestTooLarge, rpctypes.ErrTooManyOps,
	rpctypes.ErrDuplicateKey, rpctypes.ErrLeaseNotFound, rpctypes.ErrEmptyKey,
}

// write commits a change as this broker in its present life. It sends it again
// while the outcome is unknown: the change takes effect once, or one of its
// conditions fails, and then the lost one has landed or never can. ErrConflict
// comes with the revision at which a condition did not hold; the snapshot shows
// it. resent says that an earlier attempt may be what broke the condition.
func (m *Meta) write(ctx context.Context, c change) (rev int64, resent bool, err error) {
	s, err := m.liveSession(ctx)
	if err != nil {
		return 0, false, err
	}
	c.when(at(liveKey(m.cfg.NodeID), s.epoch))
	for patience := m.cfg.resendAfter; ; patience = min(2*patience, attemptDeadline) {
		var resp *clientv3.TxnResponse
		resp, err = m.sendWithin(ctx, patience, c)
		switch {
		case err == nil && resp.Succeeded:
			return resp.Header.Revision, resent, nil
		case err == nil:
			return resp.Header.Revision, resent, m.conflict(ctx, s, resp.Header.Revision)
		case !errors.Is(err, ErrTimeout) && resent: // what became of the first is not known
			err = fmt.Errorf("%w: %w", ErrTimeout, err)
		}
		if !errors.Is(err, ErrTimeout) || ctx.Err() != nil {
			return 0, resent, err
		}
		resent = true
	}
}

// conflict waits until the snapshot shows what broke a condition at revision rev:
// something else, or that this life is over.
func (m *Meta) conflict(ctx context.Context, s *Session, rev int64) error {
	if err := m.WaitRevision(ctx, rev); err != nil {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	if epoch, _ := m.Snapshot().Live(m.cfg.NodeID); epoch != s.epoch {
		wait(ctx, s.done)
	}
	return ErrConflict
}

// liveSession is this broker's session; it waits for one that goes on.
func (m *Meta) liveSession(ctx context.Context) (*Session, error) {
	for {
		s, changed := m.session.get()
		if s != nil && !s.IsOver() {
			return s, nil
		}
		if !wait(ctx, changed) {
			return nil, fmt.Errorf("%w: this broker is not registered", ErrNoQuorum)
		}
	}
}

// deadline bounds a typed write.
func deadline(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, callDeadline)
}

// loadedSnapshot is the present snapshot; it waits for the first.
func (m *Meta) loadedSnapshot(ctx context.Context) (*Snapshot, error) {
	if !wait(ctx, m.cache.loaded) {
		return nil, fmt.Errorf("%w: it was not read yet", ErrNoQuorum)
	}
	return m.Snapshot(), nil
}

// wait reports whether c was closed before ctx ended.
func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}
