package logstore

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/tidwall/wal"
)

// askStock has the stock library read every entry, and compares.
func (c *checker) askStock(names []uint64) error {
	switch {
	case c.Running:
		c.Stock = "not asked: a node runs on this directory"
	case c.leftOver:
		c.Stock = "not asked: the next start has to finish what was cut off"
	case len(names) == 0:
		c.Stock = "not asked: no segment"
	}
	if c.Stock != "" {
		return nil
	}
	log, err := wal.Open(c.Dir, &wal.Options{NoSync: true, NoCopy: true, AllowEmpty: true})
	if err != nil {
		c.disagree("%v", err)
		return nil
	}
	for _, name := range names {
		if err := c.compareStock(log, name); err != nil {
			return errors.Join(err, log.Close())
		}
	}
	if last, err := log.LastIndex(); err != nil || last+1 != c.next {
		c.disagree("it has entries up to %d (%v), not %d", last, err, c.next-1)
	}
	if c.Stock == "" {
		c.Stock = "ok"
	}
	return log.Close()
}

func (c *checker) compareStock(log *wal.Log, name uint64) error {
	return walkSegment(filepath.Join(c.Dir, segmentFileName(name)), name, func(e Entry) error {
		if e.Batch == nil || c.Stock != "" {
			return nil
		}
		got, err := log.Read(e.Index)
		if err != nil || !bytes.Equal(got, e.Batch) {
			c.disagree("entry %d reads as %d other bytes (%v)", e.Index, len(got), err)
		}
		return nil
	})
}

func (c *checker) disagree(format string, args ...any) {
	c.Stock = fmt.Sprintf(format, args...)
	if !c.cut && len(c.Problems) == 0 {
		c.problem("the stock library reads the log otherwise: %s", c.Stock)
	}
}
