package meta

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sync/errgroup"
)

// Session is one life of this broker in the metadata: one lease, one incarnation,
// one live key. It is over when the lease is gone or the live key is not its own.
type Session struct {
	lease       clientv3.LeaseID
	epoch       int64
	incarnation string
	renewed     atomic.Int64 // boot time at which the last renewal was sent
	done        chan struct{}
}

// BrokerEpoch is the mod revision of this life's live key.
func (s *Session) BrokerEpoch() int64 { return s.epoch }

// Incarnation tells this life from the others.
func (s *Session) Incarnation() string { return s.incarnation }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// IsOver reports whether the session is over.
func (s *Session) IsOver() bool {
	select {
	case <-s.done:
		return true
	default:
		return false
	}
}

const (
	defaultLeaseTTL = 6 * time.Second
	renewEvery      = 500 * time.Millisecond
	revokeDeadline  = time.Second // longest wait for a lease to be given back
	complainEvery   = 10 * time.Second
)

// Session is the last session, nil before the first registration.
func (m *Meta) Session() *Session {
	s, _ := m.session.get()
	return s
}

// live registers this broker and keeps its session; when that is over it
// registers again, as a new life.
func (m *Meta) live(ctx context.Context) error {
	if !wait(ctx, m.cache.loaded) {
		return nil
	}
	for {
		s := m.registerAtLast(ctx)
		if s == nil {
			return nil
		}
		first := m.Session() == nil
		m.session.update(func(*Session) *Session { return s })
		m.waitsFor("")
		m.log.Info("broker registered", "broker", m.cfg.NodeID, "brokerEpoch", s.epoch)
		if first {
			close(m.registered)
		}
		err := m.keep(ctx, s)
		close(s.done)
		if ctx.Err() != nil {
			m.node.handOver() // first: the others have something to write once the lease is gone
		}
		m.revoke(s.lease) // with it goes the controller key
		if ctx.Err() != nil {
			return nil
		}
		m.waitsFor("registering this broker again")
		m.log.Warn("session lost; registering again", "broker", m.cfg.NodeID, "brokerEpoch", s.epoch, "err", err)
	}
}

// registerAtLast tries until the broker is registered; nil when ctx ended.
func (m *Meta) registerAtLast(ctx context.Context) *Session {
	var complained time.Time
	for {
		_, changed := m.Watch()
		s, err := m.register(ctx)
		if ctx.Err() != nil {
			if s != nil {
				m.revoke(s.lease)
			}
			return nil
		}
		if err == nil {
			return s
		}
		m.waitsFor(err.Error())
		if time.Since(complained) > complainEvery {
			complained = time.Now()
			m.log.Error("this broker cannot register; trying again", "broker", m.cfg.NodeID, "err", err)
		}
		select {
		case <-changed: // whoever was in the way may be gone
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// register begins a new life: a lease, the broker's own key and its live key.
func (m *Meta) register(ctx context.Context) (*Session, error) {
	seen, err := m.endEarlierLife(ctx)
	if err != nil {
		return nil, err
	}
	callCtx, cancel := deadline(ctx)
	defer cancel()
	asked := bootTime()
	lease, err := m.client.Grant(callCtx, int64(m.cfg.LeaseTTL/time.Second))
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	s := &Session{lease: lease.ID, incarnation: EncodeID(NewID()), done: make(chan struct{})}
	s.renewed.Store(int64(asked))
	if s.epoch, err = m.appear(callCtx, s, seen); err == nil {
		err = m.WaitRevision(callCtx, s.epoch)
	}
	if err != nil {
		m.revoke(s.lease)
		return nil, err
	}
	return s, nil
}

// appear puts the two keys of a life, if live/<me> is still at revision seen.
func (m *Meta) appear(ctx context.Context, s *Session, seen int64) (epoch int64, err error) {
	sign, err := encode(liveValue{s.incarnation, m.directory()})
	if err != nil {
		return 0, err
	}
	broker, err := encode(m.selfIn(s))
	if err != nil {
		return 0, err
	}
	c := change{}
	c.when(at(liveKey(m.cfg.NodeID), seen))
	c.put(brokerKey(m.cfg.NodeID), broker)
	c.put(liveKey(m.cfg.NodeID), sign, clientv3.WithLease(s.lease))
	resp, err := m.send(ctx, c)
	if err != nil {
		return 0, fmt.Errorf("register: %w", err)
	}
	if !resp.Succeeded {
		return 0, fmt.Errorf("register: %w", m.aliveElsewhere())
	}
	return resp.Header.Revision, nil
}

func (m *Meta) aliveElsewhere() error {
	return fmt.Errorf("broker %d is alive elsewhere, or was until less than %v ago: two nodes must not have the same --node-id",
		m.cfg.NodeID, m.cfg.LeaseTTL)
}

// endEarlierLife ends the life of an earlier process in this directory: the lock
// on the directory proves that it is over. Revoking its lease takes its controller
// key along. A life in another directory is waited for. It returns the revision
// of a live key that is in nobody's way, 0 for none.
func (m *Meta) endEarlierLife(ctx context.Context) (seen int64, err error) {
	l := m.Snapshot().liveOf(m.cfg.NodeID)
	switch {
	case l.epoch == 0:
		return 0, nil
	case l.lease == 0: // no life has a live key without a lease: a person wrote it
		return l.epoch, nil
	case l.Directory != m.directory():
		return 0, fmt.Errorf("%w (its data directory is %s)", m.aliveElsewhere(), l.Directory)
	}
	callCtx, cancel := deadline(ctx)
	defer cancel()
	_, err = m.client.Revoke(callCtx, l.lease)
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return 0, fmt.Errorf("end this broker's earlier life: %w", err)
	}
	return 0, nil
}

// revoke gives a lease back so that others need not wait for it to run out.
func (m *Meta) revoke(lease clientv3.LeaseID) {
	ctx, cancel := context.WithTimeout(context.Background(), revokeDeadline)
	defer cancel()
	if _, err := m.client.Revoke(ctx, lease); err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		m.log.Warn("a lease was not given back", "broker", m.cfg.NodeID, "err", err)
	}
}

// keep holds the session until it is over, and says why.
func (m *Meta) keep(ctx context.Context, s *Session) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return m.renew(ctx, s) })
	g.Go(func() error { return m.announce(ctx, s) })
	return g.Wait()
}

// renew keeps the lease alive. Only a lease that is gone is an error: when etcd
// does not answer, the next renewal may still come in time.
func (m *Meta) renew(ctx context.Context, s *Session) error {
	tick := time.NewTicker(renewEvery)
	defer tick.Stop()
	renewed, late := time.Now(), false
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
		sent, sentAt := time.Now(), bootTime()
		callCtx, cancel := context.WithTimeout(ctx, attemptDeadline)
		_, err := m.client.KeepAliveOnce(callCtx, s.lease)
		cancel()
		switch {
		case err == nil:
			renewed, late = sent, false
			s.renewed.Store(int64(sentAt))
		case errors.Is(err, rpctypes.ErrLeaseNotFound):
			return err
		case ctx.Err() == nil && !late:
			late = true
			m.log.Warn("lease not renewed; trying again", "broker", m.cfg.NodeID, "since", time.Since(renewed).Round(time.Millisecond), "err", err)
		}
	}
}

// announce keeps brokers/<me> as this broker wants to be seen, takes the
// controller key when nobody has it, and ends when the live key is not that of s.
func (m *Meta) announce(ctx context.Context, s *Session) error {
	for {
		_, selfChanged := m.self.get()
		snap, changed := m.Watch()
		if epoch, _ := snap.Live(m.cfg.NodeID); epoch != s.epoch {
			return errors.New("the live key is gone or of another life")
		}
		err := m.announceSelf(ctx, snap, s)
		if err == nil {
			err = m.campaign(ctx, snap, s)
		}
		var again <-chan time.Time
		if err != nil && ctx.Err() == nil {
			m.log.Warn("this broker's state is not announced; trying again", "broker", m.cfg.NodeID, "err", err)
			again = time.After(renewEvery)
		}
		select {
		case <-changed:
		case <-selfChanged:
		case <-again:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// announceSelf writes brokers/<me> when it is not what it should be.
func (m *Meta) announceSelf(ctx context.Context, snap *Snapshot, s *Session) error {
	value, err := encode(m.selfIn(s))
	if err != nil {
		return err
	}
	if b := snap.Broker(m.cfg.NodeID); b != nil && snap.bad[brokerKey(m.cfg.NodeID)] == 0 {
		shown, err := encode(b)
		if err != nil || shown == value {
			return err
		}
	}
	c := change{}
	c.when(at(liveKey(m.cfg.NodeID), s.epoch))
	c.put(brokerKey(m.cfg.NodeID), value)
	resp, err := m.sendWithin(ctx, m.cfg.resendAfter, c)
	if err != nil {
		return err
	}
	// When the live key was not that of s the snapshot is about to tell.
	return m.WaitRevision(ctx, resp.Header.Revision)
}

// selfIn is what this broker registers in a life.
func (m *Meta) selfIn(s *Session) Broker {
	b, _ := m.self.get()
	b.Incarnation = s.incarnation
	return b
}

func (m *Meta) directory() string {
	b, _ := m.self.get()
	return b.Directory
}

// SetBroker changes what this broker says of itself, except its state. It waits
// for nothing.
func (m *Meta) SetBroker(b Broker) {
	m.self.update(func(old Broker) Broker { return m.ownBroker(b, old.State) })
}

func (m *Meta) ownBroker(b Broker, state string) Broker {
	b.ID, b.State, b.Incarnation = m.cfg.NodeID, state, ""
	if b.Listeners == nil {
		b.Listeners = map[string]string{}
	}
	return b
}

// SetState changes the state of this broker: Active after its logs are recovered,
// Draining before it stops. It returns when the snapshot shows it. The state holds
// in later sessions too.
func (m *Meta) SetState(ctx context.Context, state string) error {
	m.self.update(func(b Broker) Broker { b.State = state; return b })
	for {
		snap, changed := m.Watch()
		s, renewed := m.session.get()
		if snap != nil && s != nil {
			if b := snap.Broker(m.cfg.NodeID); b != nil && b.State == state && b.Incarnation == s.incarnation {
				return nil
			}
		}
		select {
		case <-changed:
		case <-renewed:
		case <-ctx.Done():
			return fmt.Errorf("broker %d is not %s yet: %w", m.cfg.NodeID, state, ctx.Err())
		}
	}
}

// ReportDead ends the life epoch of another broker, whose process is proved to be
// gone: its lease is revoked, and its live key and, where it held it, the controller
// key go in one revision, which the snapshot shows on return. A later life has
// another lease and is not touched; then, and when that life is over already, it
// does nothing.
func (m *Meta) ReportDead(ctx context.Context, id int32, epoch int64) error {
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return err
	}
	l := snap.liveOf(id)
	if l.epoch != epoch || epoch == 0 {
		return nil
	}
	if l.lease == 0 {
		return fmt.Errorf("%w: %s has no lease", ErrRefused, liveKey(id))
	}
	ctx, cancel := deadline(ctx)
	defer cancel()
	if err := m.node.awaitLeader(ctx); err != nil {
		return fmt.Errorf("%w: %w", ErrNoQuorum, err)
	}
	resp, err := m.client.Revoke(ctx, l.lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil // the snapshot is about to tell
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrTimeout, err)
	}
	return m.WaitRevision(ctx, resp.Header.Revision)
}
