package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
)

func TestFoldedLog(t *testing.T) {
	var lines logLines
	f := foldLog(lines.logger())
	z := f.zap(func(error) { t.Error("failed") }).Named("raft").With(zap.Int("member", 7))
	z.Info("chatter")
	z.Debug("more chatter")
	z.Warn("simple token is not cryptographically signed")
	z.Warn("slow", zap.Duration("took", time.Second))
	z.Error("bad", zap.Error(errors.New("why")))
	for range 5 {
		z.Warn("again and again")
	}
	f.close()
	got := lines.String()
	for _, want := range []string{
		`level=WARN msg="etcd: slow" member=7 took=1s`, `level=ERROR msg="etcd: bad" error=why member=7`,
	} {
		if !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	if n := strings.Count(got, "\n"); n != 3 {
		t.Errorf("%d lines:\n%s", n, got)
	}
}

// stuck is a log that nobody reads.
type stuck struct {
	slog.Handler
	entered chan struct{}
}

func (s stuck) Handle(ctx context.Context, _ slog.Record) error {
	close(s.entered)
	<-ctx.Done()
	return nil
}

// A log that blocks does not block etcd, nor the stop for ever.
func TestStuckLog(t *testing.T) {
	t.Parallel()
	to := stuck{slog.NewTextHandler(&logLines{}, nil), make(chan struct{})}
	f := foldLog(slog.New(to))
	z := f.zap(func(error) {})
	z.Warn("the first")
	<-to.entered
	began := time.Now()
	for i := range 10 * foldedLines {
		z.Warn(fmt.Sprint("line ", i))
	}
	if f.dropped.Load() != 9*foldedLines {
		t.Errorf("dropped %d lines", f.dropped.Load())
	}
	t.Logf("%d lines in %v", 10*foldedLines, time.Since(began))
	f.close()
}

// Where etcd means to end the process, only the goroutine ends.
func TestFatal(t *testing.T) {
	for what, end := range map[string]func(*zap.Logger){
		"fatal": func(z *zap.Logger) { z.Fatal("cannot write", zap.Error(errors.New("disk"))) },
		"panic": func(z *zap.Logger) { z.Panic("cannot write", zap.Error(errors.New("disk"))) },
		"sugar": func(z *zap.Logger) { z.Sugar().Panicf("cannot %s: %s", "write", "disk") },
	} {
		f := foldLog(slog.New(slog.DiscardHandler))
		failed, ended := make(chan error, 1), make(chan struct{})
		after := false
		go func() {
			defer close(ended)
			end(f.zap(func(err error) { failed <- err }))
			after = true
		}()
		<-ended
		if err := <-failed; err.Error() != "cannot write: disk" || after {
			t.Errorf("%s: %v, goes on %v", what, err, after)
		}
		f.close()
	}
}

// A healthy start and stop say nothing.
func TestNoChatter(t *testing.T) {
	var lines logLines
	cfg := testConfig(t.TempDir() + "/etcd")
	cfg.Logger = lines.logger()
	for range 2 {
		m := started(t, cfg)
		created(t, m, fmt.Sprint("t", m.Session().BrokerEpoch()), 1)
		if err := m.stop(); err != nil {
			t.Fatal(err)
		}
	}
	for line := range strings.Lines(lines.String()) {
		if strings.Contains(line, "etcd: ") && !strings.Contains(line, "took too long") && !strings.Contains(line, "slow fdatasync") {
			t.Errorf("etcd chatters: %s", line)
		}
	}
}
