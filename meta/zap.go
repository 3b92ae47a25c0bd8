package meta

import (
	"context"
	"log/slog"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// slogCore gives etcd's log lines to ours, from warnings on. etcd also warns of
// what it then mends by itself; that is debug here.
type slogCore struct {
	log    *slog.Logger
	fields []zapcore.Field
}

func foldedZap(log *slog.Logger) *zap.Logger { return zap.New(&slogCore{log: log}) }

func (c *slogCore) Enabled(l zapcore.Level) bool { return l >= zapcore.WarnLevel }

func (c *slogCore) With(fields []zapcore.Field) zapcore.Core {
	return &slogCore{c.log, append(c.fields[:len(c.fields):len(c.fields)], fields...)}
}

func (c *slogCore) Check(e zapcore.Entry, ce *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if c.Enabled(e.Level) {
		return ce.AddCore(e, c)
	}
	return ce
}

// quiet are warnings that every healthy start of a single node gives.
var quiet = map[string]bool{
	"setting up serving from embedded etcd failed.":                                                        true,
	"Failed to detect schema version":                                                      true,
	"failed to update storage version":                                                     true,
	"simple token is not cryptographically signed":                                         true,
	"Running http and grpc server on single port. This is not recommended for production.": true,
	"skipped leadership transfer for single voting member cluster":                         true,
	"serving client traffic insecurely; this is strongly discouraged!":                     true,
	"snapshot file doesn't exist":                                                          true,
	"failed to publish local member to cluster through raft":                               true,
	"stopping insecure grpc server due to error":                                           true,
	"stopped insecure grpc server due to error":                                            true,
	"restarting etcd member using existing data directory":                                 true,
}

func (c *slogCore) Write(e zapcore.Entry, fields []zapcore.Field) error {
	level := slog.LevelWarn
	if e.Level > zapcore.WarnLevel {
		level = slog.LevelError
	}
	if quiet[e.Message] {
		level = slog.LevelDebug
	}
	if !c.log.Enabled(context.Background(), level) {
		return nil
	}
	enc := zapcore.NewMapObjectEncoder()
	for _, f := range c.fields {
		f.AddTo(enc)
	}
	for _, f := range fields {
		f.AddTo(enc)
	}
	attrs := []slog.Attr{}
	for k, v := range enc.Fields {
		attrs = append(attrs, slog.Any(k, v))
	}
	c.log.LogAttrs(context.Background(), level, "etcd: "+e.Message, attrs...)
	return nil
}

func (c *slogCore) Sync() error { return nil }
