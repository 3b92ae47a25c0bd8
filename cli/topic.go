package cli

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/urfave/cli/v2"
)

func topicCommand() *cli.Command {
	return &cli.Command{
		Name: "topic", Usage: "create, list, describe, change, delete and recover topics",
		Subcommands: []*cli.Command{
			{
				Name: "create", Usage: "create topics", ArgsUsage: "TOPIC…", Action: topicCreate,
				Flags: []cli.Flag{
					serversFlag(),
					&cli.IntFlag{Name: "partitions", Aliases: []string{"p"}, Usage: "partitions of each", Value: -1, DefaultText: "the broker's num.partitions"},
					&cli.IntFlag{Name: "replication-factor", Aliases: []string{"r"}, Usage: "replicas of each", Value: -1, DefaultText: "the broker's"},
					&cli.StringSliceFlag{Name: "config", Usage: "a setting, `NAME=VALUE`; may be given again"},
				},
			},
			{Name: "list", Usage: "list topics", Flags: []cli.Flag{serversFlag(), outputFlag()}, Action: topicList},
			{Name: "describe", Usage: "partitions and settings of a topic", ArgsUsage: "TOPIC", Flags: []cli.Flag{serversFlag(), outputFlag()}, Action: topicDescribe},
			{
				Name: "alter", Usage: "change settings of a topic", ArgsUsage: "TOPIC", Action: topicAlter,
				Flags: []cli.Flag{
					serversFlag(),
					&cli.StringSliceFlag{Name: "set", Usage: "a setting, `NAME=VALUE`; may be given again"},
					&cli.StringSliceFlag{Name: "delete", Usage: "a `NAME` that goes back to its default; may be given again"},
				},
			},
			{Name: "delete", Usage: "delete topics", ArgsUsage: "TOPIC…", Flags: []cli.Flag{serversFlag()}, Action: topicDelete},
			{
				Name: "add-partitions", Usage: "give a topic more partitions", ArgsUsage: "TOPIC", Action: topicAddPartitions,
				Flags: []cli.Flag{serversFlag(), &cli.IntFlag{Name: "total", Usage: "partitions that it then has", Required: true}},
			},
			recoverCommand(),
		},
	}
}

// pairs reads NAME=VALUE words.
func pairs(flag string, words []string) (map[string]*string, error) {
	m := map[string]*string{}
	for _, w := range words {
		name, value, ok := strings.Cut(w, "=")
		if !ok {
			return nil, usagef("--%s %s: it is NAME=VALUE", flag, w)
		}
		m[name] = &value
	}
	return m, nil
}

func someArgs(c *cli.Context, what string) ([]string, error) {
	if !c.Args().Present() {
		return nil, usagef("%s needs a %s: see %s --help", c.Command.HelpName, what, c.Command.HelpName)
	}
	return c.Args().Slice(), nil
}

func topicCreate(c *cli.Context) error {
	names, err := someArgs(c, "topic")
	if err != nil {
		return err
	}
	configs, err := pairs("config", c.StringSlice("config"))
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		made, err := adm.CreateTopics(ctx, int32(c.Int("partitions")), int16(c.Int("replication-factor")), configs, names...)
		if err != nil {
			return err
		}
		var failed error
		for _, t := range made.Sorted() {
			if t.Err != nil {
				failed = errors.Join(failed, fmt.Errorf("create %s: %w", t.Topic, said(t.Err, t.ErrMessage)))
				continue
			}
			fmt.Fprintf(c.App.Writer, "created %s: partitions %d, replicas %d\n", t.Topic, t.NumPartitions, t.ReplicationFactor)
		}
		return failed
	})
}

func topicDelete(c *cli.Context) error {
	names, err := someArgs(c, "topic")
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		gone, err := adm.DeleteTopics(ctx, names...)
		if err != nil {
			return err
		}
		var failed error
		for _, t := range gone.Sorted() {
			if t.Err != nil {
				failed = errors.Join(failed, fmt.Errorf("delete %s: %w", t.Topic, said(t.Err, t.ErrMessage)))
				continue
			}
			fmt.Fprintln(c.App.Writer, "deleted", t.Topic)
		}
		return failed
	})
}

// topicRow is a topic in a listing.
type topicRow struct {
	Topic             string `json:"topic"`
	ID                string `json:"id"`
	Partitions        int    `json:"partitions"`
	ReplicationFactor int    `json:"replicationFactor"`
	Internal          bool   `json:"internal"`
}

// idText is a topic id as Kafka prints it, and as the topic's logs are named on disk.
func idText(id [16]byte) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

func topicList(c *cli.Context) error {
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		topics, err := adm.ListTopicsWithInternal(ctx)
		if err != nil {
			return err
		}
		values, rows := []topicRow{}, [][]string{}
		for _, t := range topics.Sorted() {
			r := topicRow{t.Topic, idText(t.ID), len(t.Partitions), t.Partitions.NumReplicas(), t.IsInternal}
			values = append(values, r)
			rows = append(rows, []string{r.Topic, strconv.Itoa(r.Partitions), strconv.Itoa(r.ReplicationFactor), r.ID})
		}
		return listing(c, values, "TOPIC PARTITIONS REPLICAS ID", rows)
	})
}

// partitionRow is a partition in a listing.
type partitionRow struct {
	Partition   int32   `json:"partition"`
	Leader      int32   `json:"leader"`
	LeaderEpoch int32   `json:"leaderEpoch"`
	Replicas    []int32 `json:"replicas"`
	ISR         []int32 `json:"isr"`
	Start       int64   `json:"logStart"`
	End         int64   `json:"highWatermark"`
}

// configRow is a setting in a listing.
type configRow struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Source string `json:"source"`
}

func topicDescribe(c *cli.Context) error {
	name, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		partitions, err := topicPartitions(ctx, adm, name)
		if err != nil {
			return err
		}
		configs, err := topicSettings(ctx, adm, name)
		if err != nil {
			return err
		}
		rows := [][]string{}
		for _, p := range partitions {
			rows = append(rows, []string{
				fmt.Sprint(p.Partition), fmt.Sprint(p.Leader), fmt.Sprint(p.LeaderEpoch), fmt.Sprint(p.Replicas), fmt.Sprint(p.ISR),
				fmt.Sprint(p.Start), fmt.Sprint(p.End),
			})
		}
		value := map[string]any{"topic": name, "partitions": partitions, "configs": configs}
		if err := listing(c, value, "PARTITION LEADER EPOCH REPLICAS ISR START END", rows); err != nil || c.String("output") == "json" {
			return err
		}
		fmt.Fprintln(c.App.Writer)
		rows = rows[:0]
		for _, s := range configs {
			rows = append(rows, []string{s.Name, s.Value, s.Source})
		}
		return table(c.App.Writer, "SETTING VALUE SOURCE", rows)
	})
}

func topicPartitions(ctx context.Context, adm *kadm.Client, name string) ([]partitionRow, error) {
	topics, err := adm.ListTopicsWithInternal(ctx, name)
	if err != nil {
		return nil, err
	}
	t := topics[name]
	if t.Err != nil {
		return nil, fmt.Errorf("topic %s: %w", name, said(t.Err, ""))
	}
	starts, err := adm.ListStartOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, name)
	if err != nil {
		return nil, err
	}
	rows := []partitionRow{}
	for _, p := range t.Partitions.Sorted() {
		r := partitionRow{p.Partition, p.Leader, p.LeaderEpoch, p.Replicas, p.ISR, -1, -1}
		if o, ok := starts.Lookup(name, p.Partition); ok && o.Err == nil {
			r.Start = o.Offset
		}
		if o, ok := ends.Lookup(name, p.Partition); ok && o.Err == nil {
			r.End = o.Offset
		}
		rows = append(rows, r)
	}
	return rows, nil
}

func topicSettings(ctx context.Context, adm *kadm.Client, name string) ([]configRow, error) {
	described, err := adm.DescribeTopicConfigs(ctx, name)
	if err != nil {
		return nil, err
	}
	rows := []configRow{}
	for _, r := range described {
		for _, s := range r.Configs {
			rows = append(rows, configRow{s.Key, s.MaybeValue(), s.Source.String()})
		}
	}
	slices.SortFunc(rows, func(a, b configRow) int { return strings.Compare(a.Name, b.Name) })
	return rows, nil
}

func topicAlter(c *cli.Context) error {
	name, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	set, err := pairs("set", c.StringSlice("set"))
	if err != nil {
		return err
	}
	var changes []kadm.AlterConfig
	for _, key := range slices.Sorted(maps.Keys(set)) {
		changes = append(changes, kadm.AlterConfig{Op: kadm.SetConfig, Name: key, Value: set[key]})
	}
	for _, key := range c.StringSlice("delete") {
		changes = append(changes, kadm.AlterConfig{Op: kadm.DeleteConfig, Name: key})
	}
	if len(changes) == 0 {
		return usagef("nothing to change: give --set or --delete")
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		altered, err := adm.AlterTopicConfigs(ctx, changes, name)
		if err != nil {
			return err
		}
		for _, r := range altered {
			if r.Err != nil {
				return fmt.Errorf("alter %s: %w", name, said(r.Err, r.ErrMessage))
			}
		}
		_, err = fmt.Fprintln(c.App.Writer, "altered", name)
		return err
	})
}

func topicAddPartitions(c *cli.Context) error {
	name, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		r, err := adm.UpdatePartitions(ctx, c.Int("total"), name)
		if err != nil {
			return err
		}
		if t := r[name]; t.Err != nil {
			return fmt.Errorf("add partitions to %s: %w", name, said(t.Err, t.ErrMessage))
		}
		_, err = fmt.Fprintf(c.App.Writer, "%s has %d partitions\n", name, c.Int("total"))
		return err
	})
}
