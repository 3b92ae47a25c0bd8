package logstore

import (
	"context"
	"time"
)

// pace holds work to so many bytes in a second. One goroutine uses it.
type pace struct {
	perSecond float64 // 0: no limit
	owed      float64 // seconds that the bytes so far ought to have taken yet
	at        time.Time
}

// paceNap is the shortest pause that is worth it.
const paceNap = 20 * time.Millisecond

// spend counts n bytes and pauses when the work is ahead of its pace. The error is that of ctx.
func (p *pace) spend(ctx context.Context, n int64) error {
	if err := ctx.Err(); err != nil || p.perSecond <= 0 {
		return err
	}
	now := time.Now()
	p.owed = max(0, p.owed-now.Sub(p.at).Seconds()) + float64(n)/p.perSecond
	p.at = now
	for p.owed > paceNap.Seconds() {
		nap := time.NewTimer(time.Duration(min(p.owed, 60) * float64(time.Second)))
		select {
		case <-nap.C:
		case <-ctx.Done():
			nap.Stop()
			return ctx.Err()
		}
		now = time.Now()
		p.owed = max(0, p.owed-now.Sub(p.at).Seconds())
		p.at = now
	}
	return nil
}
