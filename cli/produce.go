package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

func produceCommand() *cli.Command {
	return &cli.Command{
		Name: "produce", Usage: "send lines of standard input as records", ArgsUsage: "TOPIC", Action: produce,
		Flags: []cli.Flag{
			serversFlag(),
			&cli.StringFlag{Name: "key-delimiter", Aliases: []string{"K"}, Usage: "what stands between key and value in a line (default: no key)"},
			&cli.StringSliceFlag{Name: "header", Aliases: []string{"H"}, Usage: "a header of every record, `NAME=VALUE`; may be given again"},
			&cli.IntFlag{Name: "partition", Aliases: []string{"p"}, Usage: "send everything to one partition", Value: -1, DefaultText: "by key"},
			&cli.StringFlag{Name: "compression", Aliases: []string{"z"}, Usage: "none, gzip, snappy, lz4 or zstd", Value: "none"},
			&cli.StringFlag{Name: "acks", Usage: "all, 1 or 0", Value: "all"},
			&cli.BoolFlag{Name: "null", Aliases: []string{"Z"}, Usage: "an empty value is null (a tombstone)"},
		},
	}
}

// codecs are the compression codecs by name.
var codecs = map[string]kgo.CompressionCodec{
	"none": kgo.NoCompression(), "gzip": kgo.GzipCompression(), "snappy": kgo.SnappyCompression(),
	"lz4": kgo.Lz4Compression(), "zstd": kgo.ZstdCompression(),
}

// producerOptions are the flags that every producing command has.
func producerOptions(compression, acks string) ([]kgo.Opt, error) {
	codec, ok := codecs[compression]
	if !ok {
		return nil, usagef("--compression %s: it is none, gzip, snappy, lz4 or zstd", compression)
	}
	opts := []kgo.Opt{kgo.ProducerBatchCompression(codec), kgo.AllowAutoTopicCreation()}
	switch acks {
	case "all", "-1":
	case "1":
		opts = append(opts, kgo.RequiredAcks(kgo.LeaderAck()), kgo.DisableIdempotentWrite())
	case "0":
		opts = append(opts, kgo.RequiredAcks(kgo.NoAck()), kgo.DisableIdempotentWrite())
	default:
		return nil, usagef("--acks %s: it is all, 1 or 0", acks)
	}
	return opts, nil
}

func produce(c *cli.Context) error {
	topic, err := oneArg(c, "topic")
	if err != nil {
		return err
	}
	opts, err := producerOptions(c.String("compression"), c.String("acks"))
	if err != nil {
		return err
	}
	if c.Int("partition") >= 0 {
		opts = append(opts, kgo.RecordPartitioner(kgo.ManualPartitioner()))
	}
	template, err := recordTemplate(c, topic)
	if err != nil {
		return err
	}
	client, err := connect(c, opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	return produceLines(c, client, template)
}

// recordTemplate is what all records of a command have in common.
func recordTemplate(c *cli.Context, topic string) (kgo.Record, error) {
	r := kgo.Record{Topic: topic, Partition: int32(max(c.Int("partition"), 0))}
	headers, err := pairs("header", c.StringSlice("header"))
	for name, value := range headers {
		r.Headers = append(r.Headers, kgo.RecordHeader{Key: name, Value: []byte(*value)})
	}
	return r, err
}

// produceLines sends a record for each line; the first that fails ends it.
func produceLines(c *cli.Context, client *kgo.Client, template kgo.Record) error {
	ctx, cancel := context.WithCancelCause(c.Context)
	defer cancel(nil)
	var failed sync.Once
	lines := bufio.NewReaderSize(c.App.Reader, 1<<20)
	for ctx.Err() == nil {
		line, err := lines.ReadString('\n')
		if line != "" {
			r := lineRecord(c, template, strings.TrimSuffix(line, "\n"))
			client.Produce(ctx, r, func(_ *kgo.Record, err error) {
				if err != nil {
					failed.Do(func() { cancel(fmt.Errorf("produce to %s: %w", template.Topic, said(err, ""))) })
				}
			})
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return fmt.Errorf("read standard input: %w", err)
		}
	}
	if err := client.Flush(ctx); err != nil && ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

func lineRecord(c *cli.Context, template kgo.Record, line string) *kgo.Record {
	r := template
	value := line
	if d := c.String("key-delimiter"); d != "" {
		if key, rest, ok := strings.Cut(line, d); ok {
			r.Key, value = []byte(key), rest
		}
	}
	r.Value = []byte(value)
	if value == "" && c.Bool("null") {
		r.Value = nil
	}
	return &r
}
