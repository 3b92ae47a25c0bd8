package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// disk is an ext4 file system of its own in an image file.
type disk struct {
	t            *testing.T
	image, mount string
}

// newDisk makes and mounts a file system of so many MiB. The test is skipped where
// that is not possible.
func newDisk(t *testing.T, mib int64) *disk {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	t.Setenv("PATH", os.Getenv("PATH")+":/usr/sbin:/sbin")
	if _, err := exec.LookPath("mkfs.ext4"); err != nil {
		t.Skipf("needs e2fsprogs: %v", err)
	}
	d := &disk{t: t, image: filepath.Join(t.TempDir(), "image"), mount: filepath.Join(t.TempDir(), "mount")}
	if err := os.Mkdir(d.mount, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(d.image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(d.image, mib<<20); err != nil {
		t.Fatal(err)
	}
	d.run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", "lazy_itable_init=0,lazy_journal_init=0", d.image)
	if out, err := exec.Command("mount", "-o", "loop", d.image, d.mount).CombinedOutput(); err != nil {
		t.Skipf("cannot mount a loop image here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", d.mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return d
}

func (d *disk) run(argv ...string) {
	d.t.Helper()
	if out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput(); err != nil {
		d.t.Fatalf("%v: %v\n%s", argv, err, out)
	}
}

// EXT4_IOC_SHUTDOWN and its flag for "do not even flush the journal".
const (
	ext4Shutdown   = 0x8004587d
	shutdownNoSync = 2
)

// cut makes the file system lose whatever is not on disk, as a power cut does. Every
// access fails from here on, until mounted again.
func (d *disk) cut() {
	d.t.Helper()
	f, err := os.Open(d.mount)
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	if err := unix.IoctlSetPointerInt(int(f.Fd()), ext4Shutdown, shutdownNoSync); err != nil {
		d.t.Fatalf("shut the file system down: %v", err)
	}
}

// remount brings the file system back as the disk has it. The dead process may hold it for
// a moment, and so may the kernel: mounted meanwhile it is still the one that was cut.
func (d *disk) remount() {
	d.t.Helper()
	eventually(d.t, 10*time.Second, func() error {
		if out, err := exec.Command("umount", d.mount).CombinedOutput(); err != nil {
			return fmt.Errorf("%w: %s", err, out)
		}
		d.run("mount", "-o", "loop", d.image, d.mount)
		probe := filepath.Join(d.mount, "probe")
		return errors.Join(os.WriteFile(probe, nil, 0o600), os.Remove(probe))
	})
}

// free is the space that is left.
func (d *disk) free() int64 {
	d.t.Helper()
	var s unix.Statfs_t
	if err := unix.Statfs(d.mount, &s); err != nil {
		d.t.Fatal(err)
	}
	return int64(s.Bavail) * s.Bsize
}

// fill leaves so many bytes free; what it wrote before is given back first.
func (d *disk) fill(leave int64) {
	d.t.Helper()
	d.empty()
	f, err := os.Create(filepath.Join(d.mount, "filling"))
	if err != nil {
		d.t.Fatal(err)
	}
	defer f.Close()
	for size := d.free() - leave; size > 0; size = d.free() - leave {
		err := unix.Fallocate(int(f.Fd()), 0, 0, size)
		if err == nil {
			return
		}
		if !errors.Is(err, unix.ENOSPC) { // the node may have been quicker
			d.t.Fatalf("fill the disk with %d bytes: %v", size, err)
		}
	}
}

// empty gives back what fill took.
func (d *disk) empty() {
	d.t.Helper()
	if err := os.Remove(filepath.Join(d.mount, "filling")); err != nil && !os.IsNotExist(err) {
		d.t.Fatal(err)
	}
}

// A power cut: what was acknowledged is on disk, so it is there afterwards.
func TestPowerCut(t *testing.T) {
	d := newDisk(t, 4096)
	n := StartNode(t, NodeConfig{Dir: filepath.Join(d.mount, "data")})
	crashRounds(t, n, rounds(2, 10), func() {
		// Stopped first: an fdatasync that is under way while the kernel shuts the file
		// system down may return success and have written nothing, which would be taken
		// for an acknowledgement. When power goes, nobody acknowledges any more.
		n.Freeze()
		d.cut()
		n.Kill9()
		d.remount()
	})
}
