package cli

import (
	"context"
	"errors"
	"fmt"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

func benchCommand() *cli.Command {
	return &cli.Command{
		Name: "bench", Usage: "measure a Kafka-compatible broker", Action: bench, ArgsUsage: " ",
		Description: "Throughput is what was sent in the window of --duration, after --warmup. Latency runs from the\n" +
			"moment at which a record was due when --rate-limit is set, else from when it was sent. --raw sends\n" +
			"encoded batches over plain sockets, so that the client is not what is measured.\n" +
			"The exit code is 1 when anything failed.",
		Flags: []cli.Flag{
			serversFlag(),
			&cli.StringFlag{Name: "topic", Aliases: []string{"t"}, Value: "chronik-bench"},
			&cli.StringFlag{Name: "mode", Aliases: []string{"m"}, Usage: "produce, consume, round-trip or metadata", Value: "produce"},
			&cli.IntFlag{Name: "concurrency", Aliases: []string{"c"}, Usage: "senders; with --raw connections", Value: 64},
			&cli.IntFlag{Name: "in-flight", Usage: "records, with --raw requests, that each sender has under way", Value: 1},
			&cli.IntFlag{Name: "message-size", Aliases: []string{"s"}, Usage: "bytes of a value", Value: 1024},
			&cli.DurationFlag{Name: "duration", Aliases: []string{"d"}, Value: 60 * time.Second},
			&cli.DurationFlag{Name: "warmup", Aliases: []string{"w"}, Value: 5 * time.Second},
			&cli.StringFlag{Name: "compression", Value: "none"},
			&cli.StringFlag{Name: "acks", Usage: "all, 1 or 0", Value: "all"},
			&cli.IntFlag{Name: "linger-ms", Usage: "how long a client waits for a batch to fill"},
			&cli.IntFlag{Name: "batch-size", Usage: "bytes of a batch", Value: 1 << 20},
			&cli.IntFlag{Name: "partitions", Aliases: []string{"p"}, Usage: "of a topic that is created", Value: 1},
			&cli.IntFlag{Name: "replication-factor", Aliases: []string{"r"}, Usage: "of a topic that is created", Value: -1, DefaultText: "the broker's"},
			&cli.StringSliceFlag{Name: "topic-config", Usage: "setting of a topic that is created, `NAME=VALUE`"},
			&cli.Float64Flag{Name: "rate-limit", Usage: "records a second, all senders together; 0 is as fast as it goes"},
			&cli.StringFlag{Name: "key-pattern", Usage: "none, sequence or random", Value: "none"},
			&cli.StringFlag{Name: "payload-pattern", Usage: "random, zero or text", Value: "random"},
			&cli.BoolFlag{Name: "create-topic", Usage: "create the topic first"},
			&cli.BoolFlag{Name: "delete-topic-after", Usage: "delete the topic afterwards"},
			&cli.BoolFlag{Name: "raw", Usage: "encoded batches over plain sockets"},
			&cli.IntSliceFlag{Name: "server-pid", Usage: "process of the broker, to measure its CPU and memory; those of all brokers, PID,PID, are added up"},
			&cli.Float64Flag{Name: "report-interval-secs", Usage: "between progress lines; 0 is none", Value: 5},
			&cli.StringFlag{Name: "csv-output", Usage: "append a line to this file"},
			&cli.StringFlag{Name: "json-output", Usage: "write the result to this file, - for standard output"},
		},
	}
}

// benchConfig is what a measurement is told.
type benchConfig struct {
	servers, topic, mode      string
	workers, inFlight         int
	size, batchSize           int
	partitions                int
	acks, compression         string
	rate                      float64
	linger                    time.Duration
	keyPattern, payload       string
	duration, warmup, reports time.Duration
	raw                       bool
	serverPids                []int
}

func benchConfigOf(c *cli.Context) (*benchConfig, error) {
	cfg := &benchConfig{
		servers: c.String("bootstrap-servers"), topic: c.String("topic"), mode: c.String("mode"),
		workers: c.Int("concurrency"), inFlight: c.Int("in-flight"), size: c.Int("message-size"), batchSize: c.Int("batch-size"),
		partitions: c.Int("partitions"), acks: c.String("acks"), compression: c.String("compression"),
		rate: c.Float64("rate-limit"), linger: time.Duration(c.Int("linger-ms")) * time.Millisecond,
		keyPattern: c.String("key-pattern"), payload: c.String("payload-pattern"),
		duration: c.Duration("duration"), warmup: c.Duration("warmup"),
		reports: time.Duration(c.Float64("report-interval-secs") * float64(time.Second)),
		raw:     c.Bool("raw"), serverPids: c.IntSlice("server-pid"),
	}
	for flag, n := range map[string]int{"concurrency": cfg.workers, "in-flight": cfg.inFlight, "message-size": cfg.size, "batch-size": cfg.batchSize, "partitions": cfg.partitions} {
		if n < 1 {
			return nil, usagef("--%s %d: it is at least 1", flag, n)
		}
	}
	if cfg.duration <= 0 {
		return nil, usagef("--duration %v: it is more than 0", cfg.duration)
	}
	for _, pid := range cfg.serverPids {
		if pid < 1 {
			return nil, usagef("--server-pid %d: it is the id of a process", pid)
		}
	}
	if _, ok := payloads[cfg.payload]; !ok {
		return nil, usagef("--payload-pattern %s: it is random, zero or text", cfg.payload)
	}
	return cfg, nil
}

// benchModes are the measurements, by --mode; raw ones where --raw is known.
var benchModes = map[string]struct {
	run, raw func(context.Context, *benchConfig, *recorder) error
}{
	"produce":    {run: benchProduce, raw: rawProduce},
	"consume":    {run: benchConsume, raw: rawConsume},
	"round-trip": {run: benchRoundTrip},
	"metadata":   {run: benchMetadata},
}

func bench(c *cli.Context) error {
	if c.Args().Present() {
		return usagef("bench takes no argument, got %q", c.Args().First())
	}
	cfg, err := benchConfigOf(c)
	if err != nil {
		return err
	}
	mode, ok := benchModes[cfg.mode]
	run := mode.run
	if cfg.raw {
		run = mode.raw
	}
	if !ok || run == nil {
		return usagef("--mode %s: it is produce, consume, round-trip or metadata; --raw knows the first two", cfg.mode)
	}
	if err := benchTopic(c, cfg); err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(c.Context, syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	rec := newRecorder(cfg)
	result, err := measure(ctx, c, cfg, rec, run)
	if c.Bool("delete-topic-after") {
		err = errors.Join(err, admin(c, func(ctx context.Context, adm *kadm.Client) error {
			_, err := adm.DeleteTopic(ctx, cfg.topic)
			return err
		}))
	}
	if err != nil {
		return err
	}
	if err := report(c, result); err != nil {
		return err
	}
	if result.Failed > 0 {
		return fmt.Errorf("%d requests failed, the first with: %s", result.Failed, rec.firstError())
	}
	return nil
}

// benchTopic creates the topic if that is asked for, and finds out its partitions.
func benchTopic(c *cli.Context, cfg *benchConfig) error {
	configs, err := pairs("topic-config", c.StringSlice("topic-config"))
	if err != nil {
		return err
	}
	return admin(c, func(ctx context.Context, adm *kadm.Client) error {
		if c.Bool("create-topic") {
			t, err := adm.CreateTopic(ctx, int32(cfg.partitions), int16(c.Int("replication-factor")), configs, cfg.topic)
			if err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
				return fmt.Errorf("create topic %s: %w", cfg.topic, said(err, t.ErrMessage))
			}
		}
		topics, err := adm.ListTopics(ctx, cfg.topic)
		if err != nil {
			return err
		}
		if n := len(topics[cfg.topic].Partitions); n > 0 {
			cfg.partitions = n
		} else if cfg.raw || cfg.mode == "consume" {
			return fmt.Errorf("topic %s does not exist: --create-topic creates it", cfg.topic)
		}
		return nil
	})
}

// benchClient is a client of the measured kind.
func benchClient(cfg *benchConfig, opts ...kgo.Opt) (*kgo.Client, error) {
	produce, err := producerOptions(cfg.compression, cfg.acks)
	if err != nil {
		return nil, err
	}
	opts = append(opts, produce...)
	opts = append(opts, kgo.SeedBrokers(strings.Split(cfg.servers, ",")...), kgo.ClientID("chronik-bench"),
		kgo.DefaultProduceTopic(cfg.topic), kgo.ProducerBatchMaxBytes(int32(max(cfg.batchSize, 1024))),
		kgo.ProducerLinger(cfg.linger), kgo.MaxBufferedRecords(max(10_000, cfg.workers*cfg.inFlight)))
	return kgo.NewClient(opts...)
}
