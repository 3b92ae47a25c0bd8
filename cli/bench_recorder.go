package cli

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
	"github.com/urfave/cli/v2"
)

// recorder counts what was sent in the window, and how long it took.
type recorder struct {
	begin, end atomic.Int64 // the window, unix nanoseconds; 0 while it is not known

	records, bytes, requests, failed atomic.Int64

	mu    sync.Mutex
	total *hdrhistogram.Histogram // microseconds; guarded by mu
	first error                   // guarded by mu
	lanes []*lane                 // guarded by mu
}

// lane is one worker's histogram: its lock is its own, so that workers do not meet.
type lane struct {
	r    *recorder
	mu   sync.Mutex
	hist *hdrhistogram.Histogram // guarded by mu
}

const maxLatency = int64(10 * time.Minute / time.Microsecond)

func newHistogram() *hdrhistogram.Histogram { return hdrhistogram.New(1, maxLatency, 3) }

func newRecorder(*benchConfig) *recorder { return &recorder{total: newHistogram()} }

func (r *recorder) lane() *lane {
	l := &lane{r: r, hist: newHistogram()}
	r.mu.Lock()
	r.lanes = append(r.lanes, l)
	r.mu.Unlock()
	return l
}

// over reports whether nothing more should be sent.
func (r *recorder) over(now time.Time) bool {
	end := r.end.Load()
	return end > 0 && now.UnixNano() >= end
}

// counts reports whether something sent at that time is in the window.
func (r *recorder) counts(sent time.Time) bool {
	begin, n := r.begin.Load(), sent.UnixNano()
	return begin > 0 && n >= begin && n < r.end.Load()
}

// done notes one answer: what was due at a time, answered now, for so many records and bytes.
func (l *lane) done(due, now time.Time, records, bytes int) {
	if !l.r.counts(due) {
		return
	}
	l.r.records.Add(int64(records))
	l.r.bytes.Add(int64(bytes))
	l.r.requests.Add(1)
	l.took(now.Sub(due))
}

func (l *lane) took(d time.Duration) {
	l.mu.Lock()
	_ = l.hist.RecordValue(min(max(d.Microseconds(), 1), maxLatency)) // within the bounds, so it takes it
	l.mu.Unlock()
}

// fail notes a request that failed, whenever it was sent.
func (r *recorder) fail(err error) {
	r.failed.Add(1)
	r.mu.Lock()
	if r.first == nil {
		r.first = err
	}
	r.mu.Unlock()
}

func (r *recorder) firstError() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.first
}

// merged are the latencies of all workers so far.
func (r *recorder) merged() *hdrhistogram.Histogram {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := newHistogram()
	for _, l := range r.lanes {
		l.mu.Lock()
		all.Merge(l.hist)
		l.mu.Unlock()
	}
	return all
}

// measure runs a measurement: warm-up, window, and what is still under way after it.
func measure(ctx context.Context, c *cli.Context, cfg *benchConfig, rec *recorder, run func(context.Context, *benchConfig, *recorder) error) (*benchResult, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var before, after usage
	var usageErr error
	began := time.Now().Add(cfg.warmup)
	ended := began.Add(cfg.duration)
	rec.end.Store(ended.UnixNano())
	rec.begin.Store(began.UnixNano())
	var clock sync.WaitGroup
	clock.Go(func() {
		if !sleepUntil(ctx, began) {
			return
		}
		if before, usageErr = usageOf(cfg.serverPids); usageErr != nil {
			cancel(usageErr)
		}
		progress(ctx, c, cfg, rec, ended)
		if after, usageErr = usageOf(cfg.serverPids); usageErr != nil {
			cancel(usageErr)
		}
	})
	err := run(ctx, cfg, rec)
	if time.Now().Before(ended) { // it ended early: by a signal or an error
		cancel(err)
	}
	clock.Wait()
	if err != nil {
		return nil, err
	}
	if err := context.Cause(ctx); err != nil {
		return nil, fmt.Errorf("stopped before the end of the window: %w", err)
	}
	return newResult(cfg, rec, after.since(before)), nil
}

func sleepUntil(ctx context.Context, at time.Time) bool {
	select {
	case <-time.After(time.Until(at)):
		return true
	case <-ctx.Done():
		return false
	}
}

// progress prints a line each interval until the window ends.
func progress(ctx context.Context, c *cli.Context, cfg *benchConfig, rec *recorder, ended time.Time) {
	last, lastAt := int64(0), time.Now()
	lastRecords := int64(0)
	for {
		next := ended
		if cfg.reports > 0 && lastAt.Add(cfg.reports).Before(ended) {
			next = lastAt.Add(cfg.reports)
		}
		if !sleepUntil(ctx, next) || next.Equal(ended) {
			return
		}
		now, bytes, records := time.Now(), rec.bytes.Load(), rec.records.Load()
		secs := now.Sub(lastAt).Seconds()
		h := rec.merged()
		fmt.Fprintf(c.App.ErrWriter, "%5.0f s  %9.0f records/s  %8.1f MB/s  p50 %s  p99 %s  failed %d\n",
			cfg.duration.Seconds()-ended.Sub(now).Seconds(), float64(records-lastRecords)/secs, float64(bytes-last)/secs/1e6,
			micros(h.ValueAtQuantile(50)), micros(h.ValueAtQuantile(99)), rec.failed.Load())
		last, lastRecords, lastAt = bytes, records, now
	}
}

// micros shows microseconds as milliseconds.
func micros(n int64) string { return fmt.Sprintf("%.2f ms", float64(n)/1000) }
