package broker

import (
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/wire"
)

// followerFetchVersion is the first version of Fetch with a broker epoch.
const followerFetchVersion = 15

// checkFollower holds a fetch with a replica id against the brokers that are alive.
func (b *Broker) checkFollower(version int16, req *wire.FetchRequest) error {
	if req.ReplicaID < 0 {
		return nil
	}
	if version < followerFetchVersion {
		return fmt.Errorf("%w: Fetch version %d of replica %d: followers fetch from %d on", errRequest, version, req.ReplicaID, followerFetchVersion)
	}
	if epoch, live := b.snap().Live(req.ReplicaID); !live || epoch != req.ReplicaEpoch {
		return kerr.StaleBrokerEpoch
	}
	return nil
}

// isSuperseded reports whether a follower has sent another request behind this one:
// it has something new to follow and wants this answer now.
func (a *fetchAnswer) isSuperseded() bool { return a.replica >= 0 && a.c.queue.len() > 1 }

// end is up to where the one who fetches may read: followers all there is, others
// what is committed.
func (fp *fetchPartition) end(p *partition) int64 {
	if fp.replica >= 0 {
		return p.log.End()
	}
	return p.hw()
}

// noteFollower tells partitions how far a follower has come, where its history is
// the leader's.
func (a *fetchAnswer) noteFollower(req *wire.FetchRequest, parts []*fetchPartition) {
	if req.ReplicaID < 0 {
		return
	}
	for _, fp := range parts {
		p, err := a.c.b.fetched(a.h.Version, fp)
		if err != nil || fp.lastEpoch < 0 && fp.offset > p.log.Start() {
			continue
		}
		end := fp.offset
		if p.log.Options().FlushMessages == 1 {
			end = min(end, fp.flushed)
		}
		p.repl.fetched(followerFetch{fp.replica, req.ReplicaEpoch, end, fp.logStart, fp.seen})
	}
}
