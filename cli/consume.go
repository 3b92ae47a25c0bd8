package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

func consumeCommand() *cli.Command {
	return &cli.Command{
		Name: "consume", Usage: "print the records of a topic", ArgsUsage: "TOPIC", Action: consume,
		Description: "A format is text with %t topic, %p partition, %o offset, %k key, %s value, %T timestamp (ms),\n" +
			"%S size of the value, %K size of the key, %h headers, %% a percent sign, and \\n \\t \\r \\\\.",
		Flags: []cli.Flag{
			serversFlag(),
			&cli.StringFlag{Name: "offset", Aliases: []string{"o"}, Usage: "begin at beginning, end, an offset, -N from the end, or @MS (a time)", Value: "end"},
			&cli.StringFlag{Name: "group", Aliases: []string{"g"}, Usage: "as a member of this group: begin at its offsets, and commit; --offset is for partitions without one"},
			&cli.IntFlag{Name: "partition", Aliases: []string{"p"}, Usage: "one partition only", Value: -1, DefaultText: "all"},
			&cli.Int64Flag{Name: "count", Aliases: []string{"n"}, Usage: "stop after so many records", DefaultText: "no end"},
			&cli.BoolFlag{Name: "exit", Aliases: []string{"e"}, Usage: "stop at the end of the topic"},
			&cli.StringFlag{Name: "format", Aliases: []string{"f"}, Usage: "how a record is printed", Value: `%s\n`},
			&cli.BoolFlag{Name: "json", Aliases: []string{"J"}, Usage: "a JSON object for each record"},
		},
	}
}

// parseOffset reads --offset.
func parseOffset(text string) (kgo.Offset, error) {
	o := kgo.NewOffset()
	switch {
	case text == "beginning":
		return o.AtStart(), nil
	case text == "end":
		return o.AtEnd(), nil
	case strings.HasPrefix(text, "@"):
		ms, err := strconv.ParseInt(text[1:], 10, 64)
		if err != nil || ms < 0 {
			return o, usagef("--offset %s: a time is @ and milliseconds since 1970", text)
		}
		return o.AfterMilli(ms), nil
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return o, usagef("--offset %s: it is beginning, end, an offset, -N or @MS", text)
	}
	if n < 0 {
		return o.AtEnd().Relative(n), nil
	}
	return o.At(n), nil
}

// parseFormat compiles a format to a function that prints a record.
func parseFormat(format string) (func(*bufio.Writer, *kgo.Record), error) {
	var parts []func(*bufio.Writer, *kgo.Record)
	text := func(s string) { parts = append(parts, func(w *bufio.Writer, _ *kgo.Record) { w.WriteString(s) }) }
	for i := 0; i < len(format); i++ {
		if i == len(format)-1 || format[i] != '%' && format[i] != '\\' {
			text(format[i : i+1])
			continue
		}
		kind, c := format[i], format[i+1]
		i++
		if kind == '\\' {
			escaped, ok := map[byte]string{'n': "\n", 't': "\t", 'r': "\r", '\\': `\`}[c]
			if !ok {
				return nil, usagef(`--format: \%c is not known`, c)
			}
			text(escaped)
			continue
		}
		field := formatFields[c]
		if field == nil {
			return nil, usagef("--format: %%%c is not known", c)
		}
		parts = append(parts, func(w *bufio.Writer, r *kgo.Record) { w.WriteString(field(r)) })
	}
	return func(w *bufio.Writer, r *kgo.Record) {
		for _, p := range parts {
			p(w, r)
		}
	}, nil
}

var formatFields = map[byte]func(*kgo.Record) string{
	't': func(r *kgo.Record) string { return r.Topic },
	'p': func(r *kgo.Record) string { return strconv.Itoa(int(r.Partition)) },
	'o': func(r *kgo.Record) string { return strconv.FormatInt(r.Offset, 10) },
	'k': func(r *kgo.Record) string { return string(r.Key) },
	's': func(r *kgo.Record) string { return string(r.Value) },
	'T': func(r *kgo.Record) string { return strconv.FormatInt(r.Timestamp.UnixMilli(), 10) },
	'S': func(r *kgo.Record) string { return sizeOf(r.Value) },
	'K': func(r *kgo.Record) string { return sizeOf(r.Key) },
	'h': func(r *kgo.Record) string {
		var hs []string
		for _, h := range r.Headers {
			hs = append(hs, h.Key+"="+string(h.Value))
		}
		return strings.Join(hs, ",")
	},
	'%': func(*kgo.Record) string { return "%" },
}

func sizeOf(b []byte) string {
	if b == nil {
		return "-1"
	}
	return strconv.Itoa(len(b))
}

// recordJSON is a record for programs; a value that is not UTF-8 is escaped as JSON does.
type recordJSON struct {
	Topic     string            `json:"topic"`
	Partition int32             `json:"partition"`
	Offset    int64             `json:"offset"`
	Timestamp int64             `json:"timestamp"`
	Key       *string           `json:"key"`
	Value     *string           `json:"value"`
	Headers   map[string]string `json:"headers,omitempty"`
}

func printJSON(w *bufio.Writer, r *kgo.Record) {
	j := recordJSON{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, Timestamp: r.Timestamp.UnixMilli()}
	if r.Key != nil {
		key := string(r.Key)
		j.Key = &key
	}
	if r.Value != nil {
		value := string(r.Value)
		j.Value = &value
	}
	for _, h := range r.Headers {
		if j.Headers == nil {
			j.Headers = map[string]string{}
		}
		j.Headers[h.Key] = string(h.Value)
	}
	line, err := json.Marshal(j)
	if err != nil {
		return // strings always marshal
	}
	w.Write(line)
	w.WriteByte('\n')
}

func consume(c *cli.Context) error {
	topic, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	from, err := parseOffset(c.String("offset"))
	if err != nil {
		return err
	}
	show, err := parseFormat(c.String("format"))
	if err != nil {
		return err
	}
	if c.Bool("json") {
		show = printJSON
	}
	opts := []kgo.Opt{kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(from), kgo.FetchMaxWait(500 * time.Millisecond)}
	if p := c.Int("partition"); p >= 0 {
		opts = append(opts[:0], kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: {int32(p): from}}))
	}
	if group := c.String("group"); group != "" {
		if c.Int("partition") >= 0 {
			return usagef("--partition does not go with --group: the members share the partitions")
		}
		opts = append(opts, kgo.ConsumerGroup(group), kgo.AutoCommitMarks())
	}
	client, err := connect(c, opts...)
	if err != nil {
		return err
	}
	defer client.CloseAllowingRebalance()
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	t := &tail{
		client: client, show: show, out: bufio.NewWriterSize(c.App.Writer, 1<<16), left: c.Int64("count"), counted: c.IsSet("count"),
		grouped: c.String("group") != "", silence: 2 * time.Second,
	}
	if t.grouped {
		t.silence = 6 * time.Second // a group takes its time to share partitions
	}
	if c.Bool("exit") {
		if t.ends, err = partitionEnds(ctx, client, topic, int32(c.Int("partition"))); err != nil {
			return err
		}
	}
	return t.run(ctx)
}

// tail prints records until there have been enough.
type tail struct {
	client  *kgo.Client
	show    func(*bufio.Writer, *kgo.Record)
	out     *bufio.Writer
	counted bool
	left    int64
	ends    map[int32]int64 // where to stop; nil is never
	silence time.Duration   // after which the end counts as reached: compaction may have taken the last records
	grouped bool
	printed []*kgo.Record // in a group: to be committed once they are out
}

func (t *tail) run(ctx context.Context) error {
	for !(t.counted && t.left <= 0) && (t.ends == nil || len(t.ends) > 0) {
		fetches, more := t.poll(ctx)
		if !more {
			break
		}
		for _, e := range fetches.Errors() {
			return errors.Join(fmt.Errorf("consume %s: %w", e.Topic, said(e.Err, "")), t.out.Flush())
		}
		fetches.EachRecord(t.record)
		if err := t.out.Flush(); err != nil {
			return err
		}
		t.client.MarkCommitRecords(t.printed...)
		t.printed = t.printed[:0]
	}
	return t.commit()
}

// poll waits for records; false when there will be no more.
func (t *tail) poll(ctx context.Context) (kgo.Fetches, bool) {
	patience := ctx
	if t.ends != nil {
		var cancel context.CancelFunc
		patience, cancel = context.WithTimeout(ctx, t.silence)
		defer cancel()
	}
	fetches := t.client.PollFetches(patience)
	return fetches, patience.Err() == nil || fetches.NumRecords() > 0
}

// commit commits what was printed, also after the signal to stop.
func (t *tail) commit() error {
	if !t.grouped {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := t.client.CommitMarkedOffsets(ctx); err != nil {
		return fmt.Errorf("commit: %w", said(err, ""))
	}
	return nil
}

func (t *tail) record(r *kgo.Record) {
	if t.counted && t.left <= 0 {
		return
	}
	end, bounded := t.ends[r.Partition]
	if t.ends != nil && !bounded {
		return
	}
	t.show(t.out, r)
	if t.grouped {
		t.printed = append(t.printed, r)
	}
	t.left--
	if bounded && r.Offset+1 >= end {
		delete(t.ends, r.Partition)
	}
}

// partitionEnds are the ends of the partitions that have records.
func partitionEnds(ctx context.Context, client *kgo.Client, topic string, only int32) (map[int32]int64, error) {
	adm := kadm.NewClient(client)
	starts, err := adm.ListStartOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	ends, err := adm.ListEndOffsets(ctx, topic)
	if err != nil {
		return nil, err
	}
	m := map[int32]int64{}
	var bad error
	ends.Each(func(o kadm.ListedOffset) {
		start, _ := starts.Lookup(topic, o.Partition)
		switch {
		case o.Err != nil:
			bad = fmt.Errorf("topic %s: %w", topic, said(o.Err, ""))
		case (only < 0 || o.Partition == only) && o.Offset > start.Offset:
			m[o.Partition] = o.Offset
		}
	})
	return m, bad
}
