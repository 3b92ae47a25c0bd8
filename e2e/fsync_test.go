package e2e

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// A failing fdatasync: the log stops, since what is in the page cache can no longer be
// trusted; it comes back through recovery, cut to what is surely on disk; writers go on,
// with nothing acknowledged lost and nothing twice.
func TestFsyncError(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	w := startWorkload(t, n.Kafka, topicName(t, "t"), 4)
	w.waitFor(20_000)
	segments, err := filepath.Glob(filepath.Join(n.Dir, "logs", "*", "0*1"))
	if err != nil || len(segments) != 4 {
		t.Fatalf("segments %v (%v)", segments, err)
	}
	release := failSyncs(t, n, "1+2", segments[:2]...)
	awaitStopped(t, n, 2)
	release()
	began := time.Now()
	n.WaitReady()
	w.waitFor(w.count() + 20_000)
	t.Logf("ready and writing again %v after the disk was", time.Since(began).Round(time.Millisecond))
	w.stop()
	want := w.check()
	n.Kill9()
	n.Start()
	n.WaitReady()
	if got := w.check(); got != want {
		t.Errorf("held %+v, holds %+v after a kill -9", want, got)
	}
}

// failSyncs makes the node's syncs of some files fail with EIO, those that when says to
// strace, until release.
func failSyncs(t *testing.T, n *Node, when string, files ...string) (release func()) {
	t.Helper()
	end := injectSyncs(t, n, "error=EIO:when="+when, files...)
	return func() { end(syscall.SIGINT) } // detaches, the node runs on
}

// injectSyncs has strace tamper with the node's syncs of some files, or of all, until a
// signal ends that.
func injectSyncs(t *testing.T, n *Node, what string, files ...string) (end func(syscall.Signal)) {
	t.Helper()
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("needs strace: %v", err)
	}
	argv := []string{"-f", "-p", fmt.Sprint(n.Pid()), "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:" + what, "-o", "/dev/null"}
	for _, f := range files {
		argv = append(argv, "-P", f)
	}
	tracer := exec.Command(strace, argv...)
	said := &lines{}
	tracer.Stderr = said
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tracer.Wait() }()
	var once sync.Once
	end = func(sig syscall.Signal) {
		once.Do(func() {
			if err := tracer.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
				t.Error(err)
			}
			<-done
		})
	}
	t.Cleanup(func() { end(syscall.SIGINT) })
	eventually(t, 30*time.Second, func() error {
		select {
		case err := <-done:
			done <- err
			t.Skipf("strace cannot attach here: %v %s", err, said)
		default:
		}
		if !strings.Contains(said.String(), "attached") {
			return errors.New("strace has not attached")
		}
		return nil
	})
	return end
}

// lines gathers what a process says, for readers meanwhile.
type lines struct {
	mu   sync.Mutex
	text strings.Builder // guarded by mu
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// awaitStopped waits until so many logs have stopped at an error.
func awaitStopped(t *testing.T, n *Node, logs int) {
	t.Helper()
	eventually(t, 30*time.Second, func() error {
		if stopped := strings.Count(n.Log(1<<20), "log stopped"); stopped < logs {
			return n.alive(fmt.Errorf("%d logs have stopped at an EIO", stopped))
		}
		return nil
	})
}

// Records that a failed fdatasync cut off are never acknowledged, also where their answer has
// to wait behind another until others' records have taken their offsets.
func TestFsyncErrorBehindALongPoll(t *testing.T) {
	n := StartNode(t, NodeConfig{})
	topic, quiet := topicName(t, "t"), topicName(t, "quiet")
	createTopic(t, n.Kafka, topic, 1, nil)
	createTopic(t, n.Kafka, quiet, 1, nil)
	if first := produceRaw(t, n.Kafka, topic, 0, seal(newBatch([]byte("first")))); first.ErrorCode != 0 {
		t.Fatal(kerr.ErrorForCode(first.ErrorCode))
	}
	segments, err := filepath.Glob(filepath.Join(n.Dir, "logs", "*", "0*1"))
	if err != nil || len(segments) != 1 {
		t.Fatalf("segments %v (%v)", segments, err)
	}
	release := failSyncs(t, n, "1", segments...)
	poll := kmsg.NewPtrFetchRequest()
	poll.Version, poll.MaxWaitMillis, poll.MinBytes, poll.MaxBytes = 4, 20_000, 1, 1<<20
	rt, rp := kmsg.NewFetchRequestTopic(), kmsg.NewFetchRequestTopicPartition()
	rt.Topic, rp.PartitionMaxBytes = quiet, 1<<20
	rt.Partitions = append(rt.Partitions, rp)
	poll.Topics = append(poll.Topics, rt)
	lost := produceRequest(9, topic, 0, seal(newBatch([]byte("lost"))))
	c := dialRaw(t, n.Kafka)
	c.send(append(c.frame(poll), c.frame(lost)...))
	awaitStopped(t, n, 1)
	release()
	n.WaitReady()
	eventually(t, 10*time.Second, func() error {
		return kerr.ErrorForCode(produceRaw(t, n.Kafka, topic, 0, seal(newBatch([]byte("other")))).ErrorCode)
	})
	produceRaw(t, n.Kafka, quiet, 0, seal(newBatch([]byte("wakes the poll"))))
	if _, err := c.readFrame(20 * time.Second); err != nil {
		t.Fatal(err)
	}
	p, err := c.readFrame(20 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := decode(lost, c.cor, p)
	if err != nil {
		t.Fatal(err)
	}
	if got := resp.(*kmsg.ProduceResponse).Topics[0].Partitions[0]; got.ErrorCode == 0 {
		t.Errorf("acknowledged at offset %d", got.BaseOffset)
	}
	readPartition(t, n.Kafka, topic, 0, func(r *kgo.Record) { t.Logf("offset %d is %s", r.Offset, r.Value) })
}
