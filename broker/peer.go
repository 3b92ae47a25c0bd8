package broker

import (
	"context"
	"fmt"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

const (
	// keepAliveEvery is how long a broker leaves a keep-alive of another unanswered.
	keepAliveEvery = 500 * time.Millisecond
	keepAliveMost  = 10 * time.Second

	// newsPatience is how long a request waits for the metadata that knows its sender.
	newsPatience = time.Second
)

// peer answers what another broker asks. Who is not alive in the life that it names
// is not answered: the connection is closed.
func (c *conn) peer(ctx context.Context, h wire.RequestHeader, body []byte) error {
	if err := c.commit(ctx); err != nil {
		return err
	}
	var q wire.PeerRequest
	if err := q.Decode(body); err != nil {
		return fmt.Errorf("%w: of a broker: %w", errRequest, err)
	}
	if err := c.b.knowsPeer(ctx, q.From); err != nil {
		return fmt.Errorf("%w: %w", errRequest, err)
	}
	now := time.Now()
	c.b.peers.hear(q.From.Broker, now)
	a := &peerAnswer{b: c.b, h: h}
	switch q.Kind {
	case wire.PeerKeepAlive:
		c.endFirst(ctx)
		a.until = now.Add(min(time.Duration(q.WaitMs)*time.Millisecond, keepAliveMost))
	case wire.PeerRefused:
		if c.b.peers.reaches(lifeOf(q.About)) {
			a.resp.Standing = wire.PeerReached
		}
	case wire.PeerSilent:
		if c.b.peers.unreachedFor(lifeOf(q.About), now) >= silentToo {
			a.resp.Standing = wire.PeerUnreached
		}
	case wire.PeerUnreachable:
		c.b.peers.blame(lifeOf(q.From), lifeOf(q.About), now)
	case wire.PeerLogEnds:
		a.resp = c.b.logEnds(q.Partitions)
	default:
		a.resp.ErrorCode = kerr.InvalidRequest.Code
	}
	return c.submit(ctx, a)
}

// endFirst has the kernel end this connection before those of clients when the process is
// killed. Else a client that lost its own might ask the broker at the other side of this one
// before that can know.
func (c *conn) endFirst(ctx context.Context) {
	if !c.endsFirst {
		c.endsFirst = true
		context.AfterFunc(ctx, closesFirst(c.nc))
	}
}

func lifeOf(l wire.PeerLife) brokerLife { return brokerLife{l.Broker, l.Epoch} }

// knowsPeer holds who asks against the brokers that are alive. A life that this broker
// has not heard of may be newer than its metadata.
func (b *Broker) knowsPeer(ctx context.Context, from wire.PeerLife) error {
	ctx, cancel := context.WithTimeout(ctx, newsPatience)
	defer cancel()
	if !waitFor(ctx, b.meta.Loaded()) || b.meta.WaitRevision(ctx, from.Epoch) != nil {
		return fmt.Errorf("broker %d is in no life %d that this one knows of", from.Broker, from.Epoch)
	}
	if epoch, live := b.snap().Live(from.Broker); !live || epoch != from.Epoch {
		return fmt.Errorf("broker %d is not alive in life %d", from.Broker, from.Epoch)
	}
	return nil
}

// peerAnswer is the answer to another broker. That to a keep-alive waits until its
// time comes or the broker stops: so the other one knows that what ends then is no
// crash.
type peerAnswer struct {
	b     *Broker
	h     wire.RequestHeader
	resp  wire.PeerResponse
	until time.Time
}

func (a *peerAnswer) settled(now time.Time) bool { return !now.Before(a.until) || a.b.stopping.Load() }
func (a *peerAnswer) deadline() time.Time        { return a.until }
func (*peerAnswer) drop()                        {}

func (a *peerAnswer) encode(_ context.Context, o *outbox) error {
	a.resp.From.Broker = a.b.cfg.NodeID
	if s := a.b.meta.Session(); s != nil {
		a.resp.From.Epoch = s.BrokerEpoch()
	}
	if a.b.stopping.Load() {
		a.resp.Standing = wire.PeerStopping
	}
	start := len(o.buf)
	o.buf = append(o.buf, 0, 0, 0, 0)
	o.buf = wire.AppendResponseHeader(o.buf, a.h, true)
	o.buf = a.resp.Append(o.buf)
	wire.FinishFrame(o.buf, start, 0)
	return nil
}
