package broker

import (
	"fmt"
	"slices"
	"testing"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/twmb/franz-go/pkg/kversion"
)

// commitFor commits as clients up to 2.0 do, who say how long an offset is kept; -1 is by
// the setting.
func commitFor(t *testing.T, b *Broker, group, topic string, offset, keepMs int64) {
	t.Helper()
	req := kmsg.NewPtrOffsetCommitRequest()
	req.Group, req.Generation, req.RetentionTimeMillis = group, -1, keepMs
	rp := kmsg.NewOffsetCommitRequestTopicPartition()
	rp.Offset = offset
	rt := kmsg.NewOffsetCommitRequestTopic()
	rt.Topic, rt.Partitions = topic, append(rt.Partitions, rp)
	req.Topics = append(req.Topics, rt)
	versions := kversion.Stable()
	versions.SetMaxKeyVersion(req.Key(), 4)
	resp, err := req.RequestWith(t.Context(), client(t, b, kgo.MaxVersions(versions)))
	if err != nil {
		t.Fatal(err)
	}
	if err := kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode); err != nil {
		t.Fatal(err)
	}
}

// offsetsOf are the offsets of groups, as text.
func offsetsOf(t *testing.T, adm *kadm.Client, groups ...string) string {
	t.Helper()
	var all []string
	for _, g := range groups {
		got, err := adm.FetchOffsets(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
		got.Each(func(o kadm.OffsetResponse) { all = append(all, fmt.Sprintf("%s:%s=%d", g, o.Topic, o.At)) })
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

// keptOf is what the coordinator keeps of groups, though nobody could fetch it.
func keptOf(t *testing.T, b *Broker, groups ...string) string {
	t.Helper()
	var all []string
	for _, g := range groups {
		c, err := b.groups.of(g)
		if err != nil {
			t.Fatal(err)
		}
		done := make(chan struct{})
		c.ask(op{refuse: func(err error) { t.Error(err); close(done) }, do: func(c *coordinator) {
			if h := c.groups[g]; h != nil {
				for o := range h.group.Offsets() {
					all = append(all, fmt.Sprintf("%s:%s=%d", g, o.Topic, o.Offset))
				}
			}
			close(done)
		}})
		<-done
	}
	slices.Sort(all)
	return fmt.Sprint(all)
}

// Offsets that expire, those of a topic that is deleted and those of a group that is deleted
// go, and nothing else; so it is after a restart.
func TestOffsetsGo(t *testing.T) {
	dir, settings := t.TempDir(), map[string]string{"offsets.retention.check.interval.ms": "50"}
	b, stop := started(t, dir, settings)
	adm := created(t, b, "a", 1)
	for _, topic := range []string{"b", "c"} {
		created(t, b, topic, 1)
	}
	for i, g := range []string{"one", "two", "three"} {
		for j, topic := range []string{"a", "b", "c"} {
			keep := int64(-1)
			if g == "one" && topic == "c" {
				keep = 1
			}
			commitFor(t, b, g, topic, int64(10*i+j), keep)
		}
	}
	is := func(want string) {
		t.Helper()
		eventually(t, func() error {
			if got := offsetsOf(t, adm, "one", "two", "three"); got != want {
				return fmt.Errorf("offsets are %s, want %s", got, want)
			}
			if got := keptOf(t, b, "one", "two", "three"); got != want {
				return fmt.Errorf("it keeps %s, want %s", got, want)
			}
			return nil
		})
	}
	is("[one:a=0 one:b=1 three:a=20 three:b=21 three:c=22 two:a=10 two:b=11 two:c=12]")
	if _, err := adm.DeleteGroup(t.Context(), "two"); err != nil {
		t.Fatal(err)
	}
	is("[one:a=0 one:b=1 three:a=20 three:b=21 three:c=22]")
	if _, err := adm.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	created(t, b, "a", 1)
	is("[one:b=1 three:b=21 three:c=22]")
	commitFor(t, b, "two", "a", 99, -1)
	commitFor(t, b, "short", "a", 1, 1)
	eventually(t, func() error {
		listed, err := adm.ListGroups(t.Context())
		if names := listed.Groups(); err == nil && !slices.Equal(names, []string{"one", "three", "two"}) {
			err = fmt.Errorf("groups are %v", names)
		}
		return err
	})
	stop()
	b, _ = started(t, dir, settings)
	adm = kadm.NewClient(client(t, b))
	is("[one:b=1 three:b=21 three:c=22 two:a=99]")
}

// Offsets of a topic that was deleted and made again while no coordinator looked are not
// those of the new one.
func TestOffsetsOfAnOlderTopic(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	adm := created(t, b, "a", 1)
	created(t, b, "b", 1)
	commitFor(t, b, "g", "a", 7, -1)
	commitFor(t, b, "g", "b", 8, -1)
	b.groups.list.Store(&[]*coordinator{}) // the topic's end reaches no coordinator
	if _, err := adm.DeleteTopic(t.Context(), "a"); err != nil {
		t.Fatal(err)
	}
	created(t, b, "a", 1)
	stop()
	b, _ = started(t, dir, nil)
	adm = kadm.NewClient(client(t, b))
	if got := offsetsOf(t, adm, "g"); got != "[g:b=8]" {
		t.Errorf("offsets are %s", got)
	}
	eventually(t, func() error {
		if got := keptOf(t, b, "g"); got != "[g:b=8]" {
			return fmt.Errorf("it keeps %s", got)
		}
		return nil
	})
}
