package meta

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// campaign takes the controller key if its holder's life is over or nobody has it.
func (m *Meta) campaign(ctx context.Context, snap *Snapshot, s *Session) error {
	if _, ok := snap.Controller(); ok {
		return nil
	}
	return m.takeSeat(ctx, snap, s)
}

// TakeController makes this broker the controller, in place of one that does not answer
// in the life that has a broker epoch. It does nothing when that is not the controller
// any more. Two controllers do no harm: each compares the key with every write.
func (m *Meta) TakeController(ctx context.Context, brokerEpoch int64) error {
	snap, err := m.loadedSnapshot(ctx)
	if err != nil {
		return err
	}
	s := m.Session()
	if s == nil || s.IsOver() || snap.controller.BrokerEpoch != brokerEpoch {
		return nil
	}
	return m.takeSeat(ctx, snap, s)
}

// takeSeat writes the controller key, unless another one did since snap.
func (m *Meta) takeSeat(ctx context.Context, snap *Snapshot, s *Session) error {
	value, err := encode(controllerValue{Broker: m.cfg.NodeID, BrokerEpoch: s.epoch})
	if err != nil {
		return err
	}
	c := change{}
	c.when(at(controllerKey, snap.controller.revision), at(liveKey(m.cfg.NodeID), s.epoch))
	c.put(controllerKey, value, clientv3.WithLease(s.lease))
	resp, err := m.sendWithin(ctx, m.cfg.resendAfter, c)
	if err != nil {
		return fmt.Errorf("campaign for controller: %w", err)
	}
	return m.WaitRevision(ctx, resp.Header.Revision)
}
