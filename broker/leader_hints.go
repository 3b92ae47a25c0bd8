package broker

import (
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/meta"
	"chronik/wire"
)

// The first versions whose answers name leaders (KIP-951).
const (
	produceHints = 10
	fetchHints   = 16
)

// leaderHints gathers for one answer who leads what the client asked the wrong broker
// for, so that it need not ask for metadata first. Only what is known is told: a leader
// that is alive in the life that won, with its epoch.
type leaderHints struct {
	c     *conn
	snap  *meta.Snapshot
	nodes []wire.Node
}

func (c *conn) newLeaderHints() *leaderHints { return &leaderHints{c: c, snap: c.b.snap()} }

// named is where the leaders are that the answer names.
func (h *leaderHints) named() []wire.Node {
	if h == nil {
		return nil
	}
	return h.nodes
}

// topic finds a topic as a request named it.
func (h *leaderHints) topic(byID bool, name []byte, id [16]byte) *meta.Topic {
	if byID {
		return h.snap.TopicByID(id)
	}
	return h.snap.Topic(string(name))
}

// leader is who leads partition n of t, nil when that is not known.
func (h *leaderHints) leader(t *meta.Topic, n int32) *wire.LeaderAndEpoch {
	if t == nil || n < 0 || int(n) >= len(t.Partitions) {
		return nil
	}
	b, mp := h.c.b, t.Partitions[n]
	if mp == nil || !led(h.snap, mp) || b.peers.isLost(mp) || mp.Leader == b.cfg.NodeID && !b.leads(t, n, mp.LeaderEpoch) {
		return nil
	}
	br := h.snap.Broker(mp.Leader)
	if br == nil {
		return nil
	}
	if !slices.ContainsFunc(h.nodes, func(n wire.Node) bool { return n.ID == br.ID }) {
		h.nodes = append(h.nodes, h.node(br))
	}
	return &wire.LeaderAndEpoch{LeaderID: mp.Leader, LeaderEpoch: mp.LeaderEpoch}
}

// leads reports whether this broker serves a partition in an epoch: it may have won and
// not have taken that up yet.
func (b *Broker) leads(t *meta.Topic, n, epoch int32) bool {
	own := b.topics.withID(t.ID)
	if own == nil {
		return false
	}
	p := own.partition(n)
	return p != nil && p.epoch == epoch && p.usable() == nil
}

// node is where a broker is, as a client on this connection is told.
func (h *leaderHints) node(br *meta.Broker) wire.Node {
	n := wire.Node{ID: br.ID, Host: br.Host, Port: br.Port, Rack: br.Rack}
	if br.ID == h.c.b.cfg.NodeID {
		n.Host, n.Port = h.c.b.advertised(h.c)
	}
	return n
}

// nameLeaders tells a producer who leads what this broker does not.
func (a *produceAnswer) nameLeaders() {
	if a.h.Version < produceHints {
		return
	}
	var hints *leaderHints
	for i := range a.resp.Topics {
		t := &a.resp.Topics[i]
		for j := range t.Partitions {
			p := &t.Partitions[j]
			if p.ErrorCode != kerr.NotLeaderForPartition.Code {
				continue
			}
			if hints == nil {
				hints = a.c.newLeaderHints()
			}
			p.CurrentLeader = hints.leader(hints.topic(a.h.Version >= 13, t.Name, t.ID), p.Index)
		}
	}
	a.resp.Nodes = hints.named()
}

// nameLeader tells a consumer who leads a partition that it could not read here, or not
// in the epoch that it knows.
func (a *fetchAnswer) nameLeader(fp *fetchPartition, h *wire.FetchPartitionHeader) {
	moved := h.ErrorCode == kerr.NotLeaderForPartition.Code || h.ErrorCode == kerr.FencedLeaderEpoch.Code
	if !moved || a.h.Version < fetchHints || fp.replica >= 0 {
		return
	}
	if a.hints == nil {
		a.hints = a.c.newLeaderHints()
	}
	h.CurrentLeader = a.hints.leader(a.hints.topic(true, nil, fp.id), fp.num)
}
