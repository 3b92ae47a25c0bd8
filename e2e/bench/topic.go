package main

import (
	"context"
	"fmt"
	"io/fs"
	"path/filepath"
	"syscall"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
)

// neverFlush leaves flushing to the system, as Kafka's default does.
const neverFlush = "9223372036854775807"

// topic is what a measurement writes to.
type topic struct {
	partitions int
	replicas   int  // 0: 1
	durable    bool // an answer means that the record is on disk
	settings   map[string]string
}

// create makes a topic and waits until all its partitions answer.
func (c *cluster) create(ctx context.Context, name string, t topic) error {
	flush := neverFlush
	if t.durable {
		flush = "1"
	}
	settings := map[string]*string{"flush.messages": &flush}
	for k, v := range t.settings {
		settings[k] = &v
	}
	if t.replicas > 1 {
		settings["min.insync.replicas"] = new("2")
	}
	return c.admin(func(adm *kadm.Client) error {
		if _, err := adm.CreateTopic(ctx, int32(max(t.partitions, 1)), int16(max(t.replicas, 1)), settings, name); err != nil {
			return fmt.Errorf("create topic %s: %w", name, err)
		}
		return c.until(ctx, 5*time.Millisecond, func() error { return usable(ctx, adm, name, max(t.partitions, 1)) })
	})
}

// usable is an error unless all partitions of a topic are led and answer.
func usable(ctx context.Context, adm *kadm.Client, name string, partitions int) error {
	ends, err := adm.ListEndOffsets(ctx, name)
	if err == nil {
		err = ends.Error()
	}
	if n := len(ends[name]); err == nil && n != partitions {
		err = fmt.Errorf("%d of %d partitions answer", n, partitions)
	}
	return err
}

// remove deletes a topic and waits, where the nodes are ours, until its bytes are
// gone: they are not to be deleted while the next run is measured.
func (c *cluster) remove(ctx context.Context, name string) error {
	err := c.admin(func(adm *kadm.Client) error {
		_, err := adm.DeleteTopic(ctx, name)
		return err
	})
	if err != nil || c.sys.running != nil {
		return err
	}
	return c.until(ctx, 50*time.Millisecond, func() error {
		if left := c.logBytes(); left > 64<<20 {
			return fmt.Errorf("%d bytes of logs are left of topic %s", left, name)
		}
		return nil
	})
}

// logBytes is the space that the logs of all nodes take.
func (c *cluster) logBytes() (sum int64) {
	for _, n := range c.nodes {
		for _, logs := range []string{"logs", "data"} { // ours and Kafka's
			sum += diskBytes(filepath.Join(n.data(), logs))
		}
	}
	return sum
}

// diskBytes is the space that the files below a directory take. What goes meanwhile counts nothing.
func diskBytes(dir string) (sum int64) {
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		var st syscall.Stat_t
		if err == nil && !d.IsDir() && syscall.Lstat(path, &st) == nil {
			sum += st.Blocks * 512
		}
		return nil
	})
	return sum
}
