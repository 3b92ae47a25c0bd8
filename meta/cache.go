package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// cache follows the keyspace: it lists it at one revision, watches from the
// next, and on any doubt lists again, while the old snapshot stays in service.
// State: an atomic pointer to an immutable snapshot, which run alone replaces.
type cache struct {
	now    watched[*Snapshot]
	loaded chan struct{}   // closed once the first list is watched
	doubt  watched[string] // why the snapshot may be old, "" while it is fresh
	log    *slog.Logger
}

// source is where a cache reads.
type source struct {
	client     *clientv3.Client
	leaderless func() bool   // no leader is known; in-process watches do not tell
	election   time.Duration // how long no leader may be known
	silence    time.Duration // how long the watch may tell nothing
}

const (
	listPage = 2000
	// progressEvery is how often etcd tells that the watch is up to date.
	progressEvery = 500 * time.Millisecond
	doubtAfter    = 2 * time.Second
	// historySteps is how many earlier values of a bad one are tried.
	historySteps = 8
)

func (c *cache) init(log *slog.Logger) {
	c.log, c.loaded = log, make(chan struct{})
	c.now.init(nil)
	c.doubt.init("")
}

func (c *cache) snapshot() *Snapshot {
	s, _ := c.now.get()
	return s
}

func (c *cache) publish(s *Snapshot) { c.now.update(func(*Snapshot) *Snapshot { return s }) }

// run keeps the snapshot fresh until ctx ends. A cache that has a snapshot goes
// on from it.
func (c *cache) run(ctx context.Context, from source) error {
	wait := 50 * time.Millisecond
	for {
		var err error
		if c.snapshot() == nil || c.isDoubted() {
			err = c.load(ctx, from.client)
		}
		if err == nil {
			wait = 50 * time.Millisecond
			err = c.follow(ctx, from)
		}
		if ctx.Err() != nil {
			return nil
		}
		c.setDoubt(err.Error())
		if !sleep(ctx, wait) {
			return nil
		}
		wait = min(2*wait, time.Second)
	}
}

// isDoubted reports whether the snapshot may miss something.
func (c *cache) isDoubted() bool {
	why, _ := c.doubt.get()
	return why != ""
}

// setDoubt notes that the snapshot is in doubt, or, with "", that it is fresh.
func (c *cache) setDoubt(why string) {
	was, _ := c.doubt.get()
	if was == "" && why != "" {
		c.log.Warn("metadata may be missing or old; reading it anew", "err", why)
	}
	if was != "" && why == "" {
		c.log.Info("metadata is up to date again", "revision", c.snapshot().Revision())
	}
	if was != why {
		c.doubt.update(func(string) string { return why })
	}
}

// load lists the keyspace at one revision and publishes how it differs.
func (c *cache) load(ctx context.Context, client *clientv3.Client) error {
	old := c.snapshot()
	d := newDraft(old, c.log)
	listed := map[string]struct{}{}
	rev, err := list(ctx, client, func(kv *mvccpb.KeyValue) {
		before := int64(0)
		if old != nil {
			listed[string(kv.Key)] = struct{}{}
			before = d.revisionOf(string(kv.Key))
		}
		if before == kv.ModRevision {
			return
		}
		if err := d.put(kv); err != nil && before == 0 {
			c.putEarlier(ctx, client, d, kv)
		}
	})
	if err != nil {
		return fmt.Errorf("list the metadata: %w", err)
	}
	if old != nil {
		d.removeUnlisted(old, listed)
	}
	d.endRevision()
	c.publish(d.finish(rev))
	c.setDoubt("")
	return nil
}

// list reads every key of ours at one revision, in order.
func list(ctx context.Context, client *clientv3.Client, each func(*mvccpb.KeyValue)) (rev int64, err error) {
	from, end := prefix, clientv3.GetPrefixRangeEnd(prefix)
	for {
		opts := []clientv3.OpOption{clientv3.WithRange(end), clientv3.WithLimit(listPage), clientv3.WithRev(rev)}
		callCtx, cancel := context.WithTimeout(ctx, callDeadline)
		resp, err := client.Get(callCtx, from, opts...)
		cancel()
		if err != nil {
			return 0, err
		}
		if rev == 0 {
			rev = resp.Header.Revision
		}
		for _, kv := range resp.Kvs {
			each(kv)
		}
		if !resp.More {
			return rev, nil
		}
		from = string(resp.Kvs[len(resp.Kvs)-1].Key) + "\x00"
	}
}

// removeUnlisted applies the deletion of the keys that a list did not show.
func (d *draft) removeUnlisted(old *Snapshot, listed map[string]struct{}) {
	for k, rev := range old.keysOf() {
		if _, ok := listed[k.String()]; !ok && rev > 0 {
			d.remove(k.String())
		}
	}
	for text := range old.bad {
		if _, ok := listed[text]; !ok {
			d.remove(text)
		}
	}
}

// putEarlier looks for the value that a bad one replaced, so that a node that
// starts sees what the others kept.
func (c *cache) putEarlier(ctx context.Context, client *clientv3.Client, d *draft, bad *mvccpb.KeyValue) {
	k, err := parseKey(string(bad.Key))
	if err != nil || k.kind == liveKind || k.kind == controllerKind {
		return
	}
	err = earlier(ctx, client, bad, func(kv *mvccpb.KeyValue) error { return d.set(k, kv) })
	if err != nil {
		c.log.Warn("no earlier value of the key can be read either", "key", string(bad.Key), "err", err)
	}
}

// earlier gives read the values that a key had before, youngest first, each at
// the mod revision of bad, until one can be read.
func earlier(ctx context.Context, client *clientv3.Client, bad *mvccpb.KeyValue, read func(*mvccpb.KeyValue) error) error {
	rev := bad.ModRevision - 1
	for range historySteps {
		if rev < bad.CreateRevision {
			break
		}
		callCtx, cancel := context.WithTimeout(ctx, callDeadline)
		resp, err := client.Get(callCtx, string(bad.Key), clientv3.WithRev(rev))
		cancel()
		if err != nil {
			return err
		}
		if len(resp.Kvs) == 0 {
			break
		}
		kv := resp.Kvs[0]
		rev, kv.ModRevision = kv.ModRevision-1, bad.ModRevision
		if read(kv) == nil {
			return nil
		}
	}
	return errors.New("its history holds none")
}

// follow applies what the watch brings until it breaks or is in doubt.
func (c *cache) follow(ctx context.Context, from source) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// A client of the voters is told by this of a voter that lost the others.
	events := from.client.Watch(clientv3.WithRequireLeader(ctx), prefix, clientv3.WithPrefix(), clientv3.WithRev(c.snapshot().revision+1),
		clientv3.WithProgressNotify(), clientv3.WithFragment(), clientv3.WithCreatedNotify())
	silent := time.NewTimer(from.silence)
	defer silent.Stop()
	led := time.Now()
	for {
		select {
		case resp, ok := <-events:
			if !ok {
				return errors.New("the watch ended")
			}
			if err := resp.Err(); err != nil {
				return fmt.Errorf("watch the metadata: %w", err)
			}
			if resp.Created {
				c.watching()
			}
			c.apply(resp)
			silent.Reset(from.silence)
		case <-silent.C:
			if err := c.checkSilence(ctx, from); err != nil {
				return err
			}
			silent.Reset(from.silence)
		case <-ctx.Done():
			return ctx.Err()
		}
		if !from.leaderless() {
			led = time.Now()
		} else if time.Since(led) > from.election {
			return errors.New("etcd has no leader")
		}
	}
}

// checkSilence tells a watch that lost something from one of which etcd has nothing
// to tell: it is silent until the first revision after its start.
func (c *cache) checkSilence(ctx context.Context, from source) error {
	ctx, cancel := context.WithTimeout(ctx, attemptDeadline)
	defer cancel()
	resp, err := from.client.Get(ctx, clusterKey, clientv3.WithCountOnly())
	if err != nil {
		return fmt.Errorf("the watch was silent for %v, and a read failed: %w", from.silence, err)
	}
	if resp.Header.Revision > c.snapshot().revision {
		return fmt.Errorf("the watch was silent for %v", from.silence)
	}
	return nil
}

// watching tells that the cache is loaded. Not before: a write that comes between
// a list and its watch is seen only when etcd next looks after late watches.
func (c *cache) watching() {
	select {
	case <-c.loaded:
	default:
		close(c.loaded)
	}
}

// apply makes the next snapshot of one answer of the watch, which holds whole
// revisions.
func (c *cache) apply(resp clientv3.WatchResponse) {
	old := c.snapshot()
	// The header may be ahead of the events while the watch catches up.
	rev := resp.Header.Revision
	if n := len(resp.Events); n > 0 {
		rev = resp.Events[n-1].Kv.ModRevision
	} else if !resp.IsProgressNotify() {
		return
	}
	if rev <= old.revision {
		return
	}
	d := newDraft(old, c.log)
	for i, ev := range resp.Events {
		if i > 0 && ev.Kv.ModRevision != resp.Events[i-1].Kv.ModRevision {
			d.endRevision()
		}
		if ev.Type == mvccpb.DELETE {
			d.remove(string(ev.Kv.Key))
			continue
		}
		d.put(ev.Kv) // judged there
	}
	d.endRevision()
	c.publish(d.finish(rev))
}

// sleep waits for d and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
