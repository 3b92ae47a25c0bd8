package group

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"iter"
	"math"
	"slices"
	"strings"
	"time"
	"unicode/utf16"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// offsets are the committed offsets of a group.
type offsets struct {
	at      committed
	pending map[TopicPartition]onTheWay
	next    time.Time // when it is looked for old ones
}

// onTheWay are the commits of a partition that are on their way to the log.
type onTheWay struct {
	n       int
	topicID [16]byte // of the last one
}

func (o *offsets) empty() bool { return o.at.n == 0 && len(o.pending) == 0 }

// LoadOffset applies a record of a committed offset.
func (g *Group) LoadOffset(r OffsetRecord) { g.offsets.at.set(r) }

// LoadDeletedOffset applies a tombstone of one.
func (g *Group) LoadDeletedOffset(tp TopicPartition) { g.offsets.at.delete(tp) }

// Offset is the committed offset of a partition.
func (g *Group) Offset(tp TopicPartition) (OffsetRecord, bool) {
	return g.offsets.at.get(tp)
}

// Offsets yields all committed offsets, by topic and partition.
func (g *Group) Offsets() iter.Seq[OffsetRecord] {
	return func(yield func(OffsetRecord) bool) {
		for _, tp := range g.sortedOffsets() {
			if r, _ := g.offsets.at.get(tp); !yield(r) {
				return
			}
		}
	}
}

// Topics are the topics that the group has offsets of: each name with its ids.
func (g *Group) Topics() map[TopicDeleted]bool {
	all := map[TopicDeleted]bool{}
	for r := range g.offsets.at.all() {
		all[TopicDeleted{r.Topic, r.TopicID}] = true
	}
	return all
}

func (g *Group) sortedOffsets() []TopicPartition {
	all := make([]TopicPartition, 0, g.offsets.at.n)
	for r := range g.offsets.at.all() {
		all = append(all, r.where())
	}
	sortPartitions(all)
	return all
}

func sortPartitions(all []TopicPartition) {
	slices.SortFunc(all, func(a, b TopicPartition) int {
		return cmp.Or(strings.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// commit writes offsets, and answers when they are in the log.
func (g *Group) commit(now time.Time, cfg *Config, ev *Commit) {
	if err := g.mayCommit(now, ev); err != nil {
		g.reply(ev.Token, CommitResponse{Err: err})
		return
	}
	errs := make([]error, len(ev.Offsets))
	bad := false
	var records []OffsetRecord
	for i, o := range ev.Offsets {
		if len(o.Metadata) > cfg.MaxMetadata && len(utf16.Encode([]rune(o.Metadata))) > cfg.MaxMetadata {
			errs[i], bad = kerr.OffsetMetadataTooLarge, true
			continue
		}
		r := OffsetRecord{
			Topic: o.Topic, TopicID: o.TopicID, Partition: o.Partition, LeaderEpoch: o.LeaderEpoch, Offset: o.Offset,
			Metadata: o.Metadata, CommitTimestamp: now.UnixMilli(), ExpireTimestamp: -1,
		}
		if ev.RetentionMs >= 0 {
			r.ExpireTimestamp = now.UnixMilli() + min(ev.RetentionMs, forEver)
		}
		records = append(records, r)
	}
	if !bad {
		errs = nil
	}
	if len(records) == 0 {
		g.reply(ev.Token, CommitResponse{Errs: errs})
		return
	}
	if g.gen.state == Dead {
		g.enter(now, Empty)
	}
	g.watchOffsets(now, cfg)
	g.offsets.count(records, 1)
	token := ev.Token
	g.append(Append{Offsets: records}, func(err error) { g.committed(token, records, errs, err) })
}

// forEver is a time in milliseconds that a clock can be added to.
const forEver = math.MaxInt64 / 2

func (o *offsets) count(records []OffsetRecord, n int) {
	if o.pending == nil {
		o.pending = map[TopicPartition]onTheWay{}
	}
	for _, r := range records {
		tp := TopicPartition{r.Topic, r.Partition}
		now := o.pending[tp]
		if now.n += n; now.n == 0 {
			delete(o.pending, tp)
			continue
		}
		if n > 0 {
			now.topicID = r.TopicID
		}
		o.pending[tp] = now
	}
}

func (g *Group) committed(token any, records []OffsetRecord, errs []error, err error) {
	g.offsets.count(records, -1)
	if err != nil {
		g.reply(token, CommitResponse{Err: err})
		return
	}
	if g.gen.state == Dead { // deleted meanwhile, and written after that
		g.enter(g.log.now, Empty)
	}
	for _, r := range records {
		g.offsets.at.set(r)
	}
	g.reply(token, CommitResponse{Errs: errs})
}

// mayCommit says whether the request comes from a member of the generation, or from
// outside while there are no members.
func (g *Group) mayCommit(now time.Time, ev *Commit) error {
	switch {
	case g.gen.state == Dead && ev.Generation >= 0 && ev.GroupNotFound:
		return kerr.GroupIDNotFound
	case g.gen.state == Dead && ev.Generation >= 0:
		return kerr.IllegalGeneration
	case ev.Generation < 0 && (g.gen.state == Dead || g.gen.state == Empty):
		return nil
	case ev.Generation < 0 && ev.MemberID == "" && ev.InstanceID == nil:
		return kerr.UnknownMemberID
	}
	m, err := g.members.check(ev.MemberID, ev.InstanceID)
	switch {
	case err != nil:
		return err
	case ev.Generation != g.gen.number:
		return kerr.IllegalGeneration
	case g.gen.state == CompletingRebalance:
		return kerr.RebalanceInProgress
	}
	g.sees(now, m)
	return nil
}

// deleteOffsets forgets offsets of topics that no member reads.
func (g *Group) deleteOffsets(ev *DeleteOffsets) {
	if err := g.mayDeleteOffsets(); err != nil {
		g.reply(ev.Token, DeleteOffsetsResponse{Err: err})
		return
	}
	errs := make([]error, len(ev.Partitions))
	subscribed, known := g.subscribed()
	var gone []TopicPartition
	for i, tp := range ev.Partitions {
		if len(g.members.byID) > 0 && (!known || subscribed[tp.Topic]) {
			errs[i] = kerr.GroupSubscribedToTopic
			continue
		}
		if _, ok := g.offsets.at.get(tp); ok || g.offsets.pending[tp].n > 0 {
			gone = append(gone, tp)
		}
	}
	token := ev.Token
	if len(gone) == 0 {
		g.reply(token, DeleteOffsetsResponse{Errs: errs})
		return
	}
	g.append(Append{DeletedOffsets: gone}, func(err error) {
		if err != nil {
			g.reply(token, DeleteOffsetsResponse{Err: err})
			return
		}
		g.forget(gone)
		g.reply(token, DeleteOffsetsResponse{Errs: errs})
	})
}

func (g *Group) forget(gone []TopicPartition) {
	for _, tp := range gone {
		g.offsets.at.delete(tp)
	}
}

func (g *Group) mayDeleteOffsets() error {
	switch {
	case g.gen.state == Dead:
		return kerr.GroupIDNotFound
	case g.gen.state != Empty && g.gen.protocolType != consumerProtocol:
		return kerr.NonEmptyGroup
	}
	return nil
}

// consumerProtocol is the protocol type whose members say which topics they read.
const consumerProtocol = "consumer"

// subscribed are the topics that members read; not known when somebody's metadata
// cannot be read.
func (g *Group) subscribed() (topics map[string]bool, known bool) {
	if g.gen.protocolType != consumerProtocol || g.gen.protocol == "" {
		return nil, false
	}
	topics = map[string]bool{}
	for _, m := range g.members.order {
		// Every version begins as version 0 does.
		raw := bytes.Clone(m.metadata(g.gen.protocol))
		if len(raw) < 2 || int16(binary.BigEndian.Uint16(raw)) < 0 {
			return nil, false
		}
		clear(raw[:2])
		var meta kmsg.ConsumerMemberMetadata
		if err := meta.ReadFrom(raw); err != nil {
			return nil, false
		}
		for _, t := range meta.Topics {
			topics[t] = true
		}
	}
	return topics, true
}

// topicDeleted forgets the offsets of a topic that is gone.
func (g *Group) topicDeleted(ev *TopicDeleted) {
	var gone []TopicPartition
	goes := func(tp TopicPartition, id [16]byte) bool {
		return tp.Topic == ev.Topic && (id == ev.ID || id == [16]byte{})
	}
	for r := range g.offsets.at.of(ev.Topic) {
		tp := r.where()
		if _, again := g.offsets.pending[tp]; !again && goes(tp, r.TopicID) {
			gone = append(gone, tp)
		}
	}
	for tp, last := range g.offsets.pending {
		if goes(tp, last.topicID) {
			gone = append(gone, tp)
		}
	}
	sortPartitions(gone)
	if len(gone) > 0 {
		g.tombstone(gone)
	}
}

func (g *Group) tombstone(gone []TopicPartition) {
	g.append(Append{DeletedOffsets: gone}, func(err error) {
		if err == nil {
			g.forget(gone)
		}
	})
}

// delete deletes a group without members, and its offsets.
func (g *Group) delete(ev *Delete) {
	switch {
	case g.gen.state == Dead:
		g.reply(ev.Token, DeleteResponse{kerr.GroupIDNotFound})
		return
	case g.gen.state != Empty:
		g.reply(ev.Token, DeleteResponse{kerr.NonEmptyGroup})
		return
	}
	token := ev.Token
	g.bury(func(err error) { g.reply(token, DeleteResponse{err}) })
}

// bury writes the tombstones of everything that the group has.
func (g *Group) bury(done func(error)) {
	gone := g.sortedOffsets()
	for tp := range g.offsets.pending {
		if _, ok := g.offsets.at.get(tp); !ok {
			gone = append(gone, tp)
		}
	}
	sortPartitions(gone)
	buried := g.gen
	g.append(Append{DeletedOffsets: gone, DeletedGroup: true}, func(err error) {
		if err == nil {
			g.forget(gone)
			g.buried(buried)
		}
		done(err)
	})
}

// buried makes the group one that nobody made, unless it went on since it was to be buried,
// with members or with offsets of nobody. Ids that were given out are of no use then.
func (g *Group) buried(was generation) {
	switch {
	case g.gen != was:
	case g.offsets.empty():
		g.members.pending = nil
		g.gen, g.offsets.next = generation{}, time.Time{}
	default:
		g.gen = generation{state: Empty, since: was.since}
	}
}
