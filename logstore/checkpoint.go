package logstore

import (
	"encoding/binary"
	"fmt"
	"math"
)

// position names a place between two entries of a log: bytes of a segment, and the offset of the
// record that is or will be there. Segment 0 is a log without any file.
type position struct {
	Segment uint64 // name of the segment, the index of its first entry
	Pos     int64
	Offset  int64
}

// checkpointEntry is what the checkpoint says of one partition taken up here.
type checkpointEntry struct {
	ID            ID
	Recovery      position // all below it is on disk; Segment 0: no record was ever written here
	Start         int64    // log start offset
	HighWatermark int64    // a hint; the truth is the replicas'
}

// cleanEntry is what the clean-shutdown file says of one log: its last segment and that one's
// size, and the log end. Segment 0: the log had no directory.
type cleanEntry struct {
	ID      ID
	Segment uint64
	Size    int64
	End     int64
}

// cleanShutdown is written last at a clean stop, and removed at the start.
type cleanShutdown struct {
	Incarnation string // of the life that stopped
	Logs        []cleanEntry
}

var (
	checkpointFile = smallKind{magic: "chrcheck", version: 1}
	cleanFile      = smallKind{magic: "chrclean", version: 1}
)

const (
	idBytes              = 16 + 4
	checkpointEntryBytes = idBytes + 5*8
	cleanEntryBytes      = idBytes + 3*8
)

func encodeCheckpoint(entries []checkpointEntry) []byte {
	p := make([]byte, 0, len(entries)*checkpointEntryBytes)
	for i := range entries {
		e := &entries[i]
		p = appendID(p, e.ID)
		p = binary.BigEndian.AppendUint64(p, e.Recovery.Segment)
		for _, v := range [...]int64{e.Recovery.Pos, e.Recovery.Offset, e.Start, e.HighWatermark} {
			p = binary.BigEndian.AppendUint64(p, uint64(v))
		}
	}
	return p
}

func decodeCheckpoint(p []byte) ([]checkpointEntry, error) {
	if len(p)%checkpointEntryBytes != 0 {
		return nil, fmt.Errorf("%w: checkpoint of %d bytes", errBadFile, len(p))
	}
	entries := make([]checkpointEntry, 0, len(p)/checkpointEntryBytes)
	for ; len(p) > 0; p = p[checkpointEntryBytes:] {
		at := func(i int) int64 { return int64(binary.BigEndian.Uint64(p[idBytes+8*i:])) }
		e := checkpointEntry{
			ID: decodeID(p), Recovery: position{uint64(at(0)), at(1), at(2)},
			Start: at(3), HighWatermark: at(4),
		}
		if e.Recovery.Pos < 0 || e.Recovery.Offset < 0 || e.Start < 0 {
			return nil, fmt.Errorf("%w: checkpoint of %v at %+v", errBadFile, e.ID, e.Recovery)
		}
		entries = append(entries, e)
	}
	return entries, nil
}

func writeCheckpoint(path string, entries []checkpointEntry) error {
	return checkpointFile.write(path, encodeCheckpoint(entries))
}

func readCheckpoint(path string) ([]checkpointEntry, error) {
	_, body, err := checkpointFile.read(path)
	if err != nil {
		return nil, err
	}
	return decodeCheckpoint(body)
}

func (c *cleanShutdown) encode() []byte {
	p := make([]byte, 0, 2+len(c.Incarnation)+len(c.Logs)*cleanEntryBytes)
	p = binary.BigEndian.AppendUint16(p, uint16(len(c.Incarnation)))
	p = append(p, c.Incarnation...)
	for _, e := range c.Logs {
		p = appendID(p, e.ID)
		p = binary.BigEndian.AppendUint64(p, e.Segment)
		p = binary.BigEndian.AppendUint64(p, uint64(e.Size))
		p = binary.BigEndian.AppendUint64(p, uint64(e.End))
	}
	return p
}

func decodeCleanShutdown(p []byte) (*cleanShutdown, error) {
	if len(p) < 2 || len(p)-2 < int(binary.BigEndian.Uint16(p)) {
		return nil, fmt.Errorf("%w: clean-shutdown of %d bytes", errBadFile, len(p))
	}
	n := int(binary.BigEndian.Uint16(p))
	c := &cleanShutdown{Incarnation: string(p[2 : 2+n])}
	if p = p[2+n:]; len(p)%cleanEntryBytes != 0 {
		return nil, fmt.Errorf("%w: %d bytes of clean-shutdown entries", errBadFile, len(p))
	}
	c.Logs = make([]cleanEntry, 0, len(p)/cleanEntryBytes)
	for ; len(p) > 0; p = p[cleanEntryBytes:] {
		at := func(i int) uint64 { return binary.BigEndian.Uint64(p[idBytes+8*i:]) }
		c.Logs = append(c.Logs, cleanEntry{decodeID(p), at(0), int64(at(1)), int64(at(2))})
	}
	return c, nil
}

func (c *cleanShutdown) write(path string) error {
	if len(c.Incarnation) > math.MaxUint16 {
		return fmt.Errorf("incarnation of %d bytes", len(c.Incarnation))
	}
	return cleanFile.write(path, c.encode())
}

func readCleanShutdown(path string) (*cleanShutdown, error) {
	_, body, err := cleanFile.read(path)
	if err != nil {
		return nil, err
	}
	return decodeCleanShutdown(body)
}

func appendID(p []byte, id ID) []byte {
	p = append(p, id.Topic[:]...)
	return binary.BigEndian.AppendUint32(p, uint32(id.Partition))
}

func decodeID(p []byte) ID {
	return ID{Topic: [16]byte(p), Partition: int32(binary.BigEndian.Uint32(p[16:]))}
}
