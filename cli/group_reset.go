package cli

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/urfave/cli/v2"
)

func resetCommand() *cli.Command {
	return &cli.Command{
		Name: "reset-offsets", Usage: "move the committed offsets of a group without members", ArgsUsage: "GROUP", Action: groupReset,
		Description: "Shows what would change; --execute does it. Without --topic every topic that the group\n" +
			"has offsets of is moved. A place outside a partition becomes its nearest end.",
		Flags: []cli.Flag{
			serversFlag(), outputFlag(),
			&cli.StringSliceFlag{Name: "topic", Usage: "`TOPIC` or TOPIC:PARTITION,…; may be given again"},
			&cli.StringFlag{Name: "to", Usage: "earliest, latest, an offset, +N or -N from the committed one, or @MS (a time)", Required: true},
			&cli.BoolFlag{Name: "execute", Usage: "do it"},
		},
	}
}

// resetRow is one partition of a reset; −1 is no committed offset.
type resetRow struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	Committed int64  `json:"committed"`
	New       int64  `json:"new"`
}

func groupReset(c *cli.Context) error {
	name, err := oneArg(c, "group")
	if err != nil {
		return err
	}
	to, err := parseTarget(c.String("to"))
	if err != nil {
		return err
	}
	wanted, err := parseTopics(c.StringSlice("topic"))
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		reset := &offsetReset{adm: adm, group: name, to: to, wanted: wanted}
		rows, err := reset.plan(ctx)
		if err != nil {
			return err
		}
		if c.Bool("execute") {
			if err := reset.execute(ctx, rows); err != nil {
				return err
			}
		}
		cells := [][]string{}
		for _, r := range rows {
			cells = append(cells, []string{r.Topic, fmt.Sprint(r.Partition), known(r.Committed), fmt.Sprint(r.New)})
		}
		if err := listing(c, rows, "TOPIC PARTITION COMMITTED NEW", cells); err != nil {
			return err
		}
		if !c.Bool("execute") {
			fmt.Fprintln(c.App.ErrWriter, "nothing is changed yet: --execute does it")
		}
		return nil
	})
}

// target is where a reset moves to.
type target struct {
	kind byte // 'e'arliest, 'l'atest, 'o'ffset, 's'hift, 't'ime
	n    int64
}

func parseTarget(text string) (target, error) {
	bad := usagef("--to %s: it is earliest, latest, an offset, +N, -N or @MS", text)
	switch text {
	case "earliest":
		return target{kind: 'e'}, nil
	case "latest":
		return target{kind: 'l'}, nil
	case "":
		return target{}, bad
	}
	kind, digits := byte('o'), text
	switch text[0] {
	case '@':
		kind, digits = 't', text[1:]
	case '+', '-':
		kind = 's'
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 && kind != 's' {
		return target{}, bad
	}
	return target{kind, n}, nil
}

// parseTopics reads --topic: the partitions by topic, none for all of them.
func parseTopics(words []string) (map[string][]int32, error) {
	wanted := map[string][]int32{}
	for _, w := range words {
		topic, list, some := strings.Cut(w, ":")
		if !some {
			wanted[topic] = nil
			continue
		}
		for text := range strings.SplitSeq(list, ",") {
			n, err := strconv.ParseInt(text, 10, 32)
			if err != nil || n < 0 {
				return nil, usagef("--topic %s: it is TOPIC or TOPIC:PARTITION,…", w)
			}
			wanted[topic] = append(wanted[topic], int32(n))
		}
	}
	return wanted, nil
}

// offsetReset moves the offsets of one group.
type offsetReset struct {
	adm    *kadm.Client
	group  string
	to     target
	wanted map[string][]int32
}

// plan finds what would change. A group that is read by somebody is refused: its
// members would overwrite what is set.
func (r *offsetReset) plan(ctx context.Context) ([]resetRow, error) {
	groups, err := r.adm.DescribeGroups(ctx, r.group)
	if err != nil {
		return nil, err
	}
	if state := groups[r.group].State; state != "Empty" && state != "Dead" && state != "" {
		return nil, fmt.Errorf("group %s is %s: stop its members first", r.group, state)
	}
	committed, err := r.adm.FetchOffsets(ctx, r.group)
	if err != nil {
		return nil, fmt.Errorf("offsets of %s: %w", r.group, said(err, ""))
	}
	topics := r.topics(committed)
	if len(topics) == 0 {
		return nil, fmt.Errorf("group %s has no offsets: --topic names what to set", r.group)
	}
	starts, err := r.adm.ListStartOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	ends, err := r.adm.ListEndOffsets(ctx, topics...)
	if err != nil {
		return nil, err
	}
	var after kadm.ListedOffsets
	if r.to.kind == 't' {
		if after, err = r.adm.ListOffsetsAfterMilli(ctx, r.to.n, topics...); err != nil {
			return nil, err
		}
	}
	return r.rows(committed, starts, ends, after)
}

// topics are those that were named, or those that the group has.
func (r *offsetReset) topics(committed kadm.OffsetResponses) []string {
	seen := map[string]bool{}
	var topics []string
	add := func(topic string) {
		if !seen[topic] {
			seen[topic] = true
			topics = append(topics, topic)
		}
	}
	for topic := range r.wanted {
		add(topic)
	}
	if len(r.wanted) == 0 {
		committed.Each(func(o kadm.OffsetResponse) { add(o.Topic) })
	}
	slices.Sort(topics)
	return topics
}

func (r *offsetReset) rows(committed kadm.OffsetResponses, starts, ends, after kadm.ListedOffsets) ([]resetRow, error) {
	rows := []resetRow{}
	if err := r.missing(ends); err != nil {
		return nil, err
	}
	for _, end := range sortedOffsets(ends) {
		if only := r.wanted[end.Topic]; len(only) > 0 && !slices.Contains(only, end.Partition) {
			continue
		}
		at, has := committed.Lookup(end.Topic, end.Partition)
		if len(r.wanted) == 0 && !has {
			continue
		}
		row := resetRow{end.Topic, end.Partition, -1, end.Offset}
		if has {
			row.Committed = at.At
		}
		start, _ := starts.Lookup(end.Topic, end.Partition)
		switch r.to.kind {
		case 'e':
			row.New = start.Offset
		case 'o':
			row.New = r.to.n
		case 's':
			row.New = max(row.Committed, 0) + r.to.n
		case 't':
			if found, ok := after.Lookup(end.Topic, end.Partition); ok && found.Offset >= 0 {
				row.New = found.Offset
			}
		}
		row.New = min(max(row.New, start.Offset), end.Offset)
		rows = append(rows, row)
	}
	return rows, nil
}

// missing says what was named, or committed to, and is not there.
func (r *offsetReset) missing(ends kadm.ListedOffsets) error {
	for _, end := range sortedOffsets(ends) {
		switch {
		case end.Err != nil && end.Partition < 0:
			return fmt.Errorf("topic %s: %w", end.Topic, said(end.Err, ""))
		case end.Err != nil:
			return fmt.Errorf("%s partition %d: %w", end.Topic, end.Partition, said(end.Err, ""))
		}
	}
	for topic, partitions := range r.wanted {
		for _, p := range partitions {
			if _, ok := ends.Lookup(topic, p); !ok {
				return fmt.Errorf("topic %s has no partition %d", topic, p)
			}
		}
	}
	return nil
}

func sortedOffsets(offsets kadm.ListedOffsets) []kadm.ListedOffset {
	var all []kadm.ListedOffset
	offsets.Each(func(o kadm.ListedOffset) { all = append(all, o) })
	slices.SortFunc(all, func(a, b kadm.ListedOffset) int {
		if c := strings.Compare(a.Topic, b.Topic); c != 0 {
			return c
		}
		return int(a.Partition - b.Partition)
	})
	return all
}

func (r *offsetReset) execute(ctx context.Context, rows []resetRow) error {
	var offsets kadm.Offsets
	for _, row := range rows {
		offsets.AddOffset(row.Topic, row.Partition, row.New, -1)
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	if err := r.adm.CommitAllOffsets(ctx, r.group, offsets); err != nil {
		return fmt.Errorf("set offsets of %s: %w", r.group, said(err, ""))
	}
	return nil
}
