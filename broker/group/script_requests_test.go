package group

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// token is what a request of a script carries.
type token struct{ name string }

// arguments are the words of a line: key=value, and the rest.
type arguments struct {
	named map[string]string
	bare  []string
}

func parseArgs(words []string) arguments {
	a := arguments{named: map[string]string{}}
	for _, w := range words {
		key, value, ok := strings.Cut(w, "=")
		if !ok || strings.Contains(key, ":") {
			a.bare = append(a.bare, w)
			continue
		}
		a.named[key] = value
	}
	return a
}

func (a arguments) has(word string) bool { return slices.Contains(a.bare, word) }

func (a arguments) text(key string) *string {
	v, ok := a.named[key]
	if !ok {
		return nil
	}
	return &v
}

func (a arguments) number(key string, otherwise int64) int64 {
	n, err := strconv.ParseInt(a.named[key], 10, 64)
	if err != nil {
		return otherwise
	}
	return n
}

func (a arguments) duration(key string, otherwise time.Duration) time.Duration {
	d, err := time.ParseDuration(a.named[key])
	if err != nil {
		return otherwise
	}
	return d
}

// set changes settings.
func (s *script) set(a arguments) error {
	c := &s.cfg
	c.InitialDelay = a.duration("initial", c.InitialDelay)
	c.MinSession, c.MaxSession = a.duration("min-session", c.MinSession), a.duration("max-session", c.MaxSession)
	c.Retention, c.RetentionCheck = a.duration("retention", c.Retention), a.duration("check", c.RetentionCheck)
	c.MaxSize = int(a.number("max-size", int64(c.MaxSize)))
	c.MaxMetadata = int(a.number("max-metadata", int64(c.MaxMetadata)))
	if len(a.bare) > 0 {
		return fmt.Errorf("set %v", a.bare)
	}
	return nil
}

// request makes an event of a line.
func (s *script) request(verb string, words []string) (Event, error) {
	if len(words) == 0 {
		return nil, fmt.Errorf("who asks?")
	}
	tok := &token{words[0]}
	a := parseArgs(words[1:])
	gen := int32(a.number("gen", -1))
	switch verb {
	case "join":
		return s.joinEvent(tok, a), nil
	case "sync":
		ev := Sync{
			Token: tok, MemberID: a.named["id"], InstanceID: a.text("instance"), Generation: gen,
			Protocol: a.text("protocol"), ProtocolType: a.text("type"), ProtocolRequired: a.has("required"),
		}
		for _, pair := range list(a.named["assign"]) {
			id, text, _ := strings.Cut(pair, ":")
			ev.Assignments = append(ev.Assignments, Assignment{id, []byte(text)})
		}
		return ev, nil
	case "heartbeat":
		return Heartbeat{Token: tok, MemberID: a.named["id"], InstanceID: a.text("instance"), Generation: gen}, nil
	case "leave":
		ev := Leave{Token: tok}
		for _, w := range a.bare {
			id, instance, static := strings.Cut(w, "@")
			m := LeavingMember{MemberID: id}
			if static {
				m.InstanceID = &instance
			}
			ev.Members = append(ev.Members, m)
		}
		return ev, nil
	case "commit":
		return commitEvent(tok, a)
	case "delete-offsets":
		ev := DeleteOffsets{Token: tok}
		for _, w := range a.bare {
			tp, err := parsePartition(w)
			if err != nil {
				return nil, err
			}
			ev.Partitions = append(ev.Partitions, tp)
		}
		return ev, nil
	case "delete":
		return Delete{Token: tok}, nil
	}
	return nil, fmt.Errorf("no such word")
}

// joinEvent gives the nth new member of a name the id that is the name and n.
func (s *script) joinEvent(tok *token, a arguments) Join {
	ev := Join{
		Token: tok, MemberID: a.named["id"], InstanceID: a.text("instance"), ClientID: tok.name, ClientHost: "/host",
		SessionTimeout: a.duration("session", 10*time.Second), RebalanceTimeout: a.duration("rebalance", time.Minute),
		ProtocolType: "consumer", RequireKnownMember: a.has("known"), SkipAssignment: a.has("skip"),
	}
	if kind := a.text("type"); kind != nil {
		ev.ProtocolType = *kind
	}
	if ev.MemberID == "" {
		s.ids[tok.name]++
		ev.NewMemberID = fmt.Sprint(tok.name, s.ids[tok.name])
	}
	protocols := "range"
	if p := a.text("protocols"); p != nil {
		protocols = *p
	}
	topics, metadata := a.named["topics"], a.text("metadata")
	for _, name := range list(protocols) {
		p := Protocol{Name: name, Metadata: subscription(list(topics)...)}
		if metadata != nil {
			p.Metadata = []byte(*metadata)
		}
		ev.Protocols = append(ev.Protocols, p)
	}
	return ev
}

// subscription is the metadata of a consumer of some version that is not known here.
func subscription(topics ...string) []byte {
	m := kmsg.ConsumerMemberMetadata{Topics: topics}
	raw := m.AppendTo(nil)
	raw[1] = 9
	return append(raw, "and more"...)
}

func commitEvent(tok *token, a arguments) (Event, error) {
	ev := Commit{
		Token: tok, MemberID: a.named["id"], InstanceID: a.text("instance"), Generation: int32(a.number("gen", -1)),
		RetentionMs: -1, GroupNotFound: a.has("notfound"),
	}
	if d := a.duration("retention", -1); d >= 0 {
		ev.RetentionMs = d.Milliseconds()
	}
	for _, w := range a.bare {
		if w == "notfound" {
			continue
		}
		where, what, _ := strings.Cut(w, "=")
		tp, err := parsePartition(where)
		if err != nil {
			return nil, err
		}
		at, text, _ := strings.Cut(what, "/")
		offset, err := strconv.ParseInt(at, 10, 64)
		if err != nil {
			return nil, err
		}
		ev.Offsets = append(ev.Offsets, CommittedOffset{Topic: tp.Topic, TopicID: topicID(a.named["topic-id"]), Partition: tp.Partition, LeaderEpoch: 3, Offset: offset, Metadata: text})
	}
	return ev, nil
}

// topicID is an id of one digit, or none.
func topicID(text string) (id [16]byte) {
	copy(id[:], text)
	return id
}

func parsePartition(s string) (TopicPartition, error) {
	topic, number, ok := strings.Cut(s, ":")
	n, err := strconv.ParseInt(number, 10, 32)
	if !ok || err != nil {
		return TopicPartition{}, fmt.Errorf("%q is not topic:partition", s)
	}
	return TopicPartition{topic, int32(n)}, nil
}

func list(s string) []string {
	if s == "" {
		return nil
	}
	return strings.Split(s, ",")
}
