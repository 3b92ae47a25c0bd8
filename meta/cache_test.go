package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// another is a second cache over the same etcd, as of now; it does not run yet.
func another(t *testing.T, m running, log *slog.Logger) *cache {
	t.Helper()
	c := &cache{}
	c.init(log)
	if err := c.load(t.Context(), m.client); err != nil {
		t.Fatal(err)
	}
	return c
}

func runCache(t *testing.T, c *cache, from source) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.run(ctx, from) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func sees(t *testing.T, c *cache, name string) {
	t.Helper()
	eventually(t, patience, func() error {
		if c.snapshot().Topic(name) == nil || c.isDoubted() {
			why, _ := c.doubt.get()
			return fmt.Errorf("%s is not seen, doubt %q", name, why)
		}
		return nil
	})
}

func TestWaitRevision(t *testing.T) {
	t.Parallel()
	m := started(t, testConfig(t.TempDir()))
	rev := m.Snapshot().Revision()
	if err := m.WaitRevision(t.Context(), rev); err != nil {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	if err := m.WaitRevision(ctx, rev+1); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("waited for a revision that is not there: %v", err)
	}
	_, changed := m.Watch()
	waited := make(chan error, 1)
	go func() { waited <- m.WaitRevision(t.Context(), rev+2) }()
	created(t, m, "a", 1)
	if !wait(timeout(t, patience), changed) {
		t.Error("a change is not told")
	}
	created(t, m, "b", 1)
	if err := <-waited; err != nil || m.Snapshot().Topic("b") == nil {
		t.Errorf("waited for b: %v", err)
	}
	// A revision that concerns no key of ours is told by the progress of the watch.
	began := time.Now()
	etcdPut(t, m, "/elsewhere", "x")
	t.Logf("a foreign revision is reached after %v", time.Since(began))
}

// A watch from a revision that was compacted begins with a list, and what did not
// change stays the same.
func TestCompacted(t *testing.T) {
	var lines logLines
	m := started(t, testConfig(t.TempDir()))
	created(t, m, "stays", 2)
	gone := created(t, m, "gone", 1)
	c := another(t, m, lines.logger())
	stays := c.snapshot().Topic("stays")
	rev, err := m.DeleteTopic(t.Context(), "gone", gone.ID)
	written(t, m, rev, err)
	created(t, m, "new", 1)
	if _, err := m.client.Compact(t.Context(), m.Snapshot().Revision()); err != nil {
		t.Fatal(err)
	}
	runCache(t, c, m.node.source(m.client))
	sees(t, c, "new")
	if c.snapshot().Topic("stays") != stays {
		t.Error("a topic that did not change is another")
	}
	if c.snapshot().Topic("gone") != nil || c.snapshot().NumTopics() != 2 {
		t.Errorf("%d topics", c.snapshot().NumTopics())
	}
	if n := strings.Count(lines.String(), "compacted"); n != 1 {
		t.Errorf("%d lines:\n%s", n, lines.String())
	}
	created(t, m, "later", 1)
	sees(t, c, "later")
}

// deaf is an etcd whose watches tell nothing.
type deaf struct{ clientv3.Watcher }

func (deaf) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan {
	return make(chan clientv3.WatchResponse)
}

// A watch that tells nothing though there is something is in doubt: the old
// snapshot stays in service, the reason is told, and the cache goes on.
func TestSilentWatch(t *testing.T) {
	var lines logLines
	m := started(t, testConfig(t.TempDir()))
	created(t, m, "old", 1)
	c := another(t, m, lines.logger())
	from := m.node.source(m.client)
	from.silence = 20 * time.Millisecond
	from.client = clientv3.NewCtxClient(t.Context())
	from.client.KV, from.client.Watcher = m.client.KV, deaf{m.client.Watcher}
	created(t, m, "new", 1)
	runCache(t, c, from)
	sees(t, c, "new")
	if c.snapshot().Topic("old") == nil {
		t.Error("the old snapshot went out of service")
	}
	if n := strings.Count(lines.String(), "silent"); n != 1 {
		t.Errorf("silence is told %d times:\n%s", n, lines.String())
	}
}

// An etcd that has nothing to tell is not in doubt.
func TestIdleWatch(t *testing.T) {
	var lines logLines
	m := started(t, testConfig(t.TempDir()))
	c := another(t, m, lines.logger())
	from := m.node.source(m.client)
	from.silence = 5 * time.Millisecond
	runCache(t, c, from)
	<-c.loaded
	before := c.snapshot()
	eventually(t, patience, ticks(20, from.silence))
	if c.snapshot() != before || lines.String() != "" {
		t.Errorf("it was read anew:\n%s", lines.String())
	}
}

// ticks is content when n times d have passed.
func ticks(n int, d time.Duration) func() error {
	end := time.Now().Add(time.Duration(n) * d)
	return func() error {
		if left := time.Until(end); left > 0 {
			return fmt.Errorf("%v to go", left)
		}
		return nil
	}
}

func TestLeaderlessWatch(t *testing.T) {
	t.Parallel()
	var lines logLines
	m := started(t, testConfig(t.TempDir()))
	c := another(t, m, lines.logger())
	from := m.node.source(m.client)
	from.leaderless, from.election = func() bool { return true }, time.Millisecond
	runCache(t, c, from)
	<-c.loaded
	created(t, m, "t", 1) // without a revision a watch tells nothing
	eventually(t, patience, func() error {
		if !strings.Contains(lines.String(), "no leader") {
			return errors.New("a lost leader is not told:\n" + lines.String())
		}
		return nil
	})
}

// Events of a watch that catches up come in portions, each with a header that is
// ahead of them: the snapshot must not claim what it does not hold.
func TestCatchingUp(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	c := another(t, m, slog.New(slog.DiscardHandler))
	for i := range 1500 { // more revisions than etcd sends at once
		if _, err := m.client.Put(t.Context(), configsKey(GroupConfigs, fmt.Sprint(i)), `{"a":"b"}`); err != nil {
			t.Fatal(err)
		}
	}
	resp, err := m.client.Get(t.Context(), clusterKey)
	if err != nil {
		t.Fatal(err)
	}
	runCache(t, c, m.node.source(m.client))
	eventually(t, patience, func() error {
		if s := c.snapshot(); s.Revision() < resp.Header.Revision {
			return fmt.Errorf("at revision %d of %d", s.Revision(), resp.Header.Revision)
		} else if s.Configs(GroupConfigs, "1499") == nil {
			t.Fatalf("at revision %d without what it holds", s.Revision())
		}
		return nil
	})
}

// interrupted is an etcd in which something happens after the first page of a list.
type interrupted struct {
	clientv3.KV
	once func()
}

func (i *interrupted) Get(ctx context.Context, key string, opts ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	resp, err := i.KV.Get(ctx, key, opts...)
	i.once()
	return resp, err
}

// A list goes over pages, all at one revision.
func TestPages(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	for i := range 3 {
		created(t, m, fmt.Sprint("t", i), 1500)
	}
	resp, err := m.client.Get(t.Context(), prefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	before, kv := m.Snapshot(), m.client.KV
	client := clientv3.NewCtxClient(t.Context())
	client.KV = &interrupted{kv, sync.OnceFunc(func() {
		rev, err := m.DeleteTopic(t.Context(), "t2", before.Topic("t2").ID)
		written(t, m, rev, err)
	})}
	c := &cache{}
	c.init(slog.New(slog.DiscardHandler))
	if err := c.load(t.Context(), client); err != nil {
		t.Fatal(err)
	}
	if m.Snapshot().Topic("t2") != nil {
		t.Fatal("nothing came in between")
	}
	if got, want := shown(c.snapshot()), shown(before); got != want {
		t.Errorf("a list of %d keys and the watch differ", resp.Count)
	}
	if c.snapshot().NumPartitions() != 4500 {
		t.Errorf("%d partitions", c.snapshot().NumPartitions())
	}
}
