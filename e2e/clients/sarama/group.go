package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/IBM/sarama"

	"chronik/e2e/clients/story"
)

// claims hands the records of a session's partitions to the member.
type claims struct {
	*story.Member
	enough context.CancelFunc
}

func (claims) Setup(sarama.ConsumerGroupSession) error { return nil }

func (c claims) Cleanup(s sarama.ConsumerGroupSession) error {
	err := c.Flush()
	s.Commit()
	return err
}

func (c claims) ConsumeClaim(s sarama.ConsumerGroupSession, claim sarama.ConsumerGroupClaim) error {
	for m := range claim.Messages() {
		if !c.Take(m.Partition, m.Offset, m.Value) {
			break
		}
		s.MarkMessage(m, "")
		if err := c.Flush(); err != nil {
			return err
		}
		if c.Done() {
			c.enough()
		}
	}
	return nil
}

func (d driver) Join(ctx context.Context, m *story.Member) error {
	c := d.config()
	c.Consumer.Offsets.Initial = sarama.OffsetOldest
	c.Consumer.Offsets.AutoCommit.Interval = 200 * time.Millisecond
	c.Consumer.Group.Session.Timeout, c.Consumer.Group.Heartbeat.Interval = 6*time.Second, 500*time.Millisecond
	c.Consumer.Group.Rebalance.Timeout = 6 * time.Second
	group, err := sarama.NewConsumerGroup(d.seeds, m.Group, c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	for ctx.Err() == nil {
		if err := group.Consume(ctx, []string{m.Topic}, claims{m, cancel}); err != nil && ctx.Err() == nil {
			return errors.Join(err, group.Close())
		}
	}
	return group.Close()
}

func (d driver) GroupList() (names []string, err error) {
	err = d.admin(func(a sarama.ClusterAdmin) error {
		groups, err := a.ListConsumerGroups()
		names = slices.Sorted(maps.Keys(groups))
		return err
	})
	return names, err
}

func (d driver) GroupState(group string) (state string, err error) {
	err = d.admin(func(a sarama.ClusterAdmin) error {
		groups, err := a.DescribeConsumerGroups([]string{group})
		if err != nil {
			return err
		}
		if len(groups) != 1 {
			return fmt.Errorf("%d groups came for one", len(groups))
		}
		state = groups[0].State
		if groups[0].Err != sarama.ErrNoError {
			return groups[0].Err
		}
		return nil
	})
	return state, err
}

func (d driver) GroupOffsets(group, topic string) (map[int]int64, error) {
	offsets := map[int]int64{}
	err := d.admin(func(a sarama.ClusterAdmin) error {
		topics, err := a.DescribeTopics([]string{topic})
		if err != nil {
			return err
		}
		var partitions []int32
		for _, p := range topics[0].Partitions {
			partitions = append(partitions, p.ID)
		}
		answer, err := a.ListConsumerGroupOffsets(group, map[string][]int32{topic: partitions})
		if err != nil {
			return err
		}
		for p, block := range answer.Blocks[topic] {
			if block.Err != sarama.ErrNoError {
				return block.Err
			}
			if block.Offset >= 0 {
				offsets[int(p)] = block.Offset
			}
		}
		return nil
	})
	return offsets, err
}

func (d driver) GroupRewind(group, topic string, partitions []int) error {
	client, err := sarama.NewClient(d.seeds, d.config())
	if err != nil {
		return err
	}
	offsets, err := sarama.NewOffsetManagerFromClient(group, client)
	if err != nil {
		return err
	}
	for _, p := range partitions {
		one, err := offsets.ManagePartition(topic, int32(p))
		if err != nil {
			return err
		}
		one.ResetOffset(0, "")
	}
	offsets.Commit()
	return either(offsets.Close(), client.Close())
}

func (d driver) GroupDelete(group string) error {
	return d.admin(func(a sarama.ClusterAdmin) error { return a.DeleteConsumerGroup(group) })
}
