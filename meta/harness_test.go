package meta

import (
	"bytes"
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// logLines collects what a node logs.
type logLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logLines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *logLines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func timeout(t *testing.T, d time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	t.Cleanup(cancel)
	return ctx
}

func withLease(id clientv3.LeaseID) clientv3.OpOption { return clientv3.WithLease(id) }

func errorField(err error) zap.Field { return zap.Error(err) }

func fileIn(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// copyStopped makes the state in which a node stands still, after last was done,
// and returns the configuration of a node with that state.
func copyStopped(t *testing.T, m running, last func()) Config {
	t.Helper()
	last()
	m.stop() // its own last writes concern its own life only
	cfg := testConfig(filepath.Join(t.TempDir(), "copy"))
	if err := os.CopyFS(cfg.Dir, os.DirFS(m.cfg.Dir)); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return cfg
}

// patience is how long something that takes milliseconds may take on a busy machine.
const patience = 30 * time.Second
