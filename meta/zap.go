package meta

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// foldedLog gives etcd's log lines, from warnings on, to ours. Lines go through a
// bounded queue: a log that blocks must not block etcd. What does not fit is
// counted and dropped.
type foldedLog struct {
	to      *slog.Logger
	lines   chan foldedLine
	dropped atomic.Int64
	closing atomic.Bool // this node stops: what etcd warns of is its own doing
	ended   chan struct{}
}

type foldedLine struct {
	entry  zapcore.Entry
	fields map[string]any
}

const (
	foldedLines = 256
	// repeatEvery is how often the same message is written.
	repeatEvery = 10 * time.Second
)

func foldLog(to *slog.Logger) *foldedLog {
	f := &foldedLog{to: to, lines: make(chan foldedLine, foldedLines), ended: make(chan struct{})}
	go f.drain()
	return f
}

// zap is the logger for etcd. Where etcd means to end the process, it calls fail
// and ends the goroutine instead: the broker stops cleanly and says why.
func (f *foldedLog) zap(fail func(error)) *zap.Logger {
	end := endGoroutine{fail}
	return zap.New(&foldedCore{log: f, fail: fail}, zap.WithFatalHook(end), zap.WithPanicHook(end))
}

// close waits until all lines are written, for a second at most: etcd may write
// more even now, and the log may block.
func (f *foldedLog) close() {
	select {
	case f.lines <- foldedLine{entry: zapcore.Entry{Level: zapcore.InvalidLevel}}:
	case <-time.After(time.Second):
		return
	}
	select {
	case <-f.ended:
	case <-time.After(time.Second):
	}
}

func (f *foldedLog) drain() {
	defer close(f.ended)
	written, repeated := map[string]time.Time{}, map[string]int{}
	for line := range f.lines {
		e := line.entry
		if e.Level == zapcore.InvalidLevel {
			return
		}
		level := slogLevel(e)
		if level == slog.LevelWarn && f.closing.Load() {
			level = slog.LevelDebug
		}
		if !f.to.Enabled(context.Background(), level) {
			continue
		}
		if e.Time.Sub(written[e.Message]) < repeatEvery {
			repeated[e.Message]++
			continue
		}
		attrs := make([]slog.Attr, 0, len(line.fields)+1)
		for _, k := range slices.Sorted(maps.Keys(line.fields)) {
			attrs = append(attrs, slog.Any(k, line.fields[k]))
		}
		if n := repeated[e.Message]; n > 0 {
			attrs = append(attrs, slog.Int("repeated", n))
		}
		if len(written) > foldedLines { // messages are few, but some carry numbers
			clear(written)
		}
		written[e.Message] = e.Time
		delete(repeated, e.Message)
		if n := f.dropped.Swap(0); n > 0 {
			attrs = append(attrs, slog.Int64("dropped", n)) // lines before this one
		}
		f.to.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs...)
	}
}

// quiet begins what etcd says in every healthy start and stop, and what it says
// about a member that is gone beside "peer became inactive".
var quiet = []string{
	"Running http and grpc server on single port",
	"simple token is not cryptographically signed",
	"skipped leadership transfer for single voting member cluster",
	"failed to publish local member to cluster through raft",
	"failed to update storage version",
	"Failed to detect schema version",
	"leader failed to send out heartbeat on time",
	"server error",
	"closed TCP streaming connection with remote peer",
	"lost TCP streaming connection with remote peer",
	"prober detected unhealthy status",
	"failed to reach the peer URL",
	"failed to get version",
	"rejecting promote learner", // tried again, by promote
	"rejecting member promote request",
	"failed to promote a member",
	"rejecting member add request", // told to who asked
}

func slogLevel(e zapcore.Entry) slog.Level {
	quietly := func(begin string) bool { return strings.HasPrefix(e.Message, begin) }
	switch {
	case slices.ContainsFunc(quiet, quietly) || strings.Contains(e.Message, "cannot campaign at term"):
		return slog.LevelDebug
	case e.Level == zapcore.WarnLevel:
		return slog.LevelWarn
	}
	return slog.LevelError
}

// foldedCore is the end of etcd's logger.
type foldedCore struct {
	log    *foldedLog
	fail   func(error)
	fields []zapcore.Field
}

// removedLine is what etcd says before it stops because its member was removed.
const removedLine = "data-dir used by this member must be removed"

var errRemoved = errors.New("this node was removed from the cluster, or another one took its place: to come back it needs an empty data directory")

// Enabled takes warnings and what is worse.
func (c *foldedCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

// With adds fields to every line.
func (c *foldedCore) With(fields []zapcore.Field) zapcore.Core {
	return &foldedCore{c.log, c.fail, slices.Concat(c.fields, fields)}
}

// Check adds the core to a line that it takes.
func (c *foldedCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// Write puts a line into the queue.
func (c *foldedCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	if e.Message == removedLine {
		c.fail(errRemoved)
		return nil
	}
	line := foldedLine{e, encodeFields(slices.Concat(c.fields, fields))}
	select {
	case c.log.lines <- line:
	default:
		c.log.dropped.Add(1)
	}
	return nil
}

func encodeFields(fields []zapcore.Field) map[string]any {
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range fields {
		f.AddTo(enc)
	}
	return enc.Fields
}

// Sync does nothing: nothing is held back.
func (c *foldedCore) Sync() error { return nil }

// endGoroutine is what a fatal line of etcd does here.
type endGoroutine struct{ fail func(error) }

// OnWrite reports the line and ends the goroutine that wrote it.
func (g endGoroutine) OnWrite(ce *zapcore.CheckedEntry, fields []zapcore.Field) {
	err := errors.New(ce.Message)
	if cause, ok := encodeFields(fields)["error"]; ok {
		err = fmt.Errorf("%s: %v", ce.Message, cause)
	}
	g.fail(err)
	runtime.Goexit()
}
