package meta

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"golang.org/x/sys/unix"
)

// Etcd ends when it cannot write, so metadata must outlive a full data disk:
//   - etcd allocates its log ahead, a segment while another is being filled;
//   - its database grows into room that is allocated here, ahead of it;
//   - for what else it writes there is the ballast, a file that is given up when
//     the disk is full and made again when there is room.
const (
	ballastMost  = 64 << 20
	ballastLeast = walSegment + 4<<20 // an etcd that starts allocates a segment
	databaseRoom = 4 << 20            // allocated behind the end of the database

	spaceEvery    = 2 * time.Second
	fullDiskEvery = 200 * time.Millisecond // while little is free
	healEvery     = 10 * time.Second
	// healPatience is how long a member has to free its own database. Then it is
	// taken for gone, and its alarm, which forbids all writes, for void.
	healPatience = time.Minute
)

// ballast is a file beside etcd that takes up room.
type ballast struct {
	path string
	log  *slog.Logger
}

func newBallast(cfg Config) ballast {
	return ballast{filepath.Join(cfg.Dir, "ballast"), cfg.Logger}
}

// size is what a ballast takes on a disk of that size.
func (b ballast) size(total int64) int64 { return min(max(total/64, ballastLeast), ballastMost) }

// tend gives the ballast up or makes it again. low says that little is free.
func (b ballast) tend() (low bool, err error) {
	free, total, err := diskSpace(filepath.Dir(b.path))
	if err != nil {
		return false, err
	}
	size := b.size(total)
	low = free < 4*size
	switch _, err := os.Stat(b.path); {
	case err == nil && free < size/4:
		b.log.Warn("disk full: giving up the ballast so that metadata can be written", "free", free)
		return low, b.release()
	case errors.Is(err, fs.ErrNotExist) && !low:
		return low, allocate(b.path, os.O_CREATE, size)
	default:
		return low, ignoreNotExist(err)
	}
}

func (b ballast) release() error { return ignoreNotExist(os.Remove(b.path)) }

func ignoreNotExist(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func diskSpace(dir string) (free, total int64, err error) {
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		return 0, 0, fmt.Errorf("free space of %s: %w", dir, err)
	}
	return int64(st.Bavail) * st.Bsize, int64(st.Blocks) * st.Bsize, nil
}

// allocate makes a file own size bytes of the disk without changing what is in
// it. A file system that cannot is left alone.
func allocate(path string, flag int, size int64) error {
	f, err := os.OpenFile(path, os.O_WRONLY|flag, 0o600)
	if err != nil {
		return err
	}
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
	if errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) {
		err = nil
	}
	return errors.Join(err, f.Close())
}

// reserve allocates room for the database to grow.
func reserve(database string) error {
	var st unix.Stat_t
	if err := unix.Stat(database, &st); err != nil {
		return err
	}
	if want := st.Size + databaseRoom; st.Blocks*512 < want {
		return allocate(database, 0, want)
	}
	return nil
}

// releaseWhenFull makes room for etcd to start.
func releaseWhenFull(cfg Config) {
	if _, err := newBallast(cfg).tend(); err != nil {
		cfg.Logger.Warn("ballast for a full disk", "err", err)
	}
}

// ReleaseBallast gives up the file that keeps room for metadata. It is made again
// when there is enough room.
func (m *Meta) ReleaseBallast() error { return newBallast(m.cfg).release() }

// DatabaseSize is what etcd's database takes on disk and the most it may take, in
// bytes; 0 before it runs, and on a client of the voters.
func (m *Meta) DatabaseSize() (size, most int64) {
	if !isClosed(m.ready) || m.node.etcd == nil {
		return 0, m.cfg.quota
	}
	return m.node.etcd.Server.Backend().Size(), m.cfg.quota
}

// watchSpace keeps room for metadata on the disk and heals a full database.
func (m *Meta) watchSpace(ctx context.Context) error {
	if !wait(ctx, m.registered) || m.node.etcd == nil {
		return nil
	}
	b, database := newBallast(m.cfg), filepath.Join(m.cfg.Dir, "member", "snap", "db")
	var healed time.Time
	var turn healTurn
	failing, filling := false, false
	for {
		low, err := b.tend()
		if err = errors.Join(err, reserve(database)); err != nil && !failing {
			m.log.Warn("cannot keep room for metadata on the disk", "err", err)
		}
		failing = err != nil
		if size, most := m.DatabaseSize(); size > most*6/10 != filling {
			if filling = !filling; filling {
				m.log.Warn("the database of the metadata is filling up", "size", size, "most", most)
			}
		}
		whose, held := turn.next(m.noSpaceAlarms(), time.Now())
		if m.heals(whose, held) && time.Since(healed) > healEvery {
			healed = time.Now()
			if err := m.heal(ctx, whose); err != nil && ctx.Err() == nil {
				m.log.Error("the database of the metadata is full: no change is possible", "err", err)
			}
		}
		every := spaceEvery
		if low {
			every = fullDiskEvery
		}
		if !sleep(ctx, every) {
			return nil
		}
	}
}

func (m *Meta) noSpaceAlarms() (alarms []*etcdserverpb.AlarmMember) {
	for _, a := range m.node.etcd.Server.Alarms() {
		if a.Alarm == etcdserverpb.AlarmType_NOSPACE {
			alarms = append(alarms, a)
		}
	}
	return alarms
}

// healTurn says which member's database is freed next: one after the other, since
// a member does nothing else meanwhile.
type healTurn struct {
	member uint64
	since  time.Time
}

// next is the member whose turn it is, 0 for none, and for how long it has been.
func (t *healTurn) next(alarms []*etcdserverpb.AlarmMember, now time.Time) (member uint64, held time.Duration) {
	for _, a := range alarms {
		if member == 0 || a.MemberID < member {
			member = a.MemberID
		}
	}
	if member != t.member {
		*t = healTurn{member, now}
	}
	return member, now.Sub(t.since)
}

// heals reports whether this node has to do something about a member's alarm.
func (m *Meta) heals(member uint64, held time.Duration) bool {
	s := m.node.etcd.Server
	return member != 0 && (member == uint64(s.MemberID()) || held > healPatience && s.Leader() == s.MemberID())
}

// heal frees a database that reached its quota: history goes, then the room that
// it took, then the alarm of that member that forbids writes.
func (m *Meta) heal(ctx context.Context, member uint64) error {
	m.log.Warn("the database of the metadata reached its quota; dropping its history", "quota", m.cfg.quota)
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := m.client.Compact(ctx, m.Snapshot().Revision(), clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) {
		return fmt.Errorf("compact: %w", err)
	}
	if err := m.defragment(ctx); err != nil {
		return fmt.Errorf("defragment: %w", err)
	}
	if size, most := m.DatabaseSize(); size >= most {
		return fmt.Errorf("%d bytes are in use, the quota is %d", size, most)
	}
	_, err = m.client.AlarmDisarm(ctx, &clientv3.AlarmMember{MemberID: member, Alarm: etcdserverpb.AlarmType_NOSPACE})
	if err != nil {
		return fmt.Errorf("disarm: %w", err)
	}
	if len(m.noSpaceAlarms()) == 0 {
		m.log.Info("the metadata can be changed again")
	}
	return nil
}

// defragment asks the server itself: by the client in the process it would panic.
func (m *Meta) defragment(ctx context.Context) error {
	done := make(chan error, 1)
	go func() { done <- m.node.etcd.Server.Defragment() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}
