package meta

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Session is one life of this broker in the metadata: one lease, one incarnation.
type Session struct {
	lease       clientv3.LeaseID
	epoch       int64
	incarnation string
	done        chan struct{}
}

// BrokerEpoch is the mod revision of this life's live key.
func (s *Session) BrokerEpoch() int64 { return s.epoch }

// Incarnation tells this life from the others.
func (s *Session) Incarnation() string { return s.incarnation }

// Done is closed when the session is over.
func (s *Session) Done() <-chan struct{} { return s.done }

// Session is the present session, nil before the first registration.
func (m *Meta) Session() *Session { return m.session.Load() }

// settleCluster makes the cluster key, or finds it, and holds it against the
// data directory.
func (m *Meta) settleCluster(ctx context.Context) error {
	fresh, err := json.Marshal(Cluster{ID: EncodeID(NewID()), Schema: Schema, Features: map[string]string{}})
	if err != nil {
		return err
	}
	cond := clientv3.Compare(clientv3.CreateRevision(clusterKey), "=", 0)
	txn := m.txn().If(cond).Else(clientv3.OpGet(clusterKey))
	if m.cfg.ClusterID == "" {
		txn.Then(clientv3.OpPut(clusterKey, string(fresh)))
	}
	resp, err := txn.Commit(ctx)
	if err != nil {
		return fmt.Errorf("read the cluster's id: %w", err)
	}
	if resp.Succeeded {
		if m.cfg.ClusterID != "" {
			return fmt.Errorf("the data directory belongs to cluster %s, but its etcd in %s is empty", m.cfg.ClusterID, m.cfg.Dir)
		}
		return nil
	}
	var c Cluster
	if err := json.Unmarshal(resp.Responses[0].GetResponseRange().Kvs[0].Value, &c); err != nil {
		return fmt.Errorf("read the cluster's id: %w", err)
	}
	if c.Schema > Schema {
		return fmt.Errorf("a newer build wrote the metadata: schema %d, this one knows %d", c.Schema, Schema)
	}
	if m.cfg.ClusterID != "" && m.cfg.ClusterID != c.ID {
		return fmt.Errorf("the data directory belongs to cluster %s, its etcd to %s", m.cfg.ClusterID, c.ID)
	}
	return nil
}

// NewID returns a random id. None begins with '-' in its text form: tools take
// such a word for a flag.
func NewID() (id [16]byte) {
	for {
		rand.Read(id[:])
		if EncodeID(id)[0] != '-' {
			return id
		}
	}
}

// live registers this broker and keeps its lease; when the session is over it
// registers again, as a new life.
func (m *Meta) live(ctx context.Context) error {
	if !wait(ctx, m.cache.loaded) {
		return nil
	}
	for first := true; ; first = false {
		m.waitsFor("registering this broker")
		s, err := m.register(ctx)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			m.log.Warn("registration failed; trying again", "broker", m.cfg.NodeID, "err", err)
			if !sleep(ctx, time.Second) {
				return nil
			}
			continue
		}
		m.session.Store(s)
		m.waitsFor("")
		m.log.Info("broker registered", "broker", m.cfg.NodeID, "brokerEpoch", s.epoch, "cluster", m.Snapshot().Cluster().ID)
		if first {
			close(m.registered)
		}
		err = m.keep(ctx, s)
		close(s.done)
		if ctx.Err() != nil {
			return m.resign(s)
		}
		m.log.Warn("session lost; registering again", "broker", m.cfg.NodeID, "err", err)
	}
}

func wait(ctx context.Context, c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	case <-ctx.Done():
		return false
	}
}

func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// register begins a new life: a lease, the broker's own key and its live key,
// and the controller key when nobody holds it.
func (m *Meta) register(ctx context.Context) (*Session, error) {
	if err := m.endEarlierLife(ctx); err != nil {
		return nil, err
	}
	callCtx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	lease, err := m.client.Grant(callCtx, leaseTTL)
	if err != nil {
		return nil, fmt.Errorf("grant a lease: %w", err)
	}
	s := &Session{lease: lease.ID, incarnation: EncodeID(NewID()), done: make(chan struct{})}
	sign, err := json.Marshal(live{Incarnation: s.incarnation, Directory: m.cfg.Broker.Directory})
	if err != nil {
		return nil, err
	}
	broker, err := m.brokerValue(s.incarnation)
	if err != nil {
		return nil, err
	}
	resp, err := m.txn().
		If(clientv3.Compare(clientv3.CreateRevision(liveKey(m.cfg.NodeID)), "=", 0)).
		Then(clientv3.OpPut(brokerKey(m.cfg.NodeID), broker),
			clientv3.OpPut(liveKey(m.cfg.NodeID), string(sign), clientv3.WithLease(s.lease))).
		Commit(ctx)
	if err != nil {
		return nil, fmt.Errorf("register: %w", err)
	}
	if !resp.Succeeded {
		return nil, fmt.Errorf("broker %d is alive elsewhere", m.cfg.NodeID)
	}
	s.epoch = resp.Header.Revision
	if err := m.campaign(ctx, s); err != nil {
		return nil, err
	}
	return s, m.WaitRevision(ctx, s.epoch)
}

func (m *Meta) brokerValue(incarnation string) (string, error) {
	b := m.cfg.Broker
	b.ID, b.Incarnation, b.State = m.cfg.NodeID, incarnation, *m.state.Load()
	text, err := json.Marshal(b)
	return string(text), err
}

// endEarlierLife removes the live key of this directory's earlier life: the
// directory lock proves that it is over. One of another directory is waited for.
func (m *Meta) endEarlierLife(ctx context.Context) error {
	callCtx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	resp, err := m.client.Get(callCtx, liveKey(m.cfg.NodeID))
	if err != nil {
		return fmt.Errorf("look for an earlier life: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return nil
	}
	var l live
	if err := json.Unmarshal(resp.Kvs[0].Value, &l); err != nil {
		return fmt.Errorf("%s: %w", liveKey(m.cfg.NodeID), err)
	}
	if l.Directory != m.cfg.Broker.Directory {
		return fmt.Errorf("another machine runs as broker %d, with data directory %s: change the node id of one of them", m.cfg.NodeID, l.Directory)
	}
	if resp.Kvs[0].Lease == 0 { // typed by hand: no lease ends it
		_, err = m.client.Delete(callCtx, liveKey(m.cfg.NodeID))
		return err
	}
	_, err = m.client.Revoke(callCtx, clientv3.LeaseID(resp.Kvs[0].Lease))
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return nil
	}
	return err
}

// campaign takes the controller key if nobody has it.
func (m *Meta) campaign(ctx context.Context, s *Session) error {
	value, err := json.Marshal(controllerValue{Broker: m.cfg.NodeID, BrokerEpoch: s.epoch})
	if err != nil {
		return err
	}
	_, err = m.txn().
		If(clientv3.Compare(clientv3.CreateRevision(controllerKey), "=", 0)).
		Then(clientv3.OpPut(controllerKey, string(value), clientv3.WithLease(s.lease))).
		Commit(ctx)
	if err != nil {
		return fmt.Errorf("campaign for controller: %w", err)
	}
	return nil
}

// keep renews the lease until the session is over: the lease is gone, or the
// live key is not this life's.
func (m *Meta) keep(ctx context.Context, s *Session) error {
	tick := time.NewTicker(renewInterval)
	defer tick.Stop()
	for {
		snap, changed := m.Watch()
		if epoch, ok := snap.Live(m.cfg.NodeID); !ok || epoch != s.epoch {
			return errors.New("the live key is gone or another's")
		}
		if _, ok := snap.Controller(); !ok {
			if err := m.campaign(ctx, s); err != nil && ctx.Err() == nil {
				m.log.Warn("campaign failed", "err", err)
			}
		}
		select {
		case <-changed:
		case <-tick.C:
			if err := m.renew(ctx, s); err != nil {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// renew keeps the lease alive. Only a lease that is gone is an error: when etcd
// does not answer, the next renewal may still come in time.
func (m *Meta) renew(ctx context.Context, s *Session) error {
	callCtx, cancel := context.WithTimeout(ctx, callDeadline)
	defer cancel()
	_, err := m.client.KeepAliveOnce(callCtx, s.lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return err
	}
	if err != nil && ctx.Err() == nil {
		m.log.Warn("lease not renewed", "err", err)
	}
	return nil
}

// resign gives the lease back at a clean stop, so that others need not wait for
// it to run out.
func (m *Meta) resign(s *Session) error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if _, err := m.client.Revoke(ctx, s.lease); err != nil {
		m.log.Warn("lease not given back", "err", err)
	}
	return nil
}

// SetState changes what this broker says of itself: Active after its logs are
// recovered, Draining before it stops. It holds in later sessions too.
func (m *Meta) SetState(ctx context.Context, state string) error {
	m.state.Store(&state)
	s := m.Session()
	broker, err := m.brokerValue(s.incarnation)
	if err != nil {
		return err
	}
	rev, err := m.write(ctx, nil, clientv3.OpPut(brokerKey(m.cfg.NodeID), broker))
	if err != nil {
		return fmt.Errorf("change the state of broker %d to %s: %w", m.cfg.NodeID, state, err)
	}
	return m.WaitRevision(ctx, rev)
}
