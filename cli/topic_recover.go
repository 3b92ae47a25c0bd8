package cli

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func recoverCommand() *cli.Command {
	return &cli.Command{
		Name: "recover", Usage: "have partitions led again that lost every replica with all records", ArgsUsage: "TOPIC", Action: topicRecover,
		Description: "The replica whose log goes furthest of those that are there leads: what was acknowledged beyond\n" +
			"its end is lost. Without --yes nothing is changed. If a replica that has more may come back, wait for it.",
		Flags: []cli.Flag{serversFlag(), &cli.BoolFlag{Name: "yes", Usage: "do it"}},
	}
}

// topicRecover elects leaders for the partitions of a topic that have none, and tells
// where their logs end then.
func topicRecover(c *cli.Context) error {
	name, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	return withClient(c, func(ctx context.Context, client *kgo.Client) error {
		dead, err := leaderless(ctx, client, name)
		if err != nil {
			return err
		}
		if len(dead) == 0 {
			fmt.Fprintf(c.App.Writer, "every partition of %s has a leader\n", name)
			return nil
		}
		if err := tellLeaderless(c, dead); err != nil {
			return err
		}
		if !c.Bool("yes") {
			return fmt.Errorf("%d partitions of %s have no leader; --yes elects one of the replicas that are there", len(dead), name)
		}
		adm, set := kadm.NewClient(client), kadm.TopicsSet{}
		for _, p := range dead {
			set.Add(name, p.Partition)
		}
		done, err := adm.ElectLeaders(ctx, kadm.ElectLiveReplica, set)
		if err != nil {
			return err
		}
		return recovered(ctx, c, adm, name, done[name])
	})
}

// leaderless lists the partitions of a topic that have no leader.
func leaderless(ctx context.Context, client *kgo.Client, name string) (dead []kmsg.DescribeTopicPartitionsResponseTopicPartition, err error) {
	req := kmsg.NewPtrDescribeTopicPartitionsRequest()
	t := kmsg.NewDescribeTopicPartitionsRequestTopic()
	t.Topic = name
	req.Topics = append(req.Topics, t)
	for {
		resp, err := req.RequestWith(ctx, client)
		if err != nil {
			return nil, err
		}
		for _, t := range resp.Topics {
			if err := kerr.ErrorForCode(t.ErrorCode); err != nil {
				return nil, fmt.Errorf("describe %s: %w", name, said(err, ""))
			}
			for _, p := range t.Partitions {
				if p.LeaderID < 0 {
					dead = append(dead, p)
				}
			}
		}
		if resp.NextCursor == nil {
			return dead, nil
		}
		req.Cursor = &kmsg.DescribeTopicPartitionsRequestCursor{Topic: resp.NextCursor.Topic, Partition: resp.NextCursor.Partition}
	}
}

// tellLeaderless prints who has what of them.
func tellLeaderless(c *cli.Context, dead []kmsg.DescribeTopicPartitionsResponseTopicPartition) error {
	var rows [][]string
	for _, p := range dead {
		rows = append(rows, []string{fmt.Sprint(p.Partition), list(p.Replicas), list(p.OfflineReplicas), list(p.ISR), list(p.EligibleLeaderReplicas), list(p.LastKnownELR)})
	}
	return table(c.App.Writer, "PARTITION REPLICAS OFFLINE ISR ELR LAST-KNOWN", rows)
}

func list(ids []int32) string {
	if len(ids) == 0 {
		return "-"
	}
	return strings.Trim(fmt.Sprint(ids), "[]")
}

// recovered prints who leads now, and up to where.
func recovered(ctx context.Context, c *cli.Context, adm *kadm.Client, name string, done map[int32]kadm.ElectLeadersResult) error {
	described, err := adm.ListTopics(ctx, name)
	if err != nil {
		return err
	}
	ends, err := adm.ListEndOffsets(ctx, name)
	if err != nil {
		return err
	}
	var failed error
	for _, n := range slices.Sorted(maps.Keys(done)) {
		if r := done[n]; r.Err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s-%d: %w", name, n, said(r.Err, r.ErrMessage)))
			continue
		}
		end, _ := ends.Lookup(name, n)
		fmt.Fprintf(c.App.Writer, "%s-%d is led by broker %d; what was acknowledged from offset %d on is lost\n", name, n, described[name].Partitions[n].Leader, end.Offset)
	}
	return failed
}
