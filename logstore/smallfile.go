package logstore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
)

// Every file of our own (all but segments) is one frame:
//
//	magic    8 bytes   what kind of file
//	version  uint16    of the body's layout
//	zero     uint16
//	crc      uint32    CRC-32C of everything else, magic and version included
//	body
//
// Numbers are big endian. This frame never changes, so that an older chronik tells a newer
// file from a damaged one.
const smallHeader = 16

var (
	// ErrNewerFormat says that a newer chronik wrote a file of this directory.
	ErrNewerFormat = errors.New("written by a newer version")

	// errBadFile says that a small file is damaged; most are rebuilt.
	errBadFile = errors.New("damaged file")

	castagnoli = crc32.MakeTable(crc32.Castagnoli)
)

// Names in the data directory, and in a log's.
const (
	propertiesName = "meta.properties"
	checkpointName = "checkpoint"
	cleanName      = "clean-shutdown"
	logsName       = "logs"

	nextName      = "next"
	indexName     = "index"
	epochsName    = "epochs"
	producersName = "producers"
)

// smallKind is a kind of small file: its magic and the newest version of its body known here.
type smallKind struct {
	magic   string // 8 bytes
	version uint16
}

// frame puts a body into its frame.
func (k smallKind) frame(body []byte) []byte {
	p := make([]byte, smallHeader, smallHeader+len(body))
	copy(p, k.magic)
	binary.BigEndian.PutUint16(p[8:], k.version)
	p = append(p, body...)
	binary.BigEndian.PutUint32(p[12:], smallCRC(p))
	return p
}

// open takes a frame apart. Errors are errBadFile or ErrNewerFormat.
func (k smallKind) open(p []byte) (version uint16, body []byte, err error) {
	switch {
	case len(p) < smallHeader:
		return 0, nil, fmt.Errorf("%w: %d bytes", errBadFile, len(p))
	case string(p[:8]) != k.magic:
		return 0, nil, fmt.Errorf("%w: magic %q, not %q", errBadFile, p[:8], k.magic)
	case binary.BigEndian.Uint32(p[12:]) != smallCRC(p):
		return 0, nil, fmt.Errorf("%w: wrong checksum", errBadFile)
	}
	version = binary.BigEndian.Uint16(p[8:])
	if version > k.version {
		return version, nil, fmt.Errorf("%w: version %d, known up to %d", ErrNewerFormat, version, k.version)
	}
	return version, p[smallHeader:], nil
}

// read reads a whole small file. An absent one is fs.ErrNotExist, a damaged one errBadFile, one
// from the future ErrNewerFormat.
func (k smallKind) read(path string) (version uint16, body []byte, err error) {
	p, err := os.ReadFile(path)
	if err != nil {
		return 0, nil, err
	}
	if version, body, err = k.open(p); err != nil {
		return version, nil, fmt.Errorf("%s: %w", path, err)
	}
	return version, body, nil
}

// write replaces a small file, durably when it returns: temporary file, fsync, rename, fsync of
// the directory. After an error the file is the old one or the new one, whole.
func (k smallKind) write(path string, body []byte) error {
	if err := k.stage(path, body); err != nil {
		return err
	}
	return syncDir(filepath.Dir(path))
}

// stage is write without the fsync of the directory: the new content is whole and on disk, but
// its name may still be the old file's after a power cut. For many files in one directory.
func (k smallKind) stage(path string, body []byte) error {
	tmp := path + ".tmp"
	if err := writeSynced(tmp, k.frame(body)); err != nil {
		return errors.Join(err, removeLeft(tmp))
	}
	return os.Rename(tmp, path)
}

func writeSynced(path string, p []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o640)
	if err != nil {
		return err
	}
	_, err = f.Write(p)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// removeLeft removes a file that may not be there.
func removeLeft(path string) error {
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return nil
}

// syncDir makes the names in a directory durable.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func smallCRC(p []byte) uint32 {
	crc := crc32.Update(0, castagnoli, p[:12])
	return crc32.Update(crc, castagnoli, p[smallHeader:])
}
