package broker

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"chronik/logstore"
)

const (
	replicaFetchVersion  = 17
	replicaFetchWait     = 500 * time.Millisecond
	replicaPartitionMost = 1 << 20
	replicaAnswerMost    = 8 << 20
	replicaDialTimeout   = 2 * time.Second
	replicaReadAhead     = 16 << 10
	replicaFrameKept     = 1 << 20

	// So often a follower looks at all its logs, also at those that no answer spoke of.
	replicaWalk = 500 * time.Millisecond

	// A leader that has not answered for so long after its time is left.
	replicaPatience = 10 * time.Second

	// A partition that its leader refused is asked for again soon: metadata is on
	// its way to one of the two. One that failed here waits longer.
	replicaRefused = 25 * time.Millisecond
	replicaFailed  = time.Second
)

func hostPort(host string, port int32) string { return net.JoinHostPort(host, strconv.Itoa(int(port))) }

// fetchLink is one connection to a leader with one fetch session. One goroutine
// owns it; another one reads frames.
type fetchLink struct {
	f       *fetcher
	nc      net.Conn
	format  *kmsg.RequestFormatter
	frames  chan []byte
	spare   chan []byte // frames that were taken: their memory is used again
	failed  chan error
	session int32
	epoch   int32 // of the session, of the next request
	fresh   bool  // the next request begins a session
	opening bool  // that answer is owed: the session has no id yet
	sent    int32 // correlation id of the last request
	owed    int   // answers
	asked   time.Time
	told    map[logstore.ID]toldState
	touched map[*followed]bool // may have changed since they were told
	version int64              // of what is followed, when all were looked at
	walked  time.Time          // then
}

func newFetchLink(f *fetcher, nc net.Conn) *fetchLink {
	return &fetchLink{
		f: f, nc: nc, fresh: true, told: map[logstore.ID]toldState{}, touched: map[*followed]bool{},
		format: kmsg.NewRequestFormatter(kmsg.FormatterClientID(fmt.Sprintf("broker-%d", f.b.cfg.NodeID))),
		frames: make(chan []byte), spare: make(chan []byte, 1), failed: make(chan error, 1),
	}
}

// connect follows the leader over one connection until that fails. answered says
// that it answered at least once.
func (f *fetcher) connect(ctx context.Context) (answered bool, err error) {
	addr, err := f.address(f.b.snap())
	if err != nil {
		return false, err
	}
	d := net.Dialer{Timeout: replicaDialTimeout}
	nc, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithCancel(ctx)
	l := newFetchLink(f, nc)
	read := make(chan struct{})
	go func() {
		defer close(read)
		l.failed <- l.read(ctx)
	}()
	answered, err = l.follow(ctx)
	cancel()
	err = errors.Join(err, nc.Close())
	<-read
	return answered, err
}

// read hands over the frames that come.
func (l *fetchLink) read(ctx context.Context) error {
	in := bufio.NewReaderSize(l, replicaReadAhead)
	var size [4]byte
	for {
		if _, err := io.ReadFull(in, size[:]); err != nil {
			return err
		}
		n := binary.BigEndian.Uint32(size[:])
		if n < 5 || n > 4*replicaAnswerMost+(64<<20) {
			return fmt.Errorf("an answer of %d bytes", n)
		}
		frame, err := readFrame(in, l.spareFrame(int(n)), int(n))
		if err != nil {
			return err
		}
		select {
		case l.frames <- frame:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// spareFrame is the memory of a frame that was taken, if it suits one of n bytes: what is
// large is not kept for what is small.
func (l *fetchLink) spareFrame(n int) []byte {
	select {
	case spare := <-l.spare:
		if cap(spare) <= replicaFrameKept || n > cap(spare)/8 {
			return spare[:0]
		}
	default:
	}
	return nil
}

// readFrame reads n bytes behind frame, which grows as they come: a claim gets no memory.
func readFrame(r io.Reader, frame []byte, n int) ([]byte, error) {
	for len(frame) < n {
		have := len(frame)
		frame = slices.Grow(frame, min(n-have, replicaFrameKept))
		frame = frame[:min(n, cap(frame))]
		if _, err := io.ReadFull(r, frame[have:]); err != nil {
			return nil, err
		}
	}
	return frame, nil
}

// Read reads from the connection: whatever comes, the leader is there.
func (l *fetchLink) Read(p []byte) (int, error) {
	n, err := l.nc.Read(p)
	if n > 0 {
		l.f.clock.moves(time.Now())
	}
	return n, err
}

// errNothingToFollow ends a connection that is not needed any more.
var errNothingToFollow = errors.New("nothing to follow")

// follow asks and takes answers until something fails. While an answer is awaited,
// what is new to be followed sends a second request, which ends the wait of the
// first at the leader.
func (l *fetchLink) follow(ctx context.Context) (answered bool, err error) {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		until, err := l.ask()
		if err != nil {
			return answered, err
		}
		timer.Reset(time.Until(until))
		select {
		case frame := <-l.frames:
			if l.owed--; l.owed < 0 {
				return answered, errors.New("an answer to nothing")
			}
			if err := l.answer(ctx, frame); err != nil {
				return answered, err
			}
			select {
			case l.spare <- frame:
			default:
			}
			if answered = true; l.owed == 0 {
				l.f.clock.stop()
			}
		case <-l.f.wake:
		case <-timer.C:
			if l.owed > 0 && time.Since(l.asked) > replicaPatience {
				return answered, fmt.Errorf("broker %d does not answer", l.f.leader)
			}
		case err := <-l.failed:
			return answered, err
		case <-ctx.Done():
			return answered, ctx.Err()
		}
	}
}

// ask sends a request if one is due, and returns when to look again.
func (l *fetchLink) ask() (until time.Time, err error) {
	now := time.Now()
	until = now.Add(replicaPatience)
	if l.f.count() == 0 {
		return until, errNothingToFollow
	}
	if l.owed > 1 || l.opening {
		return until, nil
	}
	if l.fresh {
		clear(l.told)
	}
	req := newFetchBuilder()
	wanted := l.look(req, now)
	if l.owed > 0 && l.toldTooMuch(wanted) {
		return until, nil
	}
	for _, p := range wanted {
		if again := l.tell(req, p, now); again.After(now) && again.Before(until) {
			until = again
		}
	}
	switch {
	case len(l.told) == 0:
		l.fresh = true
	case l.owed == 0, !req.empty():
		err = l.send(req)
	}
	return until, err
}

// send sends a request as this broker in its present life.
func (l *fetchLink) send(b *fetchBuilder) error {
	b.req.ReplicaState.ID, b.req.ReplicaState.Epoch = l.f.b.cfg.NodeID, l.f.b.meta.Session().BrokerEpoch()
	if l.fresh {
		l.epoch, l.opening, l.fresh = initialEpoch, true, false
		b.req.MaxWaitMillis = 0
	}
	b.req.SessionID, b.req.SessionEpoch = l.session, l.epoch
	if l.epoch++; l.epoch < 0 {
		l.epoch = 1
	}
	l.sent++
	l.owed++
	l.asked = time.Now()
	l.f.clock.start(l.asked)
	if err := l.nc.SetWriteDeadline(l.asked.Add(replicaPatience)); err != nil {
		return err
	}
	_, err := l.nc.Write(l.format.AppendRequest(nil, b.req, l.sent))
	return err
}

// answer takes one answer: records, where the history differs, what the leader says
// of itself. Records are on disk, where the topic wants that, before the next
// request tells so.
func (l *fetchLink) answer(ctx context.Context, frame []byte) error {
	l.opening = false
	if id := int32(binary.BigEndian.Uint32(frame)); id != l.sent-int32(l.owed) {
		return fmt.Errorf("an answer to request %d of broker %d, %d was due", id, l.f.leader, l.sent-int32(l.owed))
	}
	resp := kmsg.NewPtrFetchResponse()
	resp.Version = replicaFetchVersion
	if err := resp.ReadFrom(frame[5:]); err != nil { // behind correlation id and tags
		return fmt.Errorf("answer of broker %d: %w", l.f.leader, err)
	}
	if err := kerr.ErrorForCode(resp.ErrorCode); err != nil {
		l.fresh = true
		if errors.Is(err, kerr.FetchSessionIDNotFound) || errors.Is(err, kerr.InvalidFetchSessionEpoch) {
			return nil
		}
		return err
	}
	l.session, l.fresh = resp.SessionID, resp.SessionID == 0
	var grown []*followed
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			was, known := l.told[logstore.ID{Topic: t.TopicID, Partition: rp.Partition}]
			if !known {
				continue
			}
			l.touched[was.p] = true
			if l.take(was.p, rp) {
				grown = append(grown, was.p)
			}
		}
	}
	for _, p := range grown {
		if err := flushed(ctx, p.at()); err != nil && ctx.Err() == nil {
			p.again = time.Now().Add(replicaFailed)
		}
	}
	return l.advance(resp)
}

// take takes what the answer says of one partition, and reports whether its log grew.
func (l *fetchLink) take(p *followed, rp *kmsg.FetchResponseTopicPartition) (grew bool) {
	err := kerr.ErrorForCode(rp.ErrorCode)
	switch {
	case errors.Is(err, kerr.OffsetOutOfRange) && rp.LogStartOffset >= 0:
		l.f.b.log.Info("replica starts anew", "topic", p.name, "partition", p.id.Partition, "leader", p.leader, "offset", rp.LogStartOffset, "had", p.at().End())
		err = p.begin(rp.LogStartOffset)
	case err != nil:
		p.again = time.Now().Add(replicaRefused)
		return false
	case rp.DivergingEpoch.EndOffset >= 0:
		had := p.at().End()
		err = p.cut(rp.DivergingEpoch.Epoch, rp.DivergingEpoch.EndOffset)
		l.f.b.log.Info("replica cut where it differs from its leader", "topic", p.name, "partition", p.id.Partition,
			"leader", p.leader, "epoch", rp.DivergingEpoch.Epoch, "had", had, "end", p.at().End())
	default:
		grew = len(rp.RecordBatches) > 0
		l.f.b.took(p, len(rp.RecordBatches))
		err = p.append(rp.RecordBatches, rp.HighWatermark)
	}
	if err != nil && !errors.Is(err, errEnded) {
		p.again = time.Now().Add(replicaFailed)
		l.f.b.log.Error("replica not brought up to its leader; trying again", "topic", p.name, "partition", p.id.Partition, "leader", p.leader, "err", err)
	}
	return grew && err == nil
}

// advance moves log starts to those of the leader.
func (l *fetchLink) advance(resp *kmsg.FetchResponse) error {
	for i := range resp.Topics {
		t := &resp.Topics[i]
		for j := range t.Partitions {
			rp := &t.Partitions[j]
			was, known := l.told[logstore.ID{Topic: t.TopicID, Partition: rp.Partition}]
			if !known || rp.ErrorCode != 0 || rp.LogStartOffset <= was.p.at().Start() {
				continue
			}
			if err := was.p.advance(rp.LogStartOffset); err != nil && !errors.Is(err, errEnded) {
				was.p.again = time.Now().Add(replicaFailed)
				l.f.b.log.Warn("log start not moved to the leader's", "topic", was.p.name, "partition", rp.Partition, "err", err)
			}
		}
	}
	return nil
}
