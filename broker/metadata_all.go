package broker

import (
	"sync/atomic"

	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/meta"
)

// everyTopic keeps what Metadata tells of all topics as long as it holds: clients that ask
// for all ask again and again, and a thousand topics take longer to describe than to send.
type everyTopic struct {
	last atomic.Pointer[everyDescribed]
}

type everyDescribed struct {
	of     describedAt
	topics []kmsg.MetadataResponseTopic // nobody writes to it
}

// describedAt is all that a description depends on.
type describedAt struct {
	snap    *meta.Snapshot
	lost    <-chan struct{}
	session *meta.Session
	over    bool
}

// describeAll tells of all topics as the snapshot has them; the caller changes nothing of it.
func (b *Broker) describeAll() []kmsg.MetadataResponseTopic {
	_, lost := b.peers.lost.get()
	session := b.meta.Session()
	at := describedAt{b.snap(), lost, session, session.IsOver()}
	if d := b.everyTopic.last.Load(); d != nil && d.of == at {
		return d.topics
	}
	topics := make([]kmsg.MetadataResponseTopic, 0, at.snap.NumTopics())
	for t := range at.snap.Topics() {
		topics = append(topics, b.describeTopic(at.snap, t))
	}
	b.everyTopic.last.Store(&everyDescribed{at, topics})
	return topics
}
