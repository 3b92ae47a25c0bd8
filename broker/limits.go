package broker

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
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
	pipes   *pipes  // of such answers
	largest int     // request.decode.max.bytes
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

func newLimits(largest int64) *limits {
	whole := min(MachineMemory(), debug.SetMemoryLimit(-1)) // which tells the limit
	return &limits{
		frames:  newBudget(clamp(whole/8, 256<<20, 4<<30)),
		decodes: newBudget(max(largest*decodeFactor, clamp(whole/8, 256<<20, 4<<30))),
		small:   newBudget(clamp(whole/16, 256<<20, 1<<30)),
		answers: newBudget(clamp(whole/8, 256<<20, 4<<30)),
		pipes:   newPipes(),
		largest: int(largest),
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

// MachineMemory is the memory in bytes that this process may use: the machine's, or what
// its cgroups leave of that.
func MachineMemory() int64 {
	var si unix.Sysinfo_t
	whole := int64(4 << 30)
	if unix.Sysinfo(&si) == nil {
		whole = int64(si.Totalram) * int64(si.Unit)
	}
	own, _ := os.ReadFile("/proc/self/cgroup")
	return min(whole, cgroupMemory("/sys/fs/cgroup", string(own)))
}

// cgroupMemory is the least memory.max from the group that own names, in the words of
// /proc/self/cgroup, up to the root of the tree.
func cgroupMemory(root, own string) int64 {
	_, path, _ := strings.Cut("\n"+own, "\n0::")
	path, _, _ = strings.Cut(path, "\n")
	least := int64(math.MaxInt64)
	for group := filepath.Join("/", path); ; group = filepath.Dir(group) {
		text, err := os.ReadFile(filepath.Join(root, group, "memory.max"))
		if err == nil {
			if n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err == nil {
				least = min(least, n)
			}
		}
		if group == "/" {
			return least
		}
	}
}
