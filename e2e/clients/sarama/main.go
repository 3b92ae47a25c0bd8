// The driver of IBM/sarama; see ../README.md. SARAMA_VERSION is the version of Kafka
// whose requests it speaks, by default the newest.
package main

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"chronik/e2e/clients/story"
)

type driver struct {
	seeds   []string
	version sarama.KafkaVersion
}

func main() {
	story.Main(func(bootstrap string) (story.Driver, error) {
		d := driver{[]string{bootstrap}, sarama.MaxVersion}
		name := os.Getenv("SARAMA_VERSION")
		if name == "" {
			return d, nil
		}
		var err error
		d.version, err = sarama.ParseKafkaVersion(name)
		return d, err
	})
}

func (d driver) config() *sarama.Config {
	c := sarama.NewConfig()
	c.ClientID = "e2e"
	c.Version = d.version
	c.Producer.RequiredAcks = sarama.WaitForAll
	c.Producer.Return.Successes = true
	c.Producer.Partitioner = sarama.NewManualPartitioner
	c.Producer.Flush.Frequency = 5 * time.Millisecond
	return c
}

func (d driver) admin(use func(sarama.ClusterAdmin) error) error {
	admin, err := sarama.NewClusterAdmin(d.seeds, d.config())
	if err != nil {
		return err
	}
	if err := use(admin); err != nil {
		return err
	}
	return admin.Close()
}

// List asks the admin client, which also asks for configs: before 1.1 in a version that no
// broker of today serves, so there it asks the client.
func (d driver) List() (names []string, err error) {
	if !d.version.IsAtLeast(sarama.V1_1_0_0) {
		cl, err := sarama.NewClient(d.seeds, d.config())
		if err != nil {
			return nil, err
		}
		names, err = cl.Topics()
		slices.Sort(names)
		return names, errors.Join(err, cl.Close())
	}
	err = d.admin(func(a sarama.ClusterAdmin) error {
		topics, err := a.ListTopics()
		names = slices.Sorted(maps.Keys(topics))
		return err
	})
	return names, err
}

func (d driver) Create(topic string, partitions int) error {
	return d.admin(func(a sarama.ClusterAdmin) error {
		return a.CreateTopic(topic, &sarama.TopicDetail{NumPartitions: int32(partitions), ReplicationFactor: 1}, false)
	})
}

func (d driver) Describe(topic string) (n int, err error) {
	err = d.admin(func(a sarama.ClusterAdmin) error {
		topics, err := a.DescribeTopics([]string{topic})
		if err != nil {
			return err
		}
		n = len(topics[0].Partitions)
		return nil
	})
	return n, err
}

func (d driver) Alter(topic, name, value string) (got string, err error) {
	err = d.admin(func(a sarama.ClusterAdmin) error {
		entry := sarama.IncrementalAlterConfigsEntry{Operation: sarama.IncrementalAlterConfigsOperationSet, Value: &value}
		err := a.IncrementalAlterConfig(sarama.TopicResource, topic, map[string]sarama.IncrementalAlterConfigsEntry{name: entry}, false)
		if err != nil {
			return err
		}
		resource := &sarama.ConfigResource{Type: sarama.TopicResource, Name: topic, ConfigNames: []string{name}}
		described, err := a.DescribeConfigs([]*sarama.ConfigResource{resource}, sarama.DescribeConfigsOptions{})
		if err != nil {
			return err
		}
		if len(described) != 1 || len(described[0].Configs) != 1 {
			return fmt.Errorf("for one config %d resources came", len(described))
		}
		got = described[0].Configs[0].Value
		return nil
	})
	return got, err
}

func (d driver) Delete(topic string) error {
	return d.admin(func(a sarama.ClusterAdmin) error { return a.DeleteTopic(topic) })
}

func message(topic string, r story.Record) *sarama.ProducerMessage {
	m := &sarama.ProducerMessage{Topic: topic}
	if r.Key != nil {
		m.Key = sarama.ByteEncoder(r.Key)
	}
	if r.Value != nil {
		m.Value = sarama.ByteEncoder(r.Value)
	}
	for _, h := range r.Headers {
		m.Headers = append(m.Headers, sarama.RecordHeader{Key: []byte(h[0]), Value: []byte(h[1])})
	}
	return m
}

// send hands all records to an asynchronous producer and waits for their ends.
func send(p sarama.AsyncProducer, topic string, records []story.Record) error {
	go func() {
		for _, r := range records {
			p.Input() <- message(topic, r)
		}
	}()
	var first error
	for range records {
		select {
		case <-p.Successes():
		case err := <-p.Errors():
			first = either(first, err.Err)
		}
	}
	return first
}

func either(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

func (d driver) Produce(topic, codec string, records []story.Record) error {
	c := d.config()
	if err := c.Producer.Compression.UnmarshalText([]byte(codec)); err != nil {
		return err
	}
	p, err := sarama.NewAsyncProducer(d.seeds, c)
	if err != nil {
		return err
	}
	if err := send(p, topic, records); err != nil {
		return err
	}
	return p.Close()
}

func (d driver) Consume(topic string, count int, fn func(int64, story.Record) error) error {
	c, err := sarama.NewConsumer(d.seeds, d.config())
	if err != nil {
		return err
	}
	p, err := c.ConsumePartition(topic, 0, sarama.OffsetOldest)
	if err != nil {
		return err
	}
	timeout := time.After(30 * time.Second)
	for i := range count {
		select {
		case m := <-p.Messages():
			r := story.Record{Key: m.Key, Value: m.Value}
			for _, h := range m.Headers {
				r.Headers = append(r.Headers, [2]string{string(h.Key), string(h.Value)})
			}
			if err := fn(m.Offset, r); err != nil {
				return err
			}
		case <-timeout:
			return fmt.Errorf("%d records of %d came", i, count)
		}
	}
	return either(p.Close(), c.Close())
}

func (d driver) Large(topic string, value []byte) error {
	c := d.config()
	c.Producer.MaxMessageBytes = 20 << 20
	p, err := sarama.NewSyncProducer(d.seeds, c)
	if err != nil {
		return err
	}
	if _, _, err := p.SendMessage(message(topic, story.Record{Value: value})); err != nil {
		return err
	}
	return p.Close()
}

func (d driver) Idempotent(topic string, parts [][]story.Record, pause time.Duration) error {
	c := d.config()
	c.Producer.Idempotent = true
	c.Net.MaxOpenRequests = 1
	c.Producer.Retry.Max, c.Producer.Retry.Backoff = 300, 100*time.Millisecond
	c.Metadata.Retry.Max, c.Metadata.Retry.Backoff = 300, 100*time.Millisecond
	p, err := sarama.NewAsyncProducer(d.seeds, c)
	if err != nil {
		return err
	}
	for _, part := range parts {
		if err := send(p, topic, part); err != nil {
			return err
		}
		time.Sleep(pause)
	}
	return p.Close()
}
