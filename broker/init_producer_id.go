package broker

import (
	"context"
	"sync"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// producerIDs hands out producer ids from blocks that are this broker's alone.
type producerIDs struct {
	mu         sync.Mutex
	next, left int64 // guarded by mu
}

// initProducerID gives an idempotent producer its id. Not done: transactions; a
// transactional id is refused with an error that clients do not retry.
func (b *Broker) initProducerID(ctx context.Context, _ *conn, req *kmsg.InitProducerIDRequest, resp *kmsg.InitProducerIDResponse) error {
	resp.ProducerID, resp.ProducerEpoch = -1, -1
	switch {
	case req.TransactionalID != nil && *req.TransactionalID == "":
		resp.ErrorCode = kerr.InvalidRequest.Code
		return nil
	case req.TransactionalID != nil:
		resp.ErrorCode = kerr.TransactionalIDAuthorizationFailed.Code
		return nil
	case req.Version >= 3 && (req.ProducerID == -1) != (req.ProducerEpoch == -1):
		resp.ErrorCode = kerr.InvalidRequest.Code
		return nil
	}
	id, err := b.nextProducerID(ctx)
	if err != nil {
		b.log.Warn("no producer id", "err", err)
		resp.ErrorCode = kerr.CoordinatorLoadInProgress.Code // retried by every client
		return nil
	}
	resp.ProducerID, resp.ProducerEpoch = id, 0
	return nil
}

// nextProducerID takes an id of the block at hand, or a new block: outside the
// lock, so that two may take one each and the later one's is kept.
func (b *Broker) nextProducerID(ctx context.Context) (int64, error) {
	if id, ok := b.producerID.take(); ok {
		return id, nil
	}
	first, count, err := b.meta.ProducerIDs(ctx)
	if err != nil {
		return 0, err
	}
	b.producerID.refill(first+1, count-1)
	return first, nil
}

func (p *producerIDs) take() (int64, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left == 0 {
		return 0, false
	}
	id := p.next
	p.next++
	p.left--
	return id, true
}

func (p *producerIDs) refill(next, left int64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.next, p.left = next, left
}
