package cli

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

func groupCommand() *cli.Command {
	return &cli.Command{
		Name: "group", Usage: "list, describe, reset and delete consumer groups",
		Subcommands: []*cli.Command{
			{
				Name: "list", Usage: "list groups", Action: groupList,
				Flags: []cli.Flag{serversFlag(), outputFlag(), &cli.StringSliceFlag{Name: "state", Usage: "groups in this state only: Empty, Stable, …; may be given again"}},
			},
			{
				Name: "describe", Usage: "offsets, lag and members of a group", ArgsUsage: "GROUP", Action: groupDescribe,
				Description: "LAG is how many records are not consumed, BEHIND how long ago the first of them was written.",
				Flags:       []cli.Flag{serversFlag(), outputFlag()},
			},
			resetCommand(),
			{Name: "delete", Usage: "delete groups without members, and their offsets", ArgsUsage: "GROUP…", Flags: []cli.Flag{serversFlag()}, Action: groupDelete},
		},
	}
}

// groupStates are the states that a group may be listed in.
var groupStates = []string{"Empty", "PreparingRebalance", "CompletingRebalance", "Stable"}

// groupRow is a group in a listing.
type groupRow struct {
	Group        string `json:"group"`
	State        string `json:"state"`
	ProtocolType string `json:"protocolType"`
	Coordinator  int32  `json:"coordinator"`
}

func groupList(c *cli.Context) error {
	states := c.StringSlice("state")
	for _, s := range states {
		if !slices.ContainsFunc(groupStates, func(known string) bool { return strings.EqualFold(known, s) }) {
			return usagef("--state %s: it is one of %s", s, strings.Join(groupStates, ", "))
		}
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		groups, err := adm.ListGroups(ctx, states...)
		if err != nil {
			return err
		}
		values, rows := []groupRow{}, [][]string{}
		for _, g := range groups.Sorted() {
			values = append(values, groupRow{g.Group, g.State, g.ProtocolType, g.Coordinator})
			rows = append(rows, []string{g.Group, g.State, orDash(g.ProtocolType), strconv.Itoa(int(g.Coordinator))})
		}
		return listing(c, values, "GROUP STATE PROTOCOL-TYPE COORDINATOR", rows)
	})
}

func orDash(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

// lagRow is one partition of a group; −1 is not known.
type lagRow struct {
	Topic     string  `json:"topic"`
	Partition int32   `json:"partition"`
	Committed int64   `json:"committed"`
	End       int64   `json:"end"`
	Lag       int64   `json:"lag"`
	Behind    float64 `json:"behindSeconds"`
	Member    string  `json:"member,omitempty"`
}

// memberRow is one member of a group.
type memberRow struct {
	Member     string `json:"member"`
	Instance   string `json:"instance,omitempty"`
	Client     string `json:"client"`
	Host       string `json:"host"`
	Partitions string `json:"partitions"`
}

func groupDescribe(c *cli.Context) error {
	name, err := oneArg(c, "group")
	if err != nil {
		return err
	}
	var g kadm.DescribedGroupLag
	var lags []lagRow
	err = admin(c, func(ctx context.Context, adm *kadm.Client) (err error) {
		if g, err = describedGroup(ctx, adm, name); err == nil {
			lags, err = groupLags(ctx, c, g)
		}
		return err
	})
	if err != nil {
		return err
	}
	members := groupMembers(g)
	if c.String("output") == "table" {
		fmt.Fprintf(c.App.Writer, "%s is %s, protocol %s, coordinator %d\n\n", name, g.State, orDash(g.Protocol), g.Coordinator.NodeID)
	}
	rows := [][]string{}
	for _, l := range lags {
		rows = append(rows, []string{l.Topic, fmt.Sprint(l.Partition), known(l.Committed), known(l.End), known(l.Lag), behind(l.Behind), orDash(l.Member)})
	}
	value := map[string]any{"group": name, "state": g.State, "protocol": g.Protocol, "coordinator": g.Coordinator.NodeID, "partitions": lags, "members": members}
	if err := listing(c, value, "TOPIC PARTITION COMMITTED END LAG BEHIND MEMBER", rows); err != nil || c.String("output") == "json" || len(members) == 0 {
		return err
	}
	fmt.Fprintln(c.App.Writer)
	rows = rows[:0]
	for _, m := range members {
		rows = append(rows, []string{m.Member, orDash(m.Instance), m.Client, m.Host, orDash(m.Partitions)})
	}
	return table(c.App.Writer, "MEMBER INSTANCE CLIENT HOST PARTITIONS", rows)
}

func known(n int64) string {
	if n < 0 {
		return "-"
	}
	return strconv.FormatInt(n, 10)
}

func behind(s float64) string {
	if s < 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f s", s)
}

// describedGroup finds a group that exists.
func describedGroup(ctx context.Context, adm *kadm.Client, name string) (kadm.DescribedGroupLag, error) {
	groups, err := adm.Lag(ctx, name)
	if err != nil {
		return kadm.DescribedGroupLag{}, err
	}
	g := groups[name]
	if err := g.Error(); err != nil {
		return g, fmt.Errorf("group %s: %w", name, said(err, ""))
	}
	if g.State == "Dead" {
		return g, fmt.Errorf("group %s: %w", name, said(kerr.GroupIDNotFound, "there is no such group"))
	}
	return g, nil
}

// groupLags lists the partitions that a group has offsets of.
func groupLags(ctx context.Context, c *cli.Context, g kadm.DescribedGroupLag) ([]lagRow, error) {
	rows := []lagRow{}
	unread := map[string]map[int32]kgo.Offset{}
	for _, l := range g.Lag.Sorted() {
		r := lagRow{Topic: l.Topic, Partition: l.Partition, Committed: l.Commit.At, End: l.End.Offset, Lag: l.Lag, Behind: -1}
		if l.Err != nil {
			r.End, r.Lag = -1, -1
		}
		if l.Member != nil {
			r.Member = l.Member.MemberID
		}
		switch {
		case r.Lag == 0:
			r.Behind = 0
		case r.Lag > 0 && r.Committed >= 0:
			if unread[l.Topic] == nil {
				unread[l.Topic] = map[int32]kgo.Offset{}
			}
			unread[l.Topic][l.Partition] = kgo.NewOffset().At(max(r.Committed, l.Start.Offset))
		}
		rows = append(rows, r)
	}
	written, err := firstTimes(ctx, c, unread)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		if at, ok := written[topicPartition{rows[i].Topic, rows[i].Partition}]; ok {
			rows[i].Behind = max(0, time.Since(at).Seconds())
		}
	}
	return rows, nil
}

type topicPartition struct {
	topic     string
	partition int32
}

// firstTimes reads one record of each partition, and returns its timestamp. What does
// not come within two seconds is left out.
func firstTimes(ctx context.Context, c *cli.Context, from map[string]map[int32]kgo.Offset) (map[topicPartition]time.Time, error) {
	times := map[topicPartition]time.Time{}
	left := 0
	for _, partitions := range from {
		left += len(partitions)
	}
	if left == 0 {
		return times, nil
	}
	client, err := connect(c, kgo.ConsumePartitions(from), kgo.FetchMaxPartitionBytes(1), kgo.FetchMaxWait(500*time.Millisecond))
	if err != nil {
		return nil, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	for left > 0 && ctx.Err() == nil {
		client.PollFetches(ctx).EachPartition(func(p kgo.FetchTopicPartition) {
			key := topicPartition{p.Topic, p.Partition}
			if _, seen := times[key]; seen || len(p.Records) == 0 {
				return
			}
			times[key] = p.Records[0].Timestamp
			left--
			client.PauseFetchPartitions(map[string][]int32{p.Topic: {p.Partition}})
		})
	}
	return times, nil
}

func groupMembers(g kadm.DescribedGroupLag) []memberRow {
	rows := []memberRow{}
	for _, m := range g.Members {
		r := memberRow{Member: m.MemberID, Client: m.ClientID, Host: strings.TrimPrefix(m.ClientHost, "/")}
		if m.InstanceID != nil {
			r.Instance = *m.InstanceID
		}
		if assigned, ok := m.Assigned.AsConsumer(); ok {
			var all []string
			for _, t := range assigned.Topics {
				all = append(all, fmt.Sprintf("%s%v", t.Topic, t.Partitions))
			}
			r.Partitions = strings.Join(all, " ")
		}
		rows = append(rows, r)
	}
	return rows
}

func groupDelete(c *cli.Context) error {
	names, err := someArgs(c, "group")
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		gone, err := adm.DeleteGroups(ctx, names...)
		if err != nil {
			return err
		}
		var failed []string
		for _, g := range gone.Sorted() {
			if g.Err != nil {
				failed = append(failed, fmt.Sprintf("delete %s: %v", g.Group, said(g.Err, "")))
				continue
			}
			fmt.Fprintln(c.App.Writer, "deleted", g.Group)
		}
		if len(failed) > 0 {
			return errors.New(strings.Join(failed, "; "))
		}
		return nil
	})
}
