//go:build parity

package parity

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// scene is a case: a script for the versions from..to of an API (to 0: the newest).
// One about more than the versions of one API is played once, in the newest.
type scene struct {
	name     string
	from, to int16
	once     bool
	play     func(*script)
}

// broker is one side.
type broker struct {
	name, addr string
	oldest     map[int16]int16 // by key: what both sides advertise
	newest     map[int16]int16
	common     [16]byte // the topic that scenes of groups share
}

// script is one play of a scene in one version against one broker.
type script struct {
	v       int16  // the version to ask in
	prefix  string // of this play's topics: the same on both sides
	broker  *broker
	conn    *conn
	tree    tree
	step    int
	ids     map[string][16]byte // of the topics made by topic()
	markers int
	members []*member // with connections of their own
}

// stop ends a play that cannot go on. What is written down until then is compared.
type stop struct{ why string }

func (s *script) check(err error) {
	if err != nil {
		panic(stop{err.Error()})
	}
}

// perform plays the scene and returns what came back.
func (sc scene) perform(b *broker, api string, v int16) *tree {
	prefix := fmt.Sprintf("%s-%d-%s-", api, v, strings.Map(wordRune, sc.name))
	s := &script{v: v, prefix: prefix, broker: b, ids: map[string][16]byte{}}
	s.tree = tree{names: newNames(prefix), addr: b.addr}
	defer s.end()
	func() {
		defer func() {
			switch r := recover().(type) {
			case nil:
			case stop:
				s.tree.add(fmt.Sprintf("%d.stopped", s.step), r.why)
			default:
				panic(r)
			}
		}()
		sc.play(s)
	}()
	return &s.tree
}

func wordRune(r rune) rune {
	if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
		return r
	}
	return '_'
}

func (s *script) hangUp() {
	if s.conn != nil {
		s.conn.Close()
	}
	s.conn = nil
}

// end closes all connections of the play.
func (s *script) end() {
	s.hangUp()
	for _, m := range s.members {
		m.hangUp()
	}
}

// line is the script's connection; a closed one is dialled again.
func (s *script) line() *conn {
	if s.conn == nil {
		c, err := dial(s.broker.addr)
		s.check(err)
		s.conn = c
	}
	return s.conn
}

// name is a topic name of this play that no topic has yet.
func (s *script) name(suffix string) string { return s.prefix + suffix }

// note writes a line that is compared.
func (s *script) note(what, value string) {
	s.step++
	s.tree.add(fmt.Sprintf("%d.%s", s.step, what), value)
}

// ask sends a request in the script's version, writes the answer down and returns it;
// nil when none came.
func (s *script) ask(req kmsg.Request) kmsg.Response {
	s.versioned(req)
	return s.record(req)
}

// versioned puts a request into the script's version, or the nearest that its API has.
func (s *script) versioned(req kmsg.Request) {
	key := req.Key()
	req.SetVersion(max(s.broker.oldest[key], min(s.v, s.broker.newest[key])))
}

// askMine is ask for an answer about the whole cluster: what other scripts made is
// left out.
func (s *script) askMine(req kmsg.Request) kmsg.Response {
	s.tree.mine = true
	defer func() { s.tree.mine = false }()
	return s.ask(req)
}

// look is ask in the newest version that both sides have: to see what a request did.
func (s *script) look(req kmsg.Request) kmsg.Response {
	req.SetVersion(s.broker.newest[req.Key()])
	return s.record(req)
}

func (s *script) record(req kmsg.Request) kmsg.Response {
	s.step++
	at := fmt.Sprintf("%d.", s.step)
	resp, body, err := s.exchange(req)
	if err != nil {
		s.tree.add(at+"outcome", outcome(err))
		s.hangUp()
		return nil
	}
	s.tree.answer(at, resp, body)
	return resp
}

func (s *script) exchange(req kmsg.Request) (kmsg.Response, []byte, error) {
	c := s.line()
	if err := c.send(c.frame(req)); err != nil {
		return nil, nil, err
	}
	p, err := c.read()
	if err != nil {
		return nil, nil, err
	}
	resp, body, err := decode(req, c.correlation, p)
	s.check(err)
	return resp, body, nil
}

// quiet asks in the newest version and writes nothing down: for what a scene needs
// first. It must be answered.
func (s *script) quiet(req kmsg.Request) kmsg.Response {
	req.SetVersion(s.broker.newest[req.Key()])
	resp, _, err := s.exchange(req)
	if err != nil {
		s.hangUp()
		s.check(fmt.Errorf("%s: %w", kmsg.NameForKey(req.Key()), err))
	}
	return resp
}

// raw sends bytes and writes down whether they are answered or the connection is
// closed; what the bytes of an answer say is not compared.
func (s *script) raw(p []byte) {
	c := s.line()
	err := c.send(p)
	if err == nil {
		if _, err = c.read(); err == nil {
			s.note("outcome", "answered")
			return
		}
	}
	s.note("outcome", outcome(err))
	s.hangUp()
}

// unanswered sends a request that gets no answer, and writes down what comes for one
// that is sent right behind.
func (s *script) unanswered(req kmsg.Request) {
	req.SetVersion(s.v)
	c := s.line()
	err := c.send(c.frame(req))
	if err == nil {
		behind := kmsg.NewPtrApiVersionsRequest()
		if err = c.send(c.frame(behind)); err == nil {
			var p []byte
			if p, err = c.read(); err == nil {
				_, _, err = decode(behind, c.correlation, p)
				s.check(err)
			}
		}
	}
	if err != nil {
		s.note("outcome", outcome(err))
		s.hangUp()
		return
	}
	s.note("outcome", "the next request is answered")
}

// until polls: brokers take a moment to act on what they have confirmed.
func (s *script) until(what string, done func() bool) {
	for deadline := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			s.check(fmt.Errorf("still not after %v: %s", patience, what))
		}
	}
}

// topic creates a topic and waits until it can be used. configs are name, value, …
func (s *script) topic(suffix string, partitions int32, configs ...string) string {
	t := newTopic(s.name(suffix), partitions, configs...)
	req := kmsg.NewPtrCreateTopicsRequest()
	req.Topics, req.TimeoutMillis = append(req.Topics, t), 10_000
	resp := s.quiet(req).(*kmsg.CreateTopicsResponse)
	s.check(kerr.ErrorForCode(resp.Topics[0].ErrorCode))
	id := resp.Topics[0].TopicID
	s.ids[t.Topic] = id
	s.tree.names.call("id", string(id[:]), "id of $"+suffix)
	s.usable(t.Topic, partitions)
	return t.Topic
}

// usable waits until all partitions of a topic answer.
func (s *script) usable(topic string, partitions int32) {
	s.until(topic+" is led", func() bool {
		req := kmsg.NewPtrListOffsetsRequest()
		t := kmsg.NewListOffsetsRequestTopic()
		t.Topic = topic
		for i := range partitions {
			p := kmsg.NewListOffsetsRequestTopicPartition()
			p.Partition, p.Timestamp = i, -1
			t.Partitions = append(t.Partitions, p)
		}
		req.ReplicaID, req.Topics = -1, append(req.Topics, t)
		for _, t := range s.quiet(req).(*kmsg.ListOffsetsResponse).Topics {
			for _, p := range t.Partitions {
				if p.ErrorCode != 0 {
					return false
				}
			}
		}
		return true
	})
}

func newTopic(name string, partitions int32, configs ...string) kmsg.CreateTopicsRequestTopic {
	t := kmsg.NewCreateTopicsRequestTopic()
	t.Topic, t.NumPartitions, t.ReplicationFactor = name, partitions, 1
	for i := 0; i < len(configs); i += 2 {
		c := kmsg.NewCreateTopicsRequestTopicConfig()
		c.Name, c.Value = configs[i], new(configs[i+1])
		t.Configs = append(t.Configs, c)
	}
	return t
}

// fill produces batches to partition 0 and returns the topic.
func (s *script) fill(topic string, batches ...[]byte) string {
	for _, b := range batches {
		req := s.produce(topic, 0, b)
		resp := s.quiet(req).(*kmsg.ProduceResponse)
		s.check(kerr.ErrorForCode(resp.Topics[0].Partitions[0].ErrorCode))
	}
	return topic
}

// produce is a Produce request for one partition, by name and by id.
func (s *script) produce(topic string, partition int32, records []byte) *kmsg.ProduceRequest {
	req := kmsg.NewPtrProduceRequest()
	req.Acks, req.TimeoutMillis = -1, 10_000
	t := kmsg.NewProduceRequestTopic()
	t.Topic, t.TopicID = topic, s.ids[topic]
	p := kmsg.NewProduceRequestTopicPartition()
	p.Partition, p.Records = partition, records
	t.Partitions = append(t.Partitions, p)
	req.Topics = append(req.Topics, t)
	return req
}

// fetch is a Fetch request of one partition that does not wait.
func (s *script) fetch(topic string, partition int32, offset int64) *kmsg.FetchRequest {
	req := kmsg.NewPtrFetchRequest()
	req.ReplicaID, req.MinBytes, req.MaxBytes, req.SessionEpoch = -1, 1, 1<<20, -1
	req.Topics = append(req.Topics, s.fetchTopic(topic, s.fetchPartition(partition, offset)))
	return req
}

func (s *script) fetchTopic(topic string, partitions ...kmsg.FetchRequestTopicPartition) kmsg.FetchRequestTopic {
	t := kmsg.NewFetchRequestTopic()
	t.Topic, t.TopicID, t.Partitions = topic, s.ids[topic], partitions
	return t
}

func (s *script) fetchPartition(partition int32, offset int64) kmsg.FetchRequestTopicPartition {
	p := kmsg.NewFetchRequestTopicPartition()
	p.Partition, p.FetchOffset, p.PartitionMaxBytes, p.LogStartOffset = partition, offset, 1<<20, -1
	return p
}
