package cli

import (
	"bytes"
	"fmt"
	"os"
	"strconv"

	"golang.org/x/sys/unix"
)

// usage is what processes have used so far.
type usage struct {
	client, server float64 // CPU seconds, user and system
	serverRSS      int64   // bytes, at this moment
	known          bool    // the server was looked at
}

// ticksPerSecond is the unit of /proc/<pid>/stat: fixed at 100 for programs on Linux.
const ticksPerSecond = 100

// usageOf reads the usage of this process and of the server's processes together.
func usageOf(servers []int) (usage, error) {
	var ru unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &ru); err != nil {
		return usage{}, err
	}
	u := usage{client: seconds(ru.Utime) + seconds(ru.Stime), known: len(servers) > 0}
	for _, pid := range servers {
		cpu, rss, err := processUsage(pid)
		if err != nil {
			return u, fmt.Errorf("--server-pid %d: %w", pid, err)
		}
		u.server += cpu
		u.serverRSS += rss
	}
	return u, nil
}

// processUsage is the CPU seconds of a process so far, and its memory.
func processUsage(pid int) (cpu float64, rss int64, err error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, 0, err
	}
	// The command's name stands in parentheses and may hold spaces.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	var n [3]int64
	for i, at := range []int{11, 12, 21} { // utime, stime, rss in pages
		if at >= len(fields) {
			return 0, 0, fmt.Errorf("/proc has %d fields", len(fields))
		}
		if n[i], err = strconv.ParseInt(string(fields[at]), 10, 64); err != nil {
			return 0, 0, err
		}
	}
	return float64(n[0]+n[1]) / ticksPerSecond, n[2] * int64(os.Getpagesize()), nil
}

func seconds(t unix.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }

// since is what was used after an earlier look.
func (u usage) since(before usage) usage {
	u.client -= before.client
	u.server -= before.server
	return u
}
