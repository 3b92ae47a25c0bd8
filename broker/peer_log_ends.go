package broker

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"golang.org/x/sync/errgroup"

	"chronik/logstore"
	"chronik/wire"
)

// logEnds tells where logs of this broker end, in the order of the partitions.
func (b *Broker) logEnds(partitions []wire.PeerPartition) (s wire.PeerResponse) {
	select {
	case <-b.recovered:
	default:
		s.ErrorCode = kerr.BrokerNotAvailable.Code
		return s
	}
	s.LogEnds = make([]wire.PeerLogEnd, len(partitions))
	for i, p := range partitions {
		e := b.store.Ends(logstore.ID{Topic: p.Topic, Partition: p.Partition})
		told := wire.PeerLogEnd{LeaderEpoch: e.Epoch, End: e.End, Flushed: e.Flushed}
		switch {
		case e.Failed:
			told.State = wire.PeerLogFailed
		case e.Short:
			told.State = wire.PeerLogShort
		}
		s.LogEnds[i] = told
	}
	return s
}

// askLogEnds asks brokers for the ends of logs, all brokers at once, each for all of its
// partitions together. Who does not answer within askPatience in the life that was asked
// is left out.
func (p *peers) askLogEnds(ctx context.Context, wanted map[brokerLife][]wire.PeerPartition) map[brokerLife][]wire.PeerLogEnd {
	var mu sync.Mutex
	told := map[brokerLife][]wire.PeerLogEnd{}
	var g errgroup.Group
	for l, partitions := range wanted {
		g.Go(func() error {
			ends, err := p.logEndsOf(ctx, l, partitions)
			if err != nil {
				p.b.log.Info("a broker does not tell where its logs end", "broker", l.id, "partitions", len(partitions), "err", err)
				return nil // others may
			}
			mu.Lock()
			defer mu.Unlock()
			told[l] = ends
			return nil
		})
	}
	_ = g.Wait() // none returns an error
	return told
}

// logEndsOf asks one broker.
func (p *peers) logEndsOf(ctx context.Context, l brokerLife, partitions []wire.PeerPartition) (ends []wire.PeerLogEnd, err error) {
	for part := range slices.Chunk(partitions, wire.MaxPeerPartitions) {
		var s wire.PeerResponse
		if l == lifeOf(p.self()) {
			s = p.b.logEnds(part)
		} else if s, err = p.ask(ctx, l.id, &wire.PeerRequest{Kind: wire.PeerLogEnds, Partitions: part}); err != nil {
			return nil, err
		} else if lifeOf(s.From) != l {
			return nil, errOther
		}
		if err := kerr.ErrorForCode(s.ErrorCode); err != nil {
			return nil, err
		}
		if len(s.LogEnds) != len(part) {
			return nil, fmt.Errorf("%d ends of %d logs", len(s.LogEnds), len(part))
		}
		ends = append(ends, s.LogEnds...)
	}
	return ends, nil
}
