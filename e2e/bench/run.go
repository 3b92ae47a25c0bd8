package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// measurement is what was found of a row, by the name of the system.
type measurement struct {
	row    row
	runs   map[string][]figures
	failed map[string]string // why a system has no figures, or fewer
}

// session measures rows; nodes live as long as the group of rows is the same.
type session struct {
	systems  []*system
	clusters map[*system]*cluster
	group    string
	count    int // of runs, for names of topics
	memory   filler
}

// measure does all runs of all rows, the systems by turns.
func (s *session) measure(ctx context.Context, rows []row) (found []*measurement, err error) {
	defer func() { err = errors.Join(err, s.close()) }()
	for _, r := range rows {
		if r.group != s.group || r.group == "" {
			if err := s.close(); err != nil {
				return found, err
			}
			s.group = r.group
		}
		m := &measurement{row: r, runs: map[string][]figures{}, failed: map[string]string{}}
		found = append(found, m)
		for range options.runs {
			for _, sys := range s.systems {
				s.once(ctx, m, sys)
				if ctx.Err() != nil {
					return found, context.Cause(ctx)
				}
			}
		}
	}
	return found, nil
}

// once is one run of a row on a system. A system that failed is not asked again.
func (s *session) once(ctx context.Context, m *measurement, sys *system) {
	if m.failed[sys.name] != "" {
		return
	}
	began := time.Now()
	got, err := s.figures(ctx, &m.row, sys)
	if err != nil {
		m.failed[sys.name] = err.Error()
		fmt.Fprintf(os.Stderr, "row %d, %s, %s: %v\n", m.row.number, m.row.name, sys.name, err)
		return
	}
	m.runs[sys.name] = append(m.runs[sys.name], got)
	var line strings.Builder
	for _, w := range m.row.wants {
		line.WriteString(fmt.Sprintf("  %s %s", number(got[w.metric], w.metric.decimal), w.metric.name))
	}
	fmt.Fprintf(os.Stderr, "row %d, %s, %s, %.0f s:%s\n", m.row.number, m.row.name, sys.name, time.Since(began).Seconds(), line.String())
}

// errNotHere is why a system that others started has no figure of a row.
var errNotHere = errors.New("not measured on a Kafka that is running already")

func (s *session) figures(ctx context.Context, r *row, sys *system) (figures, error) {
	if options.fill {
		if err := s.memory.fill(ctx); err != nil {
			return nil, err
		}
	}
	if r.direct != nil {
		if sys.running != nil {
			return nil, errNotHere
		}
		return r.direct(ctx, sys)
	}
	c, err := s.cluster(ctx, r, sys)
	if err != nil {
		return nil, err
	}
	s.count++
	return r.load.run(ctx, c, fmt.Sprintf("bench-%d-%d", os.Getpid(), s.count))
}

// cluster is the system's nodes of the present group, started and warmed up once.
func (s *session) cluster(ctx context.Context, r *row, sys *system) (*cluster, error) {
	if c := s.clusters[sys]; c != nil {
		return c, nil
	}
	c, err := startCluster(ctx, sys, r.nodes)
	if err == nil {
		err = c.ready(ctx, r.nodes)
	}
	if err != nil {
		if c != nil {
			err = errors.Join(err, c.close())
		}
		return nil, err
	}
	s.clusters[sys] = c
	return c, nil
}

func (s *session) close() error {
	var errs []error
	for _, c := range s.clusters {
		if err := c.end(syscall.SIGTERM); err != nil {
			errs = append(errs, err)
		}
		errs = append(errs, c.close())
	}
	clear(s.clusters)
	return errors.Join(errs...)
}

// ready checks that there are enough brokers, and gives a compiler something to do.
func (c *cluster) ready(ctx context.Context, nodes int) error {
	if err := c.admin(func(adm *kadm.Client) error {
		brokers, err := adm.ListBrokers(ctx)
		if err == nil && len(brokers) < nodes {
			err = fmt.Errorf("%w: it has %d brokers, the row wants %d", errNotHere, len(brokers), nodes)
		}
		return err
	}); err != nil || !c.sys.warm {
		return err
	}
	const name = "bench-warm-up"
	if err := c.create(ctx, name, topic{partitions: 8, replicas: nodes}); err != nil {
		return err
	}
	for _, args := range []string{raw8, raw128, "-m consume " + raw1, viaKgo} {
		if _, err := c.bench(ctx, name, max(options.warm/4, 100*time.Millisecond), args+" -w 0s"); err != nil {
			return fmt.Errorf("warm-up: %w", err)
		}
	}
	return c.remove(ctx, name)
}

// heat gives a compiler more of one kind of load.
func (c *cluster) heat(ctx context.Context, args string) error {
	if !c.sys.warm || options.warm == 0 {
		return nil
	}
	_, err := c.bench(ctx, "bench", options.warm, args+" -w 0s")
	return err
}
