package meta

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// The stages of a voter on its way into etcd. Etcd itself would let a voter whose
// directory was wiped and one that fell behind form a quorum without what the
// others committed. So a new cluster begins only after every voter has said that it
// has nothing and has noted that (forming); whoever has nothing later rejoins.
const (
	empty   = "empty"
	forming = "forming"
	inEtcd  = "in etcd"
)

// stand is what a node tells others on its peer port of how far it is.
type stand struct {
	Node    int32  `json:"node"`
	Stage   string `json:"stage"`
	Peers   string `json:"peers"`   // that it was started with
	Cluster string `json:"cluster"` // that its data directory belongs to, "" for none
	Process string `json:"process"` // tells this process from any other
}

// heard is what a voter answered, nil when it was silent.
type heard struct {
	id    int32
	addr  string
	stand *stand
}

func (h heard) String() string { return fmt.Sprintf("node %d (%s)", h.id, h.addr) }

// step is what a voter without etcd does next.
type step int

const (
	stay   step = iota // ask again
	mark               // note that all have nothing
	found              // start the new cluster
	rejoin             // of a cluster that is there
)

// decide says what a voter does next, and why it stays. others are all other
// voters. Pure.
func decide(me stand, others []heard) (step, string) {
	var silent, strange, lost, late []string
	founded := false
	for _, o := range others {
		switch {
		case o.stand == nil:
			silent = append(silent, o.String())
		case o.stand.Node != o.id:
			strange = append(strange, fmt.Sprintf("%s says that it is node %d", o, o.stand.Node))
		case o.stand.Stage == inEtcd && (me.Stage == empty || o.stand.Peers == me.Peers):
			founded = true
		case o.stand.Peers != me.Peers:
			strange = append(strange, fmt.Sprintf("%s was started with --peers %s", o, o.stand.Peers))
		case o.stand.Cluster != "":
			lost = append(lost, o.String())
		case o.stand.Stage == empty:
			late = append(late, o.String())
		}
	}
	switch {
	case founded && me.Stage == empty:
		return rejoin, ""
	case founded:
		return found, ""
	case me.Cluster != "":
		return stay, fmt.Sprintf("the data directory belongs to cluster %s but has no metadata; no member of it answers", me.Cluster)
	case len(strange) > 0:
		return stay, strings.Join(strange, ", ")
	case len(lost) > 0:
		return stay, fmt.Sprintf("%s belonged to a cluster before, which must not be formed again", strings.Join(lost, ", "))
	case len(silent) > 0:
		return stay, strings.Join(silent, ", ") + answersNot(silent)
	case me.Stage == empty:
		return mark, ""
	case len(late) > 0:
		return stay, strings.Join(late, ", ") + " has yet to note that all are new"
	}
	return found, ""
}

func answersNot(who []string) string {
	if len(who) == 1 {
		return " does not answer"
	}
	return " do not answer"
}

const (
	askDeadline = time.Second
	// Voters that are started together find each other at once.
	askEvery, askRarely = 10 * time.Millisecond, 500 * time.Millisecond
	askOften            = 2 * time.Second
)

// enter finds out how this node gets into etcd: as a member that it is, with a new
// cluster, or into one that is there. It waits as long as that takes.
func (m *Meta) enter(ctx context.Context) (entry, error) {
	if m.cfg.alone() {
		return entry{}, nil
	}
	dir := m.cfg.directory()
	stage, err := dir.stage()
	if err != nil || stage == inEtcd {
		return entry{}, err
	}
	if len(m.cfg.Join) > 0 {
		return m.join(ctx)
	}
	for began, complained := time.Now(), false; ctx.Err() == nil; {
		me := m.stand(stage)
		others := m.askVoters(ctx)
		next, why := decide(me, others)
		switch next {
		case mark:
			if err := dir.mark(forming); err != nil {
				return entry{}, err
			}
			stage = forming
			continue
		case found:
			return entry{initialCluster: m.cfg.initialCluster()}, nil
		case rejoin:
			e, err := m.apply(ctx, inEtcdOf(others))
			if err == nil || errors.Is(err, errForeign) {
				return e, err
			}
			why = err.Error()
		}
		m.waitsFor("waiting for a quorum of etcd: " + why)
		if !complained && time.Since(began) > attemptDeadline {
			complained = true
			m.log.Warn("waiting for a quorum of etcd", "why", why)
		}
		pause := askRarely
		if time.Since(began) < askOften {
			pause = askEvery
		}
		if !sleep(ctx, pause) {
			break
		}
	}
	return entry{}, ctx.Err()
}

func (m *Meta) stand(stage string) stand {
	return stand{m.cfg.NodeID, stage, m.cfg.Peers.String(), m.cfg.ClusterID, m.process}
}

// inEtcdOf are the peer addresses of those who can admit this node.
func inEtcdOf(others []heard) (addrs []string) {
	for _, o := range others {
		if o.stand != nil && o.stand.Stage == inEtcd {
			addrs = append(addrs, o.addr)
		}
	}
	return addrs
}

// askVoters asks all other voters how they stand, all at once.
func (m *Meta) askVoters(ctx context.Context) []heard {
	var others []heard
	for _, id := range m.cfg.Peers.ids() {
		if id != m.cfg.NodeID {
			others = append(others, heard{id: id, addr: m.cfg.Peers[id]})
		}
	}
	ctx, cancel := context.WithTimeout(ctx, askDeadline)
	defer cancel()
	var asked sync.WaitGroup
	for i := range others {
		asked.Go(func() {
			if s, err := m.peers.ask(ctx, others[i].addr); err == nil {
				others[i].stand = &s
			}
		})
	}
	asked.Wait()
	return others
}

// awaitQuorum waits until etcd has a leader. It tells once that it takes long, and
// names in Why who is missing.
func (m *Meta) awaitQuorum(ctx context.Context) error {
	m.waitsFor("waiting for a quorum of etcd")
	for first := true; ; first = false {
		soon, cancel := context.WithTimeout(ctx, attemptDeadline)
		err := m.node.awaitLeader(soon)
		cancel()
		if err == nil || ctx.Err() != nil {
			return err
		}
		why := "no leader is elected"
		var silent []string
		for _, o := range m.askVoters(ctx) {
			if o.stand == nil {
				silent = append(silent, o.String())
			}
		}
		if len(silent) > 0 {
			why = strings.Join(silent, ", ") + answersNot(silent)
		}
		m.waitsFor("waiting for a quorum of etcd: " + why)
		if first {
			m.log.Warn("waiting for a quorum of etcd", "why", why)
		}
	}
}
