package broker

import (
	"context"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sync/semaphore"
	"golang.org/x/sys/unix"
)

// limits bounds the memory that requests of all connections hold together.
// Each kind has a budget of its own, so that one that waits for decoding cannot
// starve the frames that would free it.
type limits struct {
	frames  *budget // read buffers above their small size
	decodes *budget // what kmsg may allocate for requests that it decodes
	small   *budget // the same for small ones, so that they do not queue behind large ones
	answers *budget // encoded fetch answers not yet written
}

// kmsg checks array claims only against the bytes that remain: a request can
// grow to about 80 times its length, so it takes this many from the budget.
const decodeFactor = 96

// smallDecode is the length up to which a request counts as small.
const smallDecode = 16 << 10

// decoding is the budget of a request that kmsg decodes.
func (l *limits) decoding(length int) *budget {
	if length <= smallDecode {
		return l.small
	}
	return l.decodes
}

func newLimits() *limits {
	whole := machineMemory()
	return &limits{
		frames:  newBudget(clamp(whole/8, 256<<20, 4<<30)),
		decodes: newBudget(clamp(whole/8, 1<<30, 4<<30)),
		small:   newBudget(clamp(whole/16, 256<<20, 1<<30)),
		answers: newBudget(clamp(whole/8, 256<<20, 4<<30)),
	}
}

// budget is a count of bytes that is taken before memory is and given back after.
type budget struct {
	size int64
	sem  *semaphore.Weighted
}

func newBudget(size int64) *budget {
	return &budget{size: size, sem: semaphore.NewWeighted(size)}
}

// take waits until n bytes are free. What is above the whole budget takes all of it.
func (g *budget) take(ctx context.Context, n int64) (int64, error) {
	n = min(n, g.size)
	return n, g.sem.Acquire(ctx, n)
}

func (g *budget) give(n int64) { g.sem.Release(n) }

func clamp(v, low, high int64) int64 { return max(low, min(v, high)) }

// machineMemory is the memory of the cgroup if that is limited, else of the machine.
func machineMemory() int64 {
	var si unix.Sysinfo_t
	whole := int64(4 << 30)
	if unix.Sysinfo(&si) == nil {
		whole = int64(si.Totalram) * int64(si.Unit)
	}
	if text, err := os.ReadFile("/sys/fs/cgroup/memory.max"); err == nil {
		if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
			whole = min(whole, n)
		}
	}
	return whole
}
