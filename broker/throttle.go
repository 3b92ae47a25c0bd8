package broker

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"chronik/meta"
)

// Replicas that are not in sync may be slowed down, so that their catching up leaves
// clients the disk and the network (KIP-73): each broker has a rate for what it fetches so
// as a follower and one for what it gives so as a leader, each topic says of which replicas.
var (
	followerThrottledRate = &setting[int64]{
		broker: "follower.replication.throttled.rate", def: longest, typ: typeLong, parse: long(0, longest),
		doc: "The bytes in a second that this broker fetches of throttled replicas while those are not in sync.",
	}
	leaderThrottledRate = &setting[int64]{
		broker: "leader.replication.throttled.rate", def: longest, typ: typeLong, parse: long(0, longest),
		doc: "The bytes in a second that this broker gives to throttled replicas while those are not in sync.",
	}
	followerThrottledReplicas = &setting[string]{
		name: "follower.replication.throttled.replicas", typ: typeList, parse: replicaList,
		doc: "The replicas that are throttled where they follow: partition:broker,… or * for all.",
	}
	leaderThrottledReplicas = &setting[string]{
		name: "leader.replication.throttled.replicas", typ: typeList, parse: replicaList,
		doc: "The replicas that are throttled at their leader: partition:broker,… or * for all; the broker is the leader.",
	}
)

var replicaListed = regexp.MustCompile(`^([0-9]+:[0-9]+)?$`)

// replicaList parses a list of replicas.
func replicaList(text string) (string, error) {
	text = strings.TrimSpace(text)
	if text == "*" {
		return text, nil
	}
	for item := range strings.SplitSeq(text, ",") {
		if !replicaListed.MatchString(strings.TrimSpace(item)) {
			return "", invalid("it must be the literal '*' or a list of replicas in the following format: [partitionId]:[brokerId],[partitionId]:[brokerId],...")
		}
	}
	return text, nil
}

// listed are the partitions of a topic whose replica on one broker a list has.
type listed struct {
	all  bool
	some map[string]bool
}

func listedOn(list string, broker int32) listed {
	l := listed{list == "*", map[string]bool{}}
	for item := range strings.SplitSeq(list, ",") {
		if partition, on, ok := strings.Cut(strings.TrimSpace(item), ":"); ok && on == fmt.Sprint(broker) {
			l.some[partition] = true
		}
	}
	return l
}

func (l listed) has(partition int) bool { return l.all || l.some[fmt.Sprint(partition)] }

// throttles are what this broker has let pass of replicas that are throttled.
type throttles struct{ following, leading pace }

// pace is how many bytes have passed that a rate did not allow yet. State: mu guards it.
type pace struct {
	mu   sync.Mutex
	debt float64
	at   time.Time
}

// throttleLook is how long a debt is waited for at most: the rate may change.
const throttleLook = time.Second

// passed notes bytes.
func (p *pace) passed(n int, rate int64, now time.Time) {
	if rate == longest {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(rate, now)
	p.debt += float64(n)
}

// wait is how long nothing more may pass.
func (p *pace) wait(rate int64, now time.Time) time.Duration {
	if rate == longest {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.settle(rate, now)
	switch {
	case rate == 0:
		return throttleLook
	case p.debt == 0:
		return 0
	}
	return min(throttleLook, max(time.Millisecond, time.Duration(p.debt/float64(rate)*float64(time.Second))))
}

// settle takes off what the rate has allowed since; the caller holds mu.
func (p *pace) settle(rate int64, now time.Time) {
	p.debt = max(0, p.debt-float64(rate)*now.Sub(p.at).Seconds())
	p.at = now
}

// throttled are the replicas of a topic on this broker that are throttled: as followers, and
// at what they lead.
func (b *Broker) throttled(t *meta.Topic) (following, leading listed) {
	configs := b.brokerConfigs()
	return listedOn(followerThrottledReplicas.ofTopic(t.Configs, configs), b.cfg.NodeID),
		listedOn(leaderThrottledReplicas.ofTopic(t.Configs, configs), b.cfg.NodeID)
}

// mayTake is how long a follower waits before it fetches a replica.
func (b *Broker) mayTake(f *followed, now time.Time) time.Duration {
	if !f.throttled.Load() || !f.behind.Load() {
		return 0
	}
	return b.throttles.following.wait(followerThrottledRate.of(b.brokerConfigs()), now)
}

// took notes what was fetched of a replica.
func (b *Broker) took(f *followed, n int) {
	if n > 0 && f.throttled.Load() && f.behind.Load() {
		b.throttles.following.passed(n, followerThrottledRate.of(b.brokerConfigs()), time.Now())
	}
}

// isSlowed reports whether who fetches is a replica that is throttled and not in sync.
func (fp *fetchPartition) isSlowed(p *partition) bool {
	return fp.replica >= 0 && p.repl.throttled.Load() && !p.repl.inSync(fp.replica)
}

// mayGive reports whether a leader gives records to who fetches, and notes when it may.
func (a *fetchAnswer) mayGive(fp *fetchPartition, p *partition) bool {
	if !fp.isSlowed(p) {
		return true
	}
	b, now := a.c.b, time.Now()
	wait := b.throttles.leading.wait(leaderThrottledRate.of(b.brokerConfigs()), now)
	if wait > 0 {
		a.lookAgain(now.Add(wait))
	}
	return wait == 0
}

// gave notes what a leader gave.
func (a *fetchAnswer) gave(fp *fetchPartition, p *partition, n int) {
	if b := a.c.b; n > 0 && fp.isSlowed(p) {
		b.throttles.leading.passed(n, leaderThrottledRate.of(b.brokerConfigs()), time.Now())
	}
}

// inSync reports whether a follower is in sync, by the metadata.
func (r *replication) inSync(id int32) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Contains(r.set.committed, id)
}

// see takes what the metadata holds of a replica here.
func (f *followed) see(me int32, mp *meta.Partition, throttled bool) {
	f.behind.Store(!slices.Contains(mp.ISR, me))
	f.throttled.Store(throttled)
}
