// The driver of confluent-kafka-go, which is librdkafka by cgo, in a module of its own
// because it needs a C compiler; see ../README.md. It tells the stories of groups only:
// the others are the Python driver's of the same library.
package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/confluentinc/confluent-kafka-go/v2/kafka"

	"chronik/e2e/clients/story"
)

type driver struct{ bootstrap string }

func main() {
	story.MainGroups(func(bootstrap string) (story.Groups, error) { return driver{bootstrap}, nil })
}

func (d driver) Join(ctx context.Context, m *story.Member) error {
	c, err := kafka.NewConsumer(&kafka.ConfigMap{
		"bootstrap.servers": d.bootstrap, "group.id": m.Group, "auto.offset.reset": "earliest", "enable.auto.commit": false,
		"session.timeout.ms": 6000, "heartbeat.interval.ms": 500, "partition.assignment.strategy": "range",
	})
	if err != nil {
		return err
	}
	if err := c.Subscribe(m.Topic, nil); err != nil {
		return err
	}
	for !m.Done() && ctx.Err() == nil {
		record, err := c.ReadMessage(200 * time.Millisecond)
		if failed, ok := errors.AsType[kafka.Error](err); ok && (failed.IsTimeout() || !failed.IsFatal()) {
			continue
		}
		if err != nil {
			return err
		}
		if err := take(c, m, record); err != nil {
			return err
		}
	}
	return c.Close()
}

// take prints and commits a record; a commit that a rebalance overtakes is no failure.
func take(c *kafka.Consumer, m *story.Member, r *kafka.Message) error {
	at := r.TopicPartition
	m.Take(at.Partition, int64(at.Offset), r.Value)
	if err := m.Flush(); err != nil {
		return err
	}
	_, err := c.CommitMessage(r)
	if failed, ok := errors.AsType[kafka.Error](err); ok {
		switch failed.Code() {
		case kafka.ErrRebalanceInProgress, kafka.ErrIllegalGeneration, kafka.ErrUnknownMemberID:
			return nil
		}
	}
	return err
}

func (d driver) admin(use func(context.Context, *kafka.AdminClient) error) error {
	admin, err := kafka.NewAdminClient(&kafka.ConfigMap{"bootstrap.servers": d.bootstrap})
	if err != nil {
		return err
	}
	defer admin.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return use(ctx, admin)
}

func (d driver) GroupList() (names []string, err error) {
	err = d.admin(func(ctx context.Context, a *kafka.AdminClient) error {
		groups, err := a.ListConsumerGroups(ctx)
		for _, g := range groups.Valid {
			names = append(names, g.GroupID)
		}
		return errors.Join(append(groups.Errors, err)...)
	})
	return names, err
}

func (d driver) GroupState(group string) (state string, err error) {
	err = d.admin(func(ctx context.Context, a *kafka.AdminClient) error {
		groups, err := a.DescribeConsumerGroups(ctx, []string{group})
		if err != nil {
			return err
		}
		one := groups.ConsumerGroupDescriptions[0]
		state = one.State.String()
		return failure(one.Error)
	})
	return state, err
}

func failure(err kafka.Error) error {
	if err.Code() == kafka.ErrNoError {
		return nil
	}
	return err
}

func (d driver) GroupOffsets(group, topic string) (map[int]int64, error) {
	offsets := map[int]int64{}
	err := d.admin(func(ctx context.Context, a *kafka.AdminClient) error {
		answer, err := a.ListConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{{Group: group}})
		if err != nil {
			return err
		}
		for _, p := range answer.ConsumerGroupsTopicPartitions[0].Partitions {
			if p.Error != nil {
				return p.Error
			}
			if *p.Topic == topic && p.Offset >= 0 {
				offsets[int(p.Partition)] = int64(p.Offset)
			}
		}
		return nil
	})
	return offsets, err
}

func (d driver) GroupRewind(group, topic string, partitions []int) error {
	change := kafka.ConsumerGroupTopicPartitions{Group: group}
	for _, p := range partitions {
		change.Partitions = append(change.Partitions, kafka.TopicPartition{Topic: &topic, Partition: int32(p)})
	}
	return d.admin(func(ctx context.Context, a *kafka.AdminClient) error {
		answer, err := a.AlterConsumerGroupOffsets(ctx, []kafka.ConsumerGroupTopicPartitions{change})
		if err != nil {
			return err
		}
		for _, p := range answer.ConsumerGroupsTopicPartitions[0].Partitions {
			if p.Error != nil {
				return fmt.Errorf("partition %d: %w", p.Partition, p.Error)
			}
		}
		return nil
	})
}

func (d driver) GroupDelete(group string) error {
	return d.admin(func(ctx context.Context, a *kafka.AdminClient) error {
		answer, err := a.DeleteConsumerGroups(ctx, []string{group})
		if err != nil {
			return err
		}
		return failure(answer.ConsumerGroupResults[0].Error)
	})
}
