package main

import (
	"context"
	"errors"
	"time"

	"github.com/segmentio/kafka-go"

	"chronik/e2e/clients/story"
)

func (d driver) Join(ctx context.Context, m *story.Member) error {
	r := kafka.NewReader(kafka.ReaderConfig{
		Brokers: []string{d.seed}, GroupID: m.Group, Topic: m.Topic, StartOffset: kafka.FirstOffset,
		SessionTimeout: 6 * time.Second, RebalanceTimeout: 6 * time.Second, HeartbeatInterval: 500 * time.Millisecond,
		MaxBytes: 10 << 20, MaxWait: 500 * time.Millisecond, JoinGroupBackoff: 500 * time.Millisecond,
	})
	for !m.Done() {
		record, err := r.FetchMessage(ctx)
		if errors.Is(err, context.Canceled) {
			break
		}
		if err != nil {
			return err
		}
		m.Take(int32(record.Partition), record.Offset, record.Value)
		if err := m.Flush(); err != nil {
			return err
		}
		if err := r.CommitMessages(context.Background(), record); err != nil {
			return err
		}
	}
	return r.Close()
}

func (d driver) GroupList() ([]string, error) {
	answer, err := d.client.ListGroups(context.Background(), &kafka.ListGroupsRequest{})
	if err != nil {
		return nil, err
	}
	var names []string
	for _, g := range answer.Groups {
		names = append(names, g.GroupID)
	}
	return names, answer.Error
}

func (d driver) GroupState(group string) (string, error) {
	answer, err := d.client.DescribeGroups(context.Background(), &kafka.DescribeGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return "", err
	}
	return answer.Groups[0].GroupState, answer.Groups[0].Error
}

func (d driver) GroupOffsets(group, topic string) (map[int]int64, error) {
	n, err := d.Describe(topic)
	if err != nil {
		return nil, err
	}
	var partitions []int
	for p := range n {
		partitions = append(partitions, p)
	}
	answer, err := d.client.OffsetFetch(context.Background(), &kafka.OffsetFetchRequest{
		GroupID: group, Topics: map[string][]int{topic: partitions},
	})
	if err != nil {
		return nil, err
	}
	offsets := map[int]int64{}
	for _, p := range answer.Topics[topic] {
		if p.Error != nil {
			return nil, p.Error
		}
		if p.CommittedOffset >= 0 {
			offsets[p.Partition] = p.CommittedOffset
		}
	}
	return offsets, answer.Error
}

func (d driver) GroupRewind(group, topic string, partitions []int) error {
	var commits []kafka.OffsetCommit
	for _, p := range partitions {
		commits = append(commits, kafka.OffsetCommit{Partition: p})
	}
	answer, err := d.client.OffsetCommit(context.Background(), &kafka.OffsetCommitRequest{
		GroupID: group, GenerationID: -1, Topics: map[string][]kafka.OffsetCommit{topic: commits},
	})
	if err != nil {
		return err
	}
	for _, p := range answer.Topics[topic] {
		err = errors.Join(err, p.Error)
	}
	return err
}

func (d driver) GroupDelete(group string) error {
	answer, err := d.client.DeleteGroups(context.Background(), &kafka.DeleteGroupsRequest{GroupIDs: []string{group}})
	if err != nil {
		return err
	}
	return answer.Errors[group]
}
