//go:build interop

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
)

// ledger is what the members of one group consume from one topic.
type ledger struct {
	topic     string
	mu        sync.Mutex                 // guards what follows, and the members
	taken     map[int32]map[int64]int    // partition, offset: how often
	committed map[int32]int64            // highest that a member says is committed
	owners    map[int32]map[int32]string // generation, partition: member
	values    map[[2]int64]string
	faults    []error
}

func newLedger(topic string) *ledger {
	return &ledger{
		topic: topic, taken: map[int32]map[int64]int{}, committed: map[int32]int64{},
		owners: map[int32]map[int32]string{}, values: map[[2]int64]string{},
	}
}

// ledgerMember is the part of one member in a ledger.
type ledgerMember struct {
	*ledger
	name       string
	records    int
	generation int32
	next       map[int32]int64 // by partition: the offset that comes next
	floor      map[int32]int64 // by partition: what was committed when it was assigned
}

func (l *ledger) member(name string) *ledgerMember {
	return &ledgerMember{ledger: l, name: name, next: map[int32]int64{}, floor: map[int32]int64{}}
}

func (m *ledgerMember) fault(format string, args ...any) {
	m.faults = append(m.faults, fmt.Errorf(m.name+": "+format, args...))
}

// line enters one line of a driver's group-member or group-consume.
func (m *ledgerMember) line(line string) error {
	word, rest, _ := strings.Cut(line, " ")
	switch word {
	case "":
		return nil
	case "assigned", "revoked", "committed":
		numbers, err := numbersOf(rest)
		if err != nil {
			return err
		}
		switch {
		case word == "revoked":
			m.revoked()
		case word == "assigned" && len(numbers) > 0:
			m.assigned(numbers[0], numbers[1:])
		case word == "committed" && len(numbers) == 2:
			m.commit(numbers[0], int64(numbers[1]))
		default:
			return fmt.Errorf("%d numbers", len(numbers))
		}
		return nil
	case "refused", "error":
		return nil // a rebalance, or the node's absence
	}
	offset, value, ok := strings.Cut(rest, " ")
	partition, err := strconv.ParseInt(word, 10, 32)
	at, err2 := strconv.ParseInt(offset, 10, 64)
	if !ok || err != nil || err2 != nil {
		return fmt.Errorf("not a line of a member")
	}
	m.record(int32(partition), at, value)
	return nil
}

func numbersOf(s string) ([]int32, error) {
	var all []int32
	for word := range strings.FieldsSeq(s) {
		n, err := strconv.ParseInt(word, 10, 32)
		if err != nil {
			return nil, err
		}
		all = append(all, int32(n))
	}
	return all, nil
}

// assigned is the whole assignment of a generation. No other member may have one of its
// partitions in the same generation, and generations only grow.
func (m *ledgerMember) assigned(generation int32, partitions []int32) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if generation <= m.generation {
		m.fault("generation %d comes after %d", generation, m.generation)
	}
	m.generation = generation
	owners := m.owners[generation]
	if owners == nil {
		owners = map[int32]string{}
		m.owners[generation] = owners
	}
	clear(m.next)
	for _, p := range partitions {
		if other, ok := owners[p]; ok {
			m.fault("in generation %d partition %d belongs to %s as well", generation, p, other)
		}
		owners[p] = m.name
		m.floor[p] = m.ledger.committed[p]
	}
}

func (m *ledgerMember) revoked() {
	m.mu.Lock()
	defer m.mu.Unlock()
	clear(m.next)
}

func (m *ledgerMember) commit(partition int32, offset int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ledger.committed[partition] = max(m.ledger.committed[partition], offset)
}

// record is one consumed record: at or after what was committed when the partition was
// assigned, and then one after the other. A driver that tells of no assignments may go
// back at any moment.
func (m *ledgerMember) record(partition int32, offset int64, value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.records++
	next, going := m.next[partition]
	switch {
	case !going && offset < m.floor[partition]:
		m.fault("partition %d starts at %d, committed was %d", partition, offset, m.floor[partition])
	case going && offset != next && m.generation > 0:
		m.fault("partition %d goes on at %d, not at %d", partition, offset, next)
	}
	m.next[partition] = offset + 1
	if m.taken[partition] == nil {
		m.taken[partition] = map[int64]int{}
	}
	m.taken[partition][offset]++
	key := [2]int64{int64(partition), offset}
	if before, ok := m.values[key]; ok && before != value {
		m.fault("partition %d, offset %d holds %q and held %q", partition, offset, value, before)
	}
	m.values[key] = value
}

// whole says whether the offsets of a partition from 0 to its end were all consumed, and
// nothing else.
func (l *ledger) whole(partition int32, end int64) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for offset := range end {
		if l.taken[partition][offset] == 0 {
			return fmt.Errorf("partition %d: offset %d was never consumed, %d of %d were", partition, offset, len(l.taken[partition]), end)
		}
	}
	if got := int64(len(l.taken[partition])); got != end {
		return fmt.Errorf("partition %d: %d offsets were consumed, it has %d", partition, got, end)
	}
	return nil
}

// total counts the records that members consumed, the same one twice as two.
func (l *ledger) total() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	n := 0
	for _, offsets := range l.taken {
		for _, times := range offsets {
			n += times
		}
	}
	return n
}

// check fails unless all was consumed and no member told of a fault.
func (l *ledger) check(t testing.TB, ends map[int32]int64) {
	t.Helper()
	records := int64(0)
	for p, end := range ends {
		records += end
		if err := l.whole(p, end); err != nil {
			t.Error(err)
		}
	}
	for _, err := range l.faults {
		t.Error(err)
	}
	t.Logf("%d records, %d consumed twice; %d generations", records, int64(l.total())-records, len(l.owners))
}

// process is a member of a group in a process of its own.
type process struct {
	*ledgerMember
	t     testing.TB
	cmd   *exec.Cmd
	stdin io.WriteCloser
	gone  chan struct{} // closed when the process and its output have ended
	errs  bytes.Buffer  // stderr; this and the next may be read then
	err   error
}

// startMember runs a driver's group-member.
func startMember(t testing.TB, f family, l *ledger, addr, topic, group string) *process {
	t.Helper()
	p := &process{ledgerMember: l.member(f.name), t: t, gone: make(chan struct{})}
	p.cmd = f.command(context.Background(), addr, "group-member", topic, group)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p.cmd.Stderr = &p.errs
	stdin, err := p.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, write, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdin, p.cmd.Stdout = stdin, write
	err = p.cmd.Start()
	write.Close()
	if err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() {
		stdin.Close()
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL) // most often it has ended
		<-p.gone
		if t.Failed() {
			t.Logf("%s ended with %v, the end of what it logged:\n%s", p.name, p.err, tail(p.errs.String()))
		}
	})
	return p
}

func (p *process) read(out *os.File) {
	defer out.Close()
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if err := p.line(strings.TrimSpace(lines.Text())); err != nil {
			p.mu.Lock()
			p.fault("printed %q: %v", lines.Text(), err)
			p.mu.Unlock()
		}
	}
	p.err = p.cmd.Wait()
	close(p.gone)
}

// leave asks the member to leave the group and waits for its end.
func (p *process) leave() {
	p.t.Helper()
	p.stdin.Close()
	select {
	case <-p.gone:
		if p.err != nil {
			p.t.Errorf("%s ended with %v", p.name, p.err)
		}
	case <-time.After(30 * time.Second):
		p.t.Errorf("%s has not ended 30 s after it was asked to leave", p.name)
	}
}

// kill9 ends the member so that it cannot leave.
func (p *process) kill9() {
	p.t.Helper()
	if err := syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL); err != nil {
		p.t.Error(err)
	}
	<-p.gone
}

// count is how many records the member has consumed.
func (m *ledgerMember) count() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.records
}

// spread writes numbered records to all partitions of a topic, some hundreds a second.
type spread struct {
	t       testing.TB
	client  *kgo.Client
	stopped context.CancelFunc
	done    sync.WaitGroup
	mu      sync.Mutex // guards what follows
	ends    map[int32]int64
	count   int
	err     error
}

func startSpread(t testing.TB, addr, topic string, partitions int) *spread {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	w := &spread{t: t, stopped: cancel, ends: map[int32]int64{}, client: newClient(t, addr,
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.RequestRetries(1_000_000), kgo.AlwaysRetryEOF(),
		kgo.RetryBackoffFn(func(int) time.Duration { return 50 * time.Millisecond }), kgo.MetadataMinAge(100*time.Millisecond))}
	record := spreadRecord(partitions)
	w.done.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for i := 0; ctx.Err() == nil; i++ {
			if i%partitions == 0 {
				<-tick.C
			}
			w.client.Produce(context.Background(), record(topic, i), w.written)
		}
	})
	return w
}

func (w *spread) written(r *kgo.Record, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err != nil {
		w.err = err
		return
	}
	w.count++
	w.ends[r.Partition] = max(w.ends[r.Partition], r.Offset+1)
}

// waitFor waits until n more records are acknowledged.
func (w *spread) waitFor(n int) {
	w.t.Helper()
	began := -1
	eventually(w.t, time.Minute, func() error {
		w.mu.Lock()
		defer w.mu.Unlock()
		if began < 0 {
			began = w.count
		}
		if w.count < began+n {
			return fmt.Errorf("%d of %d records are acknowledged (%v)", w.count-began, n, w.err)
		}
		return nil
	})
}

// stop ends the writing and returns the ends of the partitions.
func (w *spread) stop() map[int32]int64 {
	w.t.Helper()
	w.stopped()
	w.done.Wait()
	ctx, cancel := context.WithTimeout(w.t.Context(), time.Minute)
	defer cancel()
	if err := w.client.Flush(ctx); err != nil {
		w.t.Fatal(err)
	}
	w.client.Close()
	if w.err != nil {
		w.t.Errorf("a record failed: %v", w.err)
	}
	return w.ends
}
