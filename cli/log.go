package cli

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/urfave/cli/v2"

	"chronik/logstore"
)

func logCommand() *cli.Command {
	return &cli.Command{
		Name: "log", Usage: "look at partition logs on disk",
		Description: "DIR is the directory of one partition: <data>/logs/<topic id>-<partition>. Nothing is changed;\n" +
			"of a running node's log everything up to the last whole batch is read.",
		Subcommands: []*cli.Command{
			{Name: "check", Usage: "read a log whole and say what is wrong with it", ArgsUsage: "DIR", Flags: []cli.Flag{outputFlag()}, Action: logCheck},
			{Name: "dump", Usage: "print the batches of a log", ArgsUsage: "DIR", Action: logDump},
		},
	}
}

func logCheck(c *cli.Context) error {
	dir, err := oneArg(c, "directory")
	if err != nil {
		return err
	}
	report, err := logstore.Check(dir)
	if err != nil {
		return fmt.Errorf("check %s: %w", dir, err)
	}
	if err := isLog(dir, len(report.Segments)); err != nil {
		return err
	}
	rows := [][]string{}
	for _, s := range report.Segments {
		rows = append(rows, []string{
			s.Name, num(s.Size), num(s.Entries), num(s.BaseOffset), num(s.LastOffset),
			fmt.Sprintf("%d..%d", s.FirstEpoch, s.LastEpoch), num(s.Damaged), s.Sidecar,
		})
	}
	if err := listing(c, report, "SEGMENT BYTES BATCHES FIRST LAST EPOCHS DAMAGED INDEX", rows); err != nil {
		return err
	}
	if c.String("output") == "table" {
		w := c.App.Writer
		fmt.Fprintf(w, "\noffsets %d to %d, stock library: %s\n", report.BaseOffset, report.End, report.Stock)
		for _, n := range report.Notes {
			fmt.Fprintln(w, "note:", n)
		}
		for _, p := range report.Problems {
			fmt.Fprintln(w, "damage:", p)
		}
	}
	if !report.OK() {
		return errors.New("the log is damaged")
	}
	return nil
}

// isLog says that a directory without segments is none of a partition.
func isLog(dir string, segments int) error {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if _, named := logstore.ParseID(filepath.Base(abs)); named || segments > 0 {
		return nil
	}
	return fmt.Errorf("%s holds no log: give the directory of one partition, <data>/logs/<topic id>-<partition>", dir)
}

func num(n int64) string { return strconv.FormatInt(n, 10) }

func logDump(c *cli.Context) error {
	dir, err := oneArg(c, "directory")
	if err != nil {
		return err
	}
	w := c.App.Writer
	seen, damaged := 0, 0
	err = logstore.Dump(dir, func(e logstore.Entry) error {
		seen++
		verdict := "ok"
		if e.Err != nil {
			damaged++
			verdict = e.Err.Error()
		}
		if e.Batch == nil {
			_, err := fmt.Fprintf(w, "segment %d entry %d at %d: %s\n", e.Segment, e.Index, e.Pos, verdict)
			return err
		}
		b := e.Batch
		_, err := fmt.Fprintf(w, "segment %d entry %d at %d: offsets %d..%d epoch %d records %d bytes %d codec %s timestamps %d..%d producer %d/%d/%d crc %08x %s\n",
			e.Segment, e.Index, e.Pos, b.BaseOffset(), b.LastOffset(), b.LeaderEpoch(), b.NumRecords(), len(b), b.Codec(),
			b.BaseTimestamp(), b.MaxTimestamp(), b.ProducerID(), b.ProducerEpoch(), b.BaseSequence(), b.CRC(), verdict)
		return err
	})
	switch {
	case err != nil:
		return fmt.Errorf("dump %s: %w", dir, err)
	case damaged > 0:
		return fmt.Errorf("%d damaged batches", damaged)
	}
	return isLog(dir, seen)
}
