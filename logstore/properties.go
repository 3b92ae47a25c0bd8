package logstore

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var (
	// ErrLocked says that another process has the data directory.
	ErrLocked = errors.New("data directory is in use by another process")
	// ErrNodeID says that the data directory belongs to a node of another id.
	ErrNodeID = errors.New("data directory belongs to another node")
	// ErrClusterID says that the data directory belongs to another cluster.
	ErrClusterID = errors.New("data directory belongs to another cluster")
)

// Identity is who a data directory belongs to.
type Identity struct {
	ClusterID   string   // "" until the node has seen its cluster
	NodeID      int32    //
	DirectoryID [16]byte // made with the directory: another one means that everything here is gone
	BootID      string   // of the machine at the last start, as the kernel gives it
}

// properties is the file meta.properties: the identity, and which logs may be short
// (replication: a verdict outlives a second crash). It is fsynced before what it names is
// overwritten or cut.
type properties struct {
	Identity
	NewDirectory bool          // every log may be short: the directory was empty
	OtherBoot    bool          // logs that leave flushing to the page cache may be short
	Suspects     map[ID]string // single logs that may be short, and why
}

const bootIDPath = "/proc/sys/kernel/random/boot_id"

var propertiesFile = smallKind{magic: "chrkmeta", version: 1}

// openProperties reads the properties of a data directory, or makes them for a new one. It writes
// nothing: created says that they are new.
func openProperties(dir string, nodeID int32) (p *properties, created bool, err error) {
	_, body, err := propertiesFile.read(filepath.Join(dir, propertiesName))
	if errors.Is(err, fs.ErrNotExist) {
		p := &properties{Identity: Identity{NodeID: nodeID}, NewDirectory: true}
		_, err := rand.Read(p.DirectoryID[:])
		return p, true, err
	}
	if err != nil {
		return nil, false, err
	}
	if p, err = decodeProperties(body); err != nil {
		return nil, false, err
	}
	if p.NodeID != nodeID {
		return nil, false, fmt.Errorf("%w: %s is of node %d, this is node %d", ErrNodeID, dir, p.NodeID, nodeID)
	}
	return p, false, nil
}

func (p *properties) write(dir string) error {
	return propertiesFile.write(filepath.Join(dir, propertiesName), p.encode())
}

// encode writes lines of key=value, sorted where there are many.
func (p *properties) encode() []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "\ncluster.id=%s\nnode.id=%d\n", p.ClusterID, p.NodeID)
	fmt.Fprintf(&b, "directory.id=%s\nboot.id=%s\n", base64.RawURLEncoding.EncodeToString(p.DirectoryID[:]), p.BootID)
	fmt.Fprintf(&b, "suspect.new.directory=%t\nsuspect.other.boot=%t\n", p.NewDirectory, p.OtherBoot)
	for _, id := range slices.SortedFunc(maps.Keys(p.Suspects), func(a, b ID) int { return cmp.Compare(a.String(), b.String()) }) {
		fmt.Fprintf(&b, "suspect.log.%s=%s\n", id, strings.ReplaceAll(p.Suspects[id], "\n", " "))
	}
	return b.Bytes()
}

func decodeProperties(body []byte) (*properties, error) {
	p := &properties{}
	lines := bufio.NewScanner(bytes.NewReader(body))
	lines.Buffer(nil, len(body)+1)
	for lines.Scan() {
		key, value, ok := strings.Cut(lines.Text(), "=")
		if !ok {
			if lines.Text() == "" {
				continue
			}
			return nil, fmt.Errorf("%s: %w: line %q", propertiesName, errBadFile, lines.Text())
		}
		if err := p.set(key, value); err != nil {
			return nil, fmt.Errorf("%s: %w: %s: %w", propertiesName, errBadFile, key, err)
		}
	}
	return p, lines.Err()
}

func (p *properties) set(key, value string) (err error) {
	switch key {
	case "cluster.id":
		p.ClusterID = value
	case "node.id":
		var n int64
		n, err = strconv.ParseInt(value, 10, 32)
		p.NodeID = int32(n)
	case "directory.id":
		var raw []byte
		raw, err = base64.RawURLEncoding.DecodeString(value)
		if err == nil && len(raw) != 16 {
			err = fmt.Errorf("%d bytes, not 16", len(raw))
		}
		copy(p.DirectoryID[:], raw)
	case "boot.id":
		p.BootID = value
	case "suspect.new.directory":
		p.NewDirectory, err = strconv.ParseBool(value)
	case "suspect.other.boot":
		p.OtherBoot, err = strconv.ParseBool(value)
	default:
		err = p.setSuspect(key, value)
	}
	return err
}

func (p *properties) setSuspect(key, why string) error {
	name, ok := strings.CutPrefix(key, "suspect.log.")
	if !ok {
		return errors.New("unknown key")
	}
	id, ok := ParseID(name)
	if !ok {
		return errors.New("not a log")
	}
	if p.Suspects == nil {
		p.Suspects = make(map[ID]string)
	}
	p.Suspects[id] = why
	return nil
}

// bootID tells one boot of this machine from the next.
func bootID() (string, error) {
	b, err := os.ReadFile(bootIDPath)
	return strings.TrimSpace(string(b)), err
}

// lockDirectory takes the data directory for this process, until the file is closed or the
// process ends. The lock is on the directory itself.
func lockDirectory(dir string) (*os.File, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return f, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = fmt.Errorf("%w: %s", ErrLocked, dir)
	}
	return nil, errors.Join(err, f.Close())
}
