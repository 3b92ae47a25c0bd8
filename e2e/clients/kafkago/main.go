// The driver of segmentio/kafka-go; see ../README.md. The library has no idempotent
// producer.
package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/compress"

	"chronik/e2e/clients/story"
)

type driver struct {
	seed   string
	client *kafka.Client
}

func main() {
	story.Main(func(bootstrap string) (story.Driver, error) {
		return driver{bootstrap, &kafka.Client{Addr: kafka.TCP(bootstrap), Timeout: 20 * time.Second}}, nil
	})
}

func (d driver) List() ([]string, error) {
	conn, err := kafka.Dial("tcp", d.seed)
	if err != nil {
		return nil, err
	}
	partitions, err := conn.ReadPartitions()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, p := range partitions {
		if !slices.Contains(names, p.Topic) {
			names = append(names, p.Topic)
		}
	}
	return names, conn.Close()
}

func (d driver) Create(topic string, partitions int) error {
	answer, err := d.client.CreateTopics(context.Background(), &kafka.CreateTopicsRequest{
		Topics: []kafka.TopicConfig{{Topic: topic, NumPartitions: partitions, ReplicationFactor: 1}},
	})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (d driver) Describe(topic string) (int, error) {
	answer, err := d.client.Metadata(context.Background(), &kafka.MetadataRequest{Topics: []string{topic}})
	if err != nil {
		return 0, err
	}
	return len(answer.Topics[0].Partitions), answer.Topics[0].Error
}

func (d driver) Alter(topic, name, value string) (string, error) {
	ctx := context.Background()
	change := kafka.IncrementalAlterConfigsRequestConfig{Name: name, Value: value, ConfigOperation: kafka.ConfigOperationSet}
	altered, err := d.client.IncrementalAlterConfigs(ctx, &kafka.IncrementalAlterConfigsRequest{
		Resources: []kafka.IncrementalAlterConfigsRequestResource{{
			ResourceType: kafka.ResourceTypeTopic, ResourceName: topic,
			Configs: []kafka.IncrementalAlterConfigsRequestConfig{change},
		}},
	})
	if err != nil {
		return "", err
	}
	if err := altered.Resources[0].Error; err != nil {
		return "", err
	}
	answer, err := d.client.DescribeConfigs(ctx, &kafka.DescribeConfigsRequest{
		Resources: []kafka.DescribeConfigRequestResource{{ResourceType: kafka.ResourceTypeTopic, ResourceName: topic, ConfigNames: []string{name}}},
	})
	if err != nil {
		return "", err
	}
	entries := answer.Resources[0].ConfigEntries
	if len(entries) != 1 {
		return "", fmt.Errorf("%d configs came for one name", len(entries))
	}
	return entries[0].ConfigValue, answer.Resources[0].Error
}

func (d driver) Delete(topic string) error {
	answer, err := d.client.DeleteTopics(context.Background(), &kafka.DeleteTopicsRequest{Topics: []string{topic}})
	if err != nil {
		return err
	}
	return answer.Errors[topic]
}

func (d driver) writer(topic string) *kafka.Writer {
	return &kafka.Writer{
		Addr: d.client.Addr, Topic: topic, RequiredAcks: kafka.RequireAll, BatchTimeout: 5 * time.Millisecond,
		BatchBytes: 20 << 20, AllowAutoTopicCreation: true, MaxAttempts: 20,
		Balancer: kafka.BalancerFunc(func(kafka.Message, ...int) int { return 0 }),
	}
}

func (d driver) Produce(topic, codec string, records []story.Record) error {
	w := d.writer(topic)
	if codec != "none" {
		var c compress.Compression
		if err := c.UnmarshalText([]byte(codec)); err != nil {
			return err
		}
		w.Compression = c
	}
	messages := make([]kafka.Message, len(records))
	for i, r := range records {
		messages[i] = kafka.Message{Key: r.Key, Value: r.Value}
		for _, h := range r.Headers {
			messages[i].Headers = append(messages[i].Headers, kafka.Header{Key: h[0], Value: []byte(h[1])})
		}
	}
	if err := write(w, messages...); err != nil {
		return err
	}
	return w.Close()
}

// write is the library's documented way to a topic that does not exist yet: the first
// attempt asks for its creation, the next ones find it.
func write(w *kafka.Writer, messages ...kafka.Message) error {
	for try := 0; ; try++ {
		err := w.WriteMessages(context.Background(), messages...)
		created := errors.Is(err, kafka.UnknownTopicOrPartition) || errors.Is(err, kafka.LeaderNotAvailable)
		if !created || try == 50 {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
}

func (d driver) Consume(topic string, count int, fn func(int64, story.Record) error) error {
	r := kafka.NewReader(kafka.ReaderConfig{Brokers: []string{d.seed}, Topic: topic, Partition: 0, MaxBytes: 10 << 20, MaxWait: 500 * time.Millisecond})
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range count {
		m, err := r.ReadMessage(ctx)
		if err != nil {
			return err
		}
		got := story.Record{Key: m.Key, Value: m.Value}
		for _, h := range m.Headers {
			got.Headers = append(got.Headers, [2]string{h.Key, string(h.Value)})
		}
		if err := fn(m.Offset, got); err != nil {
			return err
		}
	}
	return r.Close()
}

func (d driver) Large(topic string, value []byte) error {
	w := d.writer(topic)
	if err := write(w, kafka.Message{Value: value}); err != nil {
		return err
	}
	return w.Close()
}

func (d driver) Idempotent(string, [][]story.Record, time.Duration) error {
	return errors.New("kafka-go has no idempotent producer")
}
