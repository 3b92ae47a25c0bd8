package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// options are the flags.
var options flags

type flags struct {
	chronik, out, dir, command string
	rows, kafka, kafkaPids     string
	seconds                    float64
	runs                       int
	warm, soak                 time.Duration
	fill                       bool
}

func main() {
	noFill := flag.Bool("no-fill", false, "do not fill the page cache before each run; on a virtual machine figures are then too low")
	flag.StringVar(&options.chronik, "chronik", "bin/chronik", "the built binary")
	flag.StringVar(&options.out, "o", "", "where the table is written; default: bench/results.md, with -rows nowhere")
	flag.StringVar(&options.dir, "dir", os.TempDir(), "directory of the nodes' data, which is removed; needs room for a run")
	flag.StringVar(&options.rows, "rows", "", "rows to measure, as 1,2,5-9; default: all")
	flag.Float64Var(&options.seconds, "seconds", 10, "of each run")
	flag.IntVar(&options.runs, "runs", 3, "of each row")
	flag.StringVar(&options.kafka, "kafka", "", "measure Apache Kafka too: run, or host:port of one that is running")
	flag.StringVar(&options.kafkaPids, "kafka-pid", "", "processes of the Kafka that is running, for its CPU: PID,PID")
	flag.DurationVar(&options.warm, "warm", 20*time.Second, "load that a JVM has before it is measured")
	flag.DurationVar(&options.soak, "soak", 0, "instead of the rows: a steady load for this time")
	flag.Parse()
	options.fill = !*noFill
	if options.out == "" && options.rows == "" {
		options.out = "bench/results.md"
	}
	options.command = strings.Join(append([]string{"go run ./e2e/bench"}, os.Args[1:]...), " ")
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := start(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// time is that of a run, warmup what precedes it and is not counted.
func (o *flags) time() time.Duration   { return time.Duration(o.seconds * float64(time.Second)) }
func (o *flags) warmup() time.Duration { return min(2*time.Second, o.time()) }

func start(ctx context.Context) error {
	if flag.NArg() > 0 || options.seconds <= 0 || options.runs < 1 {
		return errors.New("no arguments; -seconds above 0, -runs from 1 on")
	}
	chronik, err := filepath.Abs(options.chronik)
	if err != nil {
		return err
	}
	if _, err := os.Stat(chronik); err != nil {
		return fmt.Errorf("-chronik: %w: make build makes it", err)
	}
	options.chronik = chronik
	if options.soak > 0 {
		return soak(ctx)
	}
	rows, err := chosen(table(), options.rows)
	if err != nil {
		return err
	}
	systems, err := compared()
	if err != nil {
		return err
	}
	defer removeFill()
	s := &session{systems: systems, clusters: map[*system]*cluster{}}
	found, err := s.measure(ctx, rows)
	if err != nil {
		return err
	}
	if err := write(report(found, systems, time.Now()), options.out); err != nil {
		return err
	}
	for _, m := range found {
		if len(m.runs["chronik"]) < options.runs || !options.external() && len(m.failed) > 0 {
			return errors.New("rows are missing, see the end of the table")
		}
	}
	return nil
}

// external reports whether Kafka is one that others started: some rows cannot be measured on it.
func (o *flags) external() bool { return o.kafka != "" && o.kafka != "run" }

// compared are the systems, ours first.
func compared() ([]*system, error) {
	systems := []*system{chronikSystem(options.chronik)}
	switch {
	case options.kafka == "run":
		script, err := filepath.Abs("e2e/kafka/kafka.sh")
		if err != nil {
			return nil, err
		}
		systems = append(systems, kafkaSystem(script))
	case options.kafka != "":
		var pids []int
		for text := range strings.SplitSeq(options.kafkaPids, ",") {
			pid, err := strconv.Atoi(text)
			if err != nil && text != "" {
				return nil, fmt.Errorf("-kafka-pid: %w", err)
			}
			if pid > 0 {
				pids = append(pids, pid)
			}
		}
		systems = append(systems, runningSystem(options.kafka, pids))
	}
	return systems, nil
}

// chosen are the rows of a list as 1,2,5-9.
func chosen(all []row, list string) (rows []row, err error) {
	if list == "" {
		return all, nil
	}
	var numbers []int
	for part := range strings.SplitSeq(list, ",") {
		low, high, isRange := strings.Cut(part, "-")
		if !isRange {
			high = low
		}
		from, err1 := strconv.Atoi(low)
		to, err2 := strconv.Atoi(high)
		if err1 != nil || err2 != nil || from > to {
			return nil, fmt.Errorf("-rows %s: %q is no number and no range", list, part)
		}
		for n := from; n <= to; n++ {
			numbers = append(numbers, n)
		}
	}
	for _, n := range numbers {
		known := slices.ContainsFunc(all, func(r row) bool { return r.number == n })
		if !known && !strings.Contains(list, "-") {
			return nil, fmt.Errorf("-rows: there is no row %d (24 is make soak)", n)
		}
	}
	for _, r := range all {
		if slices.Contains(numbers, r.number) {
			rows = append(rows, r)
		}
	}
	return rows, nil
}
