package meta

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"golang.org/x/sys/unix"
)

func TestBallast(t *testing.T) {
	cfg := testConfig(t.TempDir())
	b := newBallast(cfg)
	for total, want := range map[int64]int64{64 << 20: ballastLeast, 2 << 30: 32 << 20, 1 << 40: ballastMost} {
		if got := b.size(total); got != want {
			t.Errorf("%d bytes of %d", got, total)
		}
	}
	if _, err := b.tend(); err != nil {
		t.Fatal(err)
	}
	free, total, err := diskSpace(cfg.Dir)
	if err != nil {
		t.Fatal(err)
	}
	var st unix.Stat_t
	err = unix.Stat(b.path, &st)
	if free > 8*ballastMost && (err != nil || st.Blocks*512 < b.size(total)) {
		t.Errorf("it takes up %d bytes: %v", st.Blocks*512, err)
	}
	m := New(cfg)
	for range 2 {
		if err := m.ReleaseBallast(); err != nil {
			t.Error(err)
		}
	}
	if _, err := os.Stat(b.path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after its release: %v", err)
	}
}

func TestReserve(t *testing.T) {
	path := filepath.Join(t.TempDir(), "db")
	if err := os.WriteFile(path, []byte("page"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, 8<<20); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := reserve(path); err != nil {
			t.Fatal(err)
		}
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil || st.Size != 8<<20 || st.Blocks*512 < 8<<20+databaseRoom {
		t.Errorf("%d bytes in %d blocks: %v", st.Size, st.Blocks, err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text[:4]) != "page" {
		t.Errorf("it holds %q: %v", text[:4], err)
	}
}

// smallDisk is an ext4 file system of its own, of so many MiB.
func smallDisk(t *testing.T, mib int) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a file system")
	}
	image, mount := filepath.Join(t.TempDir(), "image"), filepath.Join(t.TempDir(), "mount")
	script := `PATH=$PATH:/usr/sbin:/sbin; set -e; mkdir "$2"; truncate -s "$3"M "$1"; mkfs.ext4 -q -F -m 0 "$1"; mount -o loop "$1" "$2"`
	if out, err := exec.Command("sh", "-c", script, "sh", image, mount, fmt.Sprint(mib)).CombinedOutput(); err != nil {
		t.Skipf("cannot make a small disk here: %v %s", err, out)
	}
	t.Cleanup(func() {
		if out, err := exec.Command("umount", "-l", mount).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	return mount
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := 1 << 20; size >= 512; size /= 2 {
		for err = nil; err == nil; {
			_, err = f.Write(make([]byte, size))
		}
		if !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
	}
	if err := f.Sync(); err != nil {
		t.Logf("sync of what fills the disk: %v", err)
	}
}

// Metadata outlives a full data disk: changes are possible, and none is lost.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	mount := smallDisk(t, 192)
	cfg := testConfig(filepath.Join(mount, "etcd"))
	var lines logLines
	cfg.Logger = lines.logger()
	m := started(t, cfg)
	database := filepath.Join(cfg.Dir, "member", "snap", "db")
	eventually(t, patience, func() error {
		var st unix.Stat_t
		if err := unix.Stat(database, &st); err != nil || st.Blocks*512 < st.Size {
			return fmt.Errorf("the database has %d of %d bytes: %v", st.Blocks*512, st.Size, err)
		}
		_, err := os.Stat(newBallast(cfg).path)
		return err
	})
	fill(t, filepath.Join(mount, "data"))
	eventually(t, patience, func() error {
		if _, err := os.Stat(newBallast(cfg).path); !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("the ballast is kept: %v", err)
		}
		return nil
	})
	rest := filepath.Join(mount, "rest")
	fill(t, rest) // that as well
	n := 0
	more := func() {
		t.Helper()
		for range 300 {
			n++
			rev, err := m.CreateTopic(t.Context(), NewTopic{Name: fmt.Sprint("t", n), ID: NewID(), Replicas: here(3)})
			written(t, m, rev, err)
		}
	}
	more()
	if err := m.stop(); err != nil {
		t.Fatal(err)
	}
	// etcd may need space to take up its log, so the restart waits for some.
	if err := os.Remove(filepath.Join(mount, "data")); err != nil {
		t.Fatal(err)
	}
	m = started(t, cfg)
	if got := m.Snapshot().NumTopics(); got != n {
		t.Fatalf("%d topics of %d after a restart", got, n)
	}
	more()
	eventually(t, patience, func() error {
		_, err := os.Stat(newBallast(cfg).path)
		return err
	})
	more()
	if !strings.Contains(lines.String(), "giving up the ballast") {
		t.Errorf("nothing is told:\n%s", lines.String())
	}
}

// fillDatabase writes until that is refused.
func fillDatabase(t *testing.T, m running) {
	t.Helper()
	value := `{"x":"` + strings.Repeat("x", 500_000) + `"}`
	full := false
	for i := 0; i < 200 && !full; i++ {
		_, err := m.SetConfigs(t.Context(), GroupConfigs, "g", func(map[string]string) (map[string]string, error) {
			return map[string]string{"i": fmt.Sprint(i), "x": value}, nil
		})
		full = errors.Is(err, ErrRefused)
		if err != nil && !full {
			t.Fatal(err)
		}
	}
	if !full {
		t.Fatal("the quota was never reached")
	}
}

// A database that reached its quota is healed without anybody's help.
func TestQuota(t *testing.T) {
	t.Parallel()
	var lines logLines
	cfg := testConfig(t.TempDir())
	cfg.Logger, cfg.quota = lines.logger(), 24<<20
	m := started(t, cfg)
	created(t, m, "kept", 1)
	fillDatabase(t, m)
	eventually(t, patience, func() error {
		rev, err := m.CreateTopic(t.Context(), NewTopic{Name: "new", ID: NewID(), Replicas: here(1)})
		if err != nil {
			return err
		}
		return m.WaitRevision(t.Context(), rev)
	})
	if size, most := m.DatabaseSize(); size == 0 || size >= most || m.Snapshot().NumTopics() != 2 {
		t.Errorf("%d of %d bytes, %d topics", size, most, m.Snapshot().NumTopics())
	}
	for _, line := range []string{"reached its quota", "can be changed again", "filling up"} {
		if !strings.Contains(lines.String(), line) {
			t.Errorf("%q is not told:\n%s", line, lines.String())
		}
	}
	etcdPut(t, m, configsKey(GroupConfigs, "h"), `{"a":"b"}`)
}

// In a cluster each member frees its own database, one after the other.
func TestQuotaOfVoters(t *testing.T) {
	t.Parallel()
	configs := voterConfigs(t, t.TempDir(), 3)
	var lines [3]logLines
	for i := range configs {
		configs[i].Logger, configs[i].quota = lines[i].logger(), 24<<20
	}
	nodes := beginAll(t, configs)
	fillDatabase(t, nodes[1])
	eventually(t, patience, func() error {
		rev, err := nodes[2].CreateTopic(t.Context(), NewTopic{Name: "new", ID: NewID(), Replicas: here(1)})
		if err != nil && !errors.Is(err, ErrExists) {
			return err
		}
		return nodes[2].WaitRevision(t.Context(), rev)
	})
	sameSnapshots(t, nodes)
}

// Whose turn it is to free a database.
func TestHealTurn(t *testing.T) {
	var turn healTurn
	began := time.Now()
	alarms := []*etcdserverpb.AlarmMember{{MemberID: 7}, {MemberID: 3}}
	for _, tc := range []struct {
		alarms []*etcdserverpb.AlarmMember
		after  time.Duration
		member uint64
		held   time.Duration
	}{
		{nil, 0, 0, 0},
		{alarms, time.Second, 3, 0},
		{alarms, 3 * time.Second, 3, 2 * time.Second},
		{alarms[:1], 4 * time.Second, 7, 0},
		{alarms[:1], 70 * time.Second, 7, 66 * time.Second},
		{nil, 71 * time.Second, 0, 0},
	} {
		member, held := turn.next(tc.alarms, began.Add(tc.after))
		if member != tc.member || member != 0 && held != tc.held {
			t.Errorf("after %v: member %d for %v, want %d for %v", tc.after, member, held, tc.member, tc.held)
		}
	}
}
