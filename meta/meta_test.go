package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// running is a node that runs until the test ends or stop is called.
type running struct {
	*Meta
	stop func() error
}

// testConfig is a node of its own; a directory can be started again.
func testConfig(dir string) Config {
	return Config{
		NodeID: 1, Dir: dir, Etcd: Etcd{PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0"},
		Broker: Broker{Host: "localhost", Port: 9092, Directory: "dir-1"}, Logger: slog.New(slog.DiscardHandler),
		resendAfter: 4 * time.Second, // on a slow disk a change that is sent again may meet itself
	}
}

// begin runs a node without waiting for anything.
func begin(t *testing.T, cfg Config) running {
	t.Helper()
	m := New(cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- m.Run(ctx) }()
	r := running{m, sync.OnceValue(func() error {
		cancel()
		return <-done
	})}
	t.Cleanup(func() {
		if err := r.stop(); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	return r
}

// started runs a node and waits until it is active and controller.
func started(t *testing.T, cfg Config) running {
	t.Helper()
	r := begin(t, cfg)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := r.SetState(ctx, Active); err != nil {
		t.Fatalf("%v; it says %q", err, r.Why())
	}
	isController(t, r)
	return r
}

func isController(t *testing.T, r running) {
	t.Helper()
	eventually(t, patience, func() error {
		if id, ok := r.Snapshot().Controller(); !ok || id != 1 {
			return fmt.Errorf("controller %d %v", id, ok)
		}
		return nil
	})
}

// eventually polls until f is content, and tells the last reason if it never is.
func eventually(t *testing.T, within time.Duration, f func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := f()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %v: %v", within, err)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// here gives every one of n partitions to broker 1.
func here(n int) [][]int32 {
	replicas := make([][]int32, n)
	for i := range replicas {
		replicas[i] = []int32{1}
	}
	return replicas
}

func created(t *testing.T, r running, name string, partitions int) *Topic {
	t.Helper()
	rev, err := r.CreateTopic(t.Context(), NewTopic{Name: name, ID: NewID(), Replicas: here(partitions)})
	written(t, r, rev, err)
	topic := r.Snapshot().Topic(name)
	if topic == nil || len(topic.Partitions) != partitions {
		t.Fatalf("topic %s at revision %d: %+v", name, rev, topic)
	}
	return topic
}

// written waits until the snapshot shows a write.
func written(t *testing.T, r running, rev int64, err error) {
	t.Helper()
	if err == nil {
		err = r.WaitRevision(t.Context(), rev)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// etcdPut does what a person does with etcdctl.
func etcdPut(t *testing.T, r running, key, value string) {
	t.Helper()
	resp, err := r.client.Put(t.Context(), key, value)
	if err != nil {
		t.Fatal(err)
	}
	written(t, r, resp.Header.Revision, nil)
}

func etcdDelete(t *testing.T, r running, key string) {
	t.Helper()
	resp, err := r.client.Delete(t.Context(), key)
	if err != nil {
		t.Fatal(err)
	}
	written(t, r, resp.Header.Revision, nil)
}

func TestLives(t *testing.T) {
	dir := t.TempDir()
	began := time.Now()
	m := begin(t, testConfig(dir))
	<-m.Registered()
	t.Logf("cold start to registered: %v", time.Since(began))
	id, epoch := m.Snapshot().Cluster().ID, m.Session().BrokerEpoch()
	if len(m.Snapshot().Brokers()) != 0 || m.Snapshot().Broker(1).State != Fenced {
		t.Error("a broker is active at once")
	}
	if err := m.SetState(t.Context(), Active); err != nil {
		t.Fatal(err)
	}
	if brokers := m.Snapshot().Brokers(); len(brokers) != 1 || brokers[0].Incarnation != m.Session().Incarnation() {
		t.Errorf("brokers %v", brokers)
	}
	if why := m.Why(); why != "" {
		t.Errorf("it waits for %q", why)
	}
	topic := created(t, m, "kept", 3)
	began = time.Now()
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	t.Logf("stop: %v", time.Since(began))

	began = time.Now()
	cfg := testConfig(dir)
	cfg.ClusterID = id
	m = begin(t, cfg)
	<-m.Registered()
	t.Logf("warm start to registered: %v", time.Since(began))
	if m.Session().BrokerEpoch() <= epoch {
		t.Errorf("broker epoch %d after %d", m.Session().BrokerEpoch(), epoch)
	}
	again := m.Snapshot().TopicByID(topic.ID)
	if again == nil || again.Name != "kept" || len(again.Partitions) != 3 || !again.Created.Equal(topic.Created) {
		t.Fatalf("topic after a restart: %+v", again)
	}
	if m.Snapshot().Cluster().ID != id {
		t.Errorf("cluster %s after %s", m.Snapshot().Cluster().ID, id)
	}
}

// A process that was killed leaves a live key and the controller key behind.
func TestEarlierLife(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	lease, err := m.client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	again := copyStopped(t, m, func() {
		// At once: the node that runs ends an earlier life's lease as soon as it sees it.
		_, err := m.client.Txn(t.Context()).Then(
			clientv3.OpPut(liveKey(1), `{"incarnation":"killed","directory":"dir-1"}`, withLease(lease.ID)),
			clientv3.OpPut(controllerKey, `{"broker":1,"brokerEpoch":2}`, withLease(lease.ID)),
		).Commit()
		if err != nil {
			t.Fatal(err)
		}
	})
	began := time.Now()
	m = started(t, again)
	t.Logf("start over an earlier life: %v", time.Since(began))
	if left, err := m.client.TimeToLive(t.Context(), lease.ID); err != nil || left.TTL > 0 {
		t.Errorf("the lease of the earlier life: %+v, %v", left, err)
	}
}

// A second machine with the same id waits, and says so, until the first is gone.
func TestLifeElsewhere(t *testing.T) {
	var lines logLines
	m := started(t, testConfig(t.TempDir()))
	lease, err := m.client.Grant(t.Context(), 3600)
	if err != nil {
		t.Fatal(err)
	}
	cfg := copyStopped(t, m, func() {
		_, err := m.client.Put(t.Context(), liveKey(1), `{"incarnation":"other","directory":"dir-2"}`, withLease(lease.ID))
		if err != nil {
			t.Fatal(err)
		}
	})
	cfg.Logger = lines.logger()
	m = begin(t, cfg)
	<-m.Loaded()
	eventually(t, patience, func() error {
		if why := m.Why(); !strings.Contains(why, "dir-2") || !strings.Contains(why, "--node-id") {
			return fmt.Errorf("it waits for %q", why)
		}
		return nil
	})
	if s := m.Session(); s != nil {
		t.Errorf("it is registered: %+v", s)
	}
	eventually(t, patience, func() error {
		if !strings.Contains(lines.String(), "dir-2") {
			return fmt.Errorf("it waits in silence:\n%s", lines.String())
		}
		return nil
	})
	if _, err := m.client.Revoke(t.Context(), lease.ID); err != nil {
		t.Fatal(err)
	}
	if !wait(timeout(t, patience), m.Registered()) {
		t.Errorf("not registered when the other is gone: %s", m.Why())
	}
}

func TestRefusals(t *testing.T) {
	newer := t.TempDir()
	old := started(t, testConfig(newer))
	etcdPut(t, old, clusterKey, `{"id":"x","schema":2}`)
	created(t, old, "goes-on", 1)
	old.stop()
	m := started(t, testConfig(t.TempDir()))
	open, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer open.Close()
	for _, tc := range []struct {
		name   string
		change func(*Config)
		says   string
	}{
		{"foreign cluster", func(c *Config) { c.ClusterID = "other" }, "belongs to cluster other"},
		{"newer schema", func(c *Config) { c.Dir = newer }, "newer build"},
		{"etcd port taken", func(c *Config) { c.EtcdListen = m.EtcdAddr() }, "--etcd-listen"},
		{"peer port taken", func(c *Config) { c.PeerListen = open.Addr().String() }, "--peer-listen"},
		{"open to all", func(c *Config) { c.EtcdListen = "0.0.0.0:0" }, "--insecure"},
		{"certificate without key", func(c *Config) { c.TLS.Cert = "x" }, "all three"},
		{"no such certificate", func(c *Config) { c.TLS = TLS{"/no/c", "/no/k", "/no/a"} }, "--peer-cert /no/c"},
		{"no port", func(c *Config) { c.PeerListen = "localhost" }, "--peer-listen"},
		{"a file in the way", func(c *Config) { c.Dir = fileIn(t) }, "metadata directory"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			cfg := testConfig(t.TempDir())
			tc.change(&cfg)
			ctx := timeout(t, patience)
			err := New(cfg).Run(ctx)
			if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("says %v", err)
			}
		})
	}
}

// A log that cannot be read must not end the process from within etcd.
func TestBrokenDisk(t *testing.T) {
	m := started(t, testConfig(t.TempDir()))
	cfg := copyStopped(t, m, func() {})
	entries, err := os.ReadDir(cfg.Dir + "/member/wal")
	if err != nil || len(entries) == 0 {
		t.Fatalf("%d files: %v", len(entries), err)
	}
	for _, e := range entries {
		if err := os.WriteFile(cfg.Dir+"/member/wal/"+e.Name(), make([]byte, 4096), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx := timeout(t, patience)
	if err := New(cfg).Run(ctx); err == nil || ctx.Err() != nil {
		t.Errorf("started on a broken log: %v", err)
	} else {
		t.Log(err)
	}
}

func TestFailureOfEtcd(t *testing.T) {
	m := New(testConfig(t.TempDir()))
	done := make(chan error, 1)
	go func() { done <- m.Run(t.Context()) }()
	<-m.Registered()
	go m.node.etcd.GetLogger().Fatal("cannot write", errorField(errors.New("input/output error")))
	select {
	case err := <-done:
		if err == nil || !strings.Contains(err.Error(), "cannot write: input/output error") {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("goes on without etcd")
	}
}

func TestWALDir(t *testing.T) {
	cfg := testConfig(t.TempDir())
	cfg.WALDir = t.TempDir() + "/wal"
	m := started(t, cfg)
	created(t, m, "t", 1)
	m.stop()
	if segments, err := os.ReadDir(cfg.WALDir); err != nil || len(segments) == 0 {
		t.Errorf("%d files: %v", len(segments), err)
	}
	if m = started(t, cfg); m.Snapshot().Topic("t") == nil {
		t.Error("the topic is gone")
	}
}

func TestListenBeforeRun(t *testing.T) {
	m := New(testConfig(t.TempDir()))
	if m.EtcdAddr() != "" {
		t.Error("an address before Listen")
	}
	if err := m.Listen(); err != nil {
		t.Fatal(err)
	}
	addr := m.EtcdAddr()
	if _, port, err := net.SplitHostPort(addr); err != nil || port == "0" {
		t.Errorf("address %q", addr)
	}
	m.Close()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatalf("the port is kept: %v", err)
	}
	l.Close()
}
