package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// machine is a line on where this was measured.
func machine() string {
	total, err := kilobytes("/proc/meminfo", "MemTotal:")
	kernel, err2 := os.ReadFile("/proc/sys/kernel/osrelease")
	if err := errors.Join(err, err2); err != nil {
		return err.Error()
	}
	return fmt.Sprintf("%d cores, %.1f GB of memory, Linux %s, %s", runtime.NumCPU(), total/1e3, strings.TrimSpace(string(kernel)), runtime.Version())
}

// commit is the version of the source, and whether it was changed since.
func commit() string {
	out, err := exec.Command("git", "describe", "--always", "--dirty", "--abbrev=12", "--exclude", "*").Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(out))
}

// settle has written what is to be written, so that the next run does not pay for the last one.
func settle() { syscall.Sync() }

// leaveFree is where filling the page cache stops.
const leaveFree = 300 // MB

// filler reads a sparse file until memory is full of it: the first touch of a page of a
// virtual machine is expensive, and is not to be paid by who is measured.
type filler struct {
	at int64 // read so far: what follows is not cached
}

// fill stops where memory is full, and where reading on takes no more of it: the rest
// belongs to others.
func (f *filler) fill(ctx context.Context) error {
	total, err := kilobytes("/proc/meminfo", "MemTotal:")
	if err != nil {
		return err
	}
	file, err := os.OpenFile(fillPath(), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	size := int64(100*total) * 1e6 // takes no room on disk, and is not read to its end soon
	if err := file.Truncate(size); err != nil {
		return err
	}
	const step = 64 << 20
	buf := make([]byte, 1<<20)
	lowest := total
	for stuck := 0; stuck < 8 && ctx.Err() == nil; {
		free, err := kilobytes("/proc/meminfo", "MemFree:")
		if err != nil || free < leaveFree {
			return err
		}
		if stuck++; free < lowest-10 {
			lowest, stuck = free, 0
		}
		for end := f.at + step; f.at < end; f.at += int64(len(buf)) {
			if _, err := file.ReadAt(buf, f.at%(size-step)); err != nil {
				return err
			}
		}
	}
	return nil
}

func fillPath() string {
	return filepath.Join(options.dir, fmt.Sprintf("chronik-bench-%d-fill", os.Getpid()))
}

// removeFill removes the file at the end of everything: freed pages would be new ones again.
func removeFill() { os.Remove(fillPath()) }
