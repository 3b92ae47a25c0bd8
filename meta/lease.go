package meta

import (
	"time"

	"golang.org/x/sys/unix"
)

// bootTime is the time since the machine was started, the time in which it slept
// included.
func bootTime() time.Duration {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts); err != nil {
		panic(err) // every Linux since 2.6.39 has it
	}
	return time.Duration(ts.Nano())
}

// LeaseHolds reports whether this broker is in the life that has a broker epoch, and
// its lease lasts for margin more, counted from when its last renewal was sent: until
// then nobody else can have taken its place.
func (m *Meta) LeaseHolds(brokerEpoch int64, margin time.Duration) bool {
	s := m.Session()
	return s != nil && s.epoch == brokerEpoch && !s.IsOver() && bootTime()-time.Duration(s.renewed.Load()) < m.cfg.LeaseTTL-margin
}

// LeaseTTL is how long a life lasts that is not renewed.
func (m *Meta) LeaseTTL() time.Duration { return m.cfg.LeaseTTL }
