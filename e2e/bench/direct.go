package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const manyCount, wideCount = 1_000, 10_000

// on runs a measurement on new nodes, which end with it.
func on(ctx context.Context, sys *system, nodes int, do func(*cluster) (figures, error), args ...string) (got figures, err error) {
	c, err := startCluster(ctx, sys, nodes, args...)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	got, err = do(c)
	return got, c.failed(err)
}

// relived ends the node and is how long it takes from its start until ready.
func (c *cluster) relived(ctx context.Context, sig syscall.Signal, ready func(context.Context) error) (float64, error) {
	if err := c.end(sig); err != nil {
		return 0, err
	}
	settle()
	return c.born(ctx, ready)
}

// born starts all nodes and is how long it takes until ready.
func (c *cluster) born(ctx context.Context, ready func(context.Context) error) (float64, error) {
	began := time.Now()
	if err := c.start(); err != nil {
		return 0, err
	}
	err := ready(ctx)
	return time.Since(began).Seconds(), err
}

// idle is the memory of all nodes, and the share of a core that they use when nothing is asked.
func (c *cluster) idle(ctx context.Context) (figures, error) {
	pause(ctx, options.warmup())
	used := func() (cpu, mb float64, err error) {
		for _, pid := range c.pids() {
			s, err := cpuSeconds(pid)
			if err != nil {
				return 0, 0, err
			}
			m, err := residentMB(pid)
			if err != nil {
				return 0, 0, err
			}
			cpu, mb = cpu+s, mb+m
		}
		return cpu, mb, nil
	}
	before, _, err := used()
	if err != nil {
		return nil, err
	}
	began := time.Now()
	if !pause(ctx, options.time()) {
		return nil, ctx.Err()
	}
	after, mb, err := used()
	return figures{memory: mb, idleCPU: 100 * (after - before) / time.Since(began).Seconds()}, err
}

// starts is row 14: the answer is one that lists the broker, which some give to ApiVersions before they are ready.
func starts(ctx context.Context, sys *system) (got figures, err error) {
	c, err := newCluster(sys, 1)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	cold, err := c.born(ctx, c.registered)
	if err != nil {
		return nil, err
	}
	if got, err = c.idle(ctx); err != nil {
		return nil, err
	}
	got[coldStart] = cold
	got[warmStart], err = c.relived(ctx, syscall.SIGTERM, c.registered)
	return got, err
}

// manyTopics is row 15.
func manyTopics(ctx context.Context, sys *system) (figures, error) {
	return on(ctx, sys, 1, func(c *cluster) (got figures, err error) {
		err = c.admin(func(adm *kadm.Client) error {
			began := time.Now()
			for i := range manyCount {
				if _, err := adm.CreateTopic(ctx, 1, 1, nil, fmt.Sprint("one-", i)); err != nil {
					return err
				}
			}
			got = figures{oneByOne: time.Since(began).Seconds()}
			got[created], err = c.wideTopic(ctx, adm, manyCount)
			return err
		})
		return got, err
	})
}

// atOnce is how many partitions are created with one request: Kafka refuses 10,000.
const atOnce = 5_000

// wideTopic is how long it takes to create a topic so that all its partitions answer.
func (c *cluster) wideTopic(ctx context.Context, adm *kadm.Client, partitions int) (float64, error) {
	began := time.Now()
	if _, err := adm.CreateTopic(ctx, int32(min(partitions, atOnce)), 1, nil, "wide"); err != nil {
		return 0, err
	}
	for there := atOnce; there < partitions; there += atOnce {
		// A broker of Kafka may not know yet what its controller has answered.
		err := c.until(ctx, 5*time.Millisecond, func() error {
			made, err := adm.UpdatePartitions(ctx, min(partitions, there+atOnce), "wide")
			if err == nil {
				err = made.Error()
			}
			if errors.Is(err, kerr.InvalidPartitions) { // has so many
				err = nil
			}
			return err
		})
		if err != nil {
			return 0, err
		}
	}
	err := c.until(ctx, 5*time.Millisecond, func() error { return usable(ctx, adm, "wide", partitions) })
	return time.Since(began).Seconds(), err
}

// metadata is row 16.
func metadata(ctx context.Context, sys *system) (figures, error) {
	return on(ctx, sys, 1, func(c *cluster) (figures, error) {
		var names []string
		for i := range manyCount {
			names = append(names, fmt.Sprint("many-", i))
		}
		if err := c.admin(func(adm *kadm.Client) error {
			made, err := adm.CreateTopics(ctx, 1, 1, nil, names...)
			if err == nil {
				err = made.Error()
			}
			if err != nil {
				return err
			}
			return c.until(ctx, 5*time.Millisecond, func() error { return usable(ctx, adm, names[len(names)-1], 1) })
		}); err != nil {
			return nil, err
		}
		if err := c.heat(ctx, "-m metadata -c 1"); err != nil {
			return nil, err
		}
		got, err := c.bench(ctx, names[0], options.time(), "-m metadata -c 1")
		if err != nil {
			return nil, err
		}
		return got.figures(), nil
	})
}

// written makes a topic of partitions and writes a record to each of the first n.
func (c *cluster) written(ctx context.Context, partitions, n int) (took float64, err error) {
	if err := c.admin(func(adm *kadm.Client) error {
		took, err = c.wideTopic(ctx, adm, partitions)
		return err
	}); err != nil {
		return 0, err
	}
	client, err := c.client(kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.DefaultProduceTopic("wide"))
	if err != nil {
		return 0, err
	}
	defer client.Close()
	var records []*kgo.Record
	for i := range n {
		records = append(records, &kgo.Record{Partition: int32(i), Value: make([]byte, 1024)})
	}
	return took, client.ProduceSync(ctx, records...).FirstErr()
}

// allLed waits until all partitions of the topic answer, as a new client sees it.
func (c *cluster) allLed(partitions int) func(context.Context) error {
	return func(ctx context.Context) error {
		if err := c.answered(ctx); err != nil {
			return err
		}
		return c.admin(func(adm *kadm.Client) error {
			return c.until(ctx, 5*time.Millisecond, func() error { return usable(ctx, adm, "wide", partitions) })
		})
	}
}

// again restarts the node cleanly and after kill -9.
func (c *cluster) again(ctx context.Context, partitions int, got figures) (err error) {
	if got[cleanRestart], err = c.relived(ctx, syscall.SIGTERM, c.allLed(partitions)); err != nil {
		return err
	}
	got[killedRestart], err = c.relived(ctx, syscall.SIGKILL, c.allLed(partitions))
	return err
}

// restarts is row 17.
func restarts(ctx context.Context, sys *system) (figures, error) {
	return on(ctx, sys, 1, func(c *cluster) (figures, error) {
		if _, err := c.written(ctx, manyCount, manyCount); err != nil {
			return nil, err
		}
		got := figures{}
		return got, c.again(ctx, manyCount, got)
	})
}

// clusterStart is row 18.
func clusterStart(ctx context.Context, sys *system) (got figures, err error) {
	c, err := newCluster(sys, 3)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, c.close()) }()
	cold, err := c.born(ctx, c.registered)
	if err != nil {
		return nil, err
	}
	if got, err = c.idle(ctx); err == nil {
		got[coldStart] = cold
	}
	return got, err
}

// wide is row 26.
func wide(ctx context.Context, sys *system) (figures, error) {
	return on(ctx, sys, 1, func(c *cluster) (figures, error) {
		took, err := c.written(ctx, wideCount, wideCount/100)
		if err != nil {
			return nil, err
		}
		got, err := c.idle(ctx)
		if err != nil {
			return nil, err
		}
		got[created] = took
		return got, c.again(ctx, wideCount, got)
	})
}
