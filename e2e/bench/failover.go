package main

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// kills is how often a leader is killed in each run of row 23.
const kills = 3

// steady is the load before a kill: longer than a default client keeps from asking again after
// it asked for the last time, so that it may ask at once.
const steady = 6 * time.Second

// failover is row 23. Two clients send 500 records a second each: a default one, which
// asks for the new leader at most every five seconds, and one that asks at once, whose
// gap is what the servers take.
func failover(ctx context.Context, sys *system) (figures, error) {
	return on(ctx, sys, 3, func(c *cluster) (figures, error) {
		const name = "gaps"
		if err := c.create(ctx, name, topic{partitions: 1, replicas: 3}); err != nil {
			return nil, err
		}
		sending, stop := context.WithCancel(ctx)
		defer stop()
		var senders sync.WaitGroup
		var watches []*gapWatch
		for _, opts := range [][]kgo.Opt{nil, {
			kgo.MetadataMinAge(50 * time.Millisecond), kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }),
		}} {
			client, err := c.client(append(opts, kgo.DefaultProduceTopic(name), kgo.MaxBufferedRecords(200_000))...) // more than a gap of minutes
			if err != nil {
				return nil, err
			}
			defer client.Close()
			w := &gapWatch{}
			watches = append(watches, w)
			senders.Go(func() { w.send(sending, client) })
		}
		var gaps [2][]float64
		for range kills {
			longest, err := c.killLeader(ctx, name, watches)
			if err != nil {
				return nil, err
			}
			for i, gap := range longest {
				gaps[i] = append(gaps[i], gap)
			}
		}
		stop()
		senders.Wait()
		for _, w := range watches {
			if _, _, err := w.look(); err != nil {
				return nil, fmt.Errorf("a record was not acknowledged: %w", err)
			}
		}
		return figures{
			gapMedian: median(gaps[0]), gapLongest: slices.Max(gaps[0]), quickMedian: median(gaps[1]), quickLongest: slices.Max(gaps[1]),
		}, nil
	})
}

// killLeader is the longest time that each client had no acknowledgement around a kill.
// The node is started again.
func (c *cluster) killLeader(ctx context.Context, topic string, watches []*gapWatch) (gaps []float64, err error) {
	var leader int32
	inSync := func(want int) error {
		return c.admin(func(adm *kadm.Client) error {
			m, err := adm.Metadata(ctx, topic)
			if err != nil {
				return err
			}
			p := m.Topics[topic].Partitions[0]
			if leader = p.Leader; len(p.ISR) < want || leader < 1 {
				return fmt.Errorf("leader %d, in sync %v", leader, p.ISR)
			}
			return nil
		})
	}
	if err := c.until(ctx, 50*time.Millisecond, func() error { return inSync(3) }); err != nil {
		return nil, err
	}
	pause(ctx, steady)
	for _, w := range watches {
		w.forget()
	}
	victim := c.nodes[leader-1]
	if err := victim.life.end(syscall.SIGKILL); err != nil {
		return nil, err
	}
	victim.life = nil
	if !pause(ctx, time.Second) {
		return nil, ctx.Err()
	}
	for _, w := range watches {
		if err := c.until(ctx, 10*time.Millisecond, w.flows); err != nil {
			return nil, err
		}
		longest, _, err := w.look()
		if err != nil {
			return nil, err
		}
		gaps = append(gaps, longest.Seconds())
	}
	if err := c.startNode(victim); err != nil {
		return nil, err
	}
	return gaps, c.registered(ctx)
}

// gapWatch sees when records are acknowledged.
type gapWatch struct {
	mu      sync.Mutex
	last    time.Time     // guarded by mu
	longest time.Duration // guarded by mu
	err     error         // guarded by mu
}

func (w *gapWatch) send(ctx context.Context, client *kgo.Client) {
	began, value := time.Now(), make([]byte, 1024)
	for i := 0; ctx.Err() == nil; i++ {
		pause(ctx, time.Until(began.Add(time.Duration(i)*2*time.Millisecond)))
		client.Produce(ctx, &kgo.Record{Value: value}, func(_ *kgo.Record, err error) {
			if ctx.Err() == nil {
				w.acknowledged(time.Now(), err)
			}
		})
	}
}

func (w *gapWatch) acknowledged(now time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	if !w.last.IsZero() {
		w.longest = max(w.longest, now.Sub(w.last))
	}
	w.last = now
}

// forget begins anew.
func (w *gapWatch) forget() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.longest = 0
}

func (w *gapWatch) look() (longest time.Duration, last time.Time, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.longest, w.last, w.err
}

// flows is an error unless records are acknowledged at present.
func (w *gapWatch) flows() error {
	_, last, err := w.look()
	if silent := time.Since(last); err == nil && silent > 100*time.Millisecond {
		err = fmt.Errorf("no acknowledgement for %v", silent)
	}
	return err
}
