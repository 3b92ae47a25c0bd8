package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cache follows the keyspace: it lists it at one revision, watches from the
// next, and on any doubt starts over while the old snapshot stays in service.
// State: an atomic pointer to an immutable snapshot; run alone replaces it.
type cache struct {
	now    atomic.Pointer[cached]
	loaded chan struct{}
	log    *slog.Logger
}

type cached struct {
	snap    *Snapshot
	changed chan struct{}
}

const (
	listPage = 2000
	// doubtAfter is how long the watch may be silent: etcd tells its progress
	// every half second.
	doubtAfter = 2 * time.Second
)

func (c *cache) init(log *slog.Logger) {
	c.log, c.loaded = log, make(chan struct{})
	c.now.Store(&cached{changed: make(chan struct{})})
}

func (c *cache) snapshot() *Snapshot { return c.now.Load().snap }

func (c *cache) watch() (*Snapshot, <-chan struct{}) {
	now := c.now.Load()
	return now.snap, now.changed
}

func (c *cache) publish(s *Snapshot) {
	old := c.now.Swap(&cached{snap: s, changed: make(chan struct{})})
	close(old.changed)
	if old.snap == nil {
		close(c.loaded)
	}
}

// run keeps the snapshot fresh until ctx ends.
func (c *cache) run(ctx context.Context, client *clientv3.Client) error {
	for {
		err := c.load(ctx, client)
		if err == nil {
			err = c.follow(ctx, client)
		}
		if ctx.Err() != nil {
			return nil
		}
		c.log.Warn("metadata watch starts over", "err", err)
		select {
		case <-time.After(100 * time.Millisecond):
		case <-ctx.Done():
			return nil
		}
	}
}

// load lists the keyspace at one revision and publishes it.
func (c *cache) load(ctx context.Context, client *clientv3.Client) error {
	d := newDraft(nil, c.log)
	d.previous = c.snapshot()
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	var rev int64
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(listPage)}
		if rev > 0 {
			opts = append(opts, clientv3.WithRev(rev))
		}
		callCtx, cancel := context.WithTimeout(ctx, callDeadline)
		resp, err := client.Get(callCtx, from, opts...)
		cancel()
		if err != nil {
			return fmt.Errorf("list the metadata: %w", err)
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			d.put(kv)
		}
		if !resp.More {
			break
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
	c.publish(d.finish(rev))
	return nil
}

// follow applies what the watch brings until it breaks or is in doubt.
func (c *cache) follow(ctx context.Context, client *clientv3.Client) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events := client.Watch(ctx, prefix, clientv3.WithPrefix(), clientv3.WithRev(c.snapshot().revision+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment())
	doubt := time.NewTimer(doubtAfter)
	defer doubt.Stop()
	for {
		select {
		case resp, ok := <-events:
			if !ok {
				return errors.New("the watch ended")
			}
			if err := resp.Err(); err != nil {
				return fmt.Errorf("watch the metadata: %w", err)
			}
			c.apply(resp)
			doubt.Reset(doubtAfter)
		case <-doubt.C:
			return errors.New("no progress")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// apply makes the next snapshot of one answer of the watch, which holds whole
// revisions.
func (c *cache) apply(resp clientv3.WatchResponse) {
	old := c.snapshot()
	if len(resp.Events) == 0 && resp.Header.Revision <= old.revision {
		return
	}
	d := newDraft(old, c.log)
	for _, ev := range resp.Events {
		if ev.Type == mvccpb.DELETE {
			d.remove(string(ev.Kv.Key))
			continue
		}
		d.put(ev.Kv)
	}
	c.publish(d.finish(max(resp.Header.Revision, old.revision)))
}
