package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

// diverged says that the log of who fetches is another one from an offset on.
type diverged struct{ at wire.EpochEnd }

func (d *diverged) Error() string {
	return fmt.Sprintf("history differs from epoch %d, offset %d on", d.at.Epoch, d.at.Offset)
}

// checkHistory compares the epoch of the last record that was fetched with the log's (KIP-595).
func (fp *fetchPartition) checkHistory(p *partition) error {
	start := p.log.Start()
	epoch, end := p.epochEnd(fp.lastEpoch)
	switch {
	case epoch < 0 || end < 0:
		return kerr.OffsetOutOfRange
	case end == 0 && fp.offset > 0: // the epoch 0 that ends at 0 would not be told
		return &diverged{wire.EpochEnd{Epoch: -1}}
	case epoch < fp.lastEpoch || end < fp.offset:
		return &diverged{wire.EpochEnd{Epoch: epoch, Offset: end}}
	case fp.offset < start:
		return &refusedAt{kerr.OffsetOutOfRange, start}
	}
	return nil
}

// inRange checks what the one who fetches has against the log. A consumer that is past
// the end would start anew if it was told so: by a broker that may have been replaced it is
// not, and by a follower neither, which does not know what it has not got yet.
func (b *Broker) inRange(p *partition, fp *fetchPartition) (*partition, error) {
	start, end := p.log.Start(), p.log.End()
	switch {
	case p.followed != nil && fp.offset > end:
		return nil, kerr.OffsetNotAvailable
	case fp.replica < 0 && fp.offset > end && !b.speaksFor(p):
		return nil, kerr.NotLeaderForPartition
	case fp.lastEpoch >= 0 && p.followed == nil: // below a high watermark histories are one
		return p, fp.checkHistory(p)
	case fp.offset < start || fp.offset > end:
		return nil, &refusedAt{kerr.OffsetOutOfRange, start}
	}
	return p, nil
}
