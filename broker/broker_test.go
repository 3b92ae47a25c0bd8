package broker

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"chronik/meta"
)

// started runs a broker in this process until the test ends. A directory can be
// run again after stop.
func started(t testing.TB, dir string, settings map[string]string) (b *Broker, stop func()) {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	if testing.Verbose() {
		log = slog.New(slog.NewTextHandler(os.Stderr, nil))
	}
	return startedLogging(t, dir, settings, log)
}

func startedLogging(t testing.TB, dir string, settings map[string]string, log *slog.Logger) (b *Broker, stop func()) {
	t.Helper()
	b, err := New(Config{
		DataDir: dir, Listen: "localhost:0", Etcd: meta.Etcd{PeerListen: "127.0.0.1:0", EtcdListen: "127.0.0.1:0"},
		HTTPListen: "127.0.0.1:0", Settings: settings, Logger: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- b.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		select {
		case err := <-done:
			if err != nil {
				t.Errorf("run: %v", err)
			}
		case <-time.After(20 * time.Second):
			t.Fatal("the broker does not stop")
		}
	})
	t.Cleanup(stop)
	select {
	case <-b.Ready():
	case <-time.After(20 * time.Second):
		t.Fatalf("not ready: %s", b.why())
	}
	return b, stop
}

func client(t testing.TB, b *Broker, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	cl, err := kgo.NewClient(append(opts, kgo.SeedBrokers(b.Addr()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return cl
}

// consumeAll reads n records of a topic from the start.
func consumeAll(t testing.TB, b *Broker, topic string, n int) []*kgo.Record {
	t.Helper()
	cl := client(t, b, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	var got []*kgo.Record
	for len(got) < n {
		fs := cl.PollFetches(ctx)
		if err := fs.Err0(); err != nil {
			t.Fatalf("%d of %d records of %s: %v", len(got), n, topic, err)
		}
		got = append(got, fs.Records()...)
	}
	return got
}

func TestProduceConsumeRestart(t *testing.T) {
	dir := t.TempDir()
	b, stop := started(t, dir, nil)
	cl := client(t, b, kgo.AllowAutoTopicCreation(), kgo.DefaultProduceTopic("words"))
	const n = 5000
	for i := range n {
		cl.Produce(t.Context(), kgo.KeySliceRecord(fmt.Append(nil, i), fmt.Appendf(nil, "value %d %s", i, strings.Repeat("x", i%100))), func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	check := func(b *Broker) {
		t.Helper()
		for i, r := range consumeAll(t, b, "words", n) {
			if string(r.Key) != fmt.Sprint(i) || r.Offset != int64(i) {
				t.Fatalf("record %d is %s at offset %d", i, r.Key, r.Offset)
			}
		}
	}
	check(b)
	stop()
	b, _ = started(t, dir, nil)
	check(b)
}

// Damage that a read meets is in the log, not only in the answer that a client gets.
func TestDamageIsLogged(t *testing.T) {
	dir := t.TempDir()
	var said lockedBuffer
	b, _ := startedLogging(t, dir, nil, slog.New(slog.NewTextHandler(&said, nil)))
	makeTopics(t, b, "t")
	c := wired(t, b)
	defer c.Close()
	for range 3 {
		frame, _ := framed(oneRecord(t, "t"))
		if _, err := c.exchange(frame); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob(filepath.Join(dir, "logs", "*", "0*1"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	f, err := os.OpenFile(files[0], os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt(make([]byte, 20), 0); err != nil {
		t.Fatal(err)
	}
	frame, _ := framed(longPoll("t"))
	if _, err := c.exchange(frame); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(said.String(), "records of a log are damaged") {
		t.Errorf("nothing tells of the damage:\n%s", said.String())
	}
}

// lockedBuffer is what is logged, for readers meanwhile.
type lockedBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer // guarded by mu
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
