package e2e

import (
	"bytes"
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A failing fdatasync: the log stops, since what is in the page cache can no longer be
// trusted; it comes back through recovery, cut to what is surely on disk; writers go on,
// with nothing acknowledged lost and nothing twice.
func TestFsyncError(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skipf("needs strace: %v", err)
	}
	n := StartNode(t, NodeConfig{})
	w := startWorkload(t, n.Kafka, topicName(t, "t"), 4)
	w.waitFor(20_000)
	segments, err := filepath.Glob(filepath.Join(n.Dir, "logs", "*", "0*1"))
	if err != nil || len(segments) != 4 {
		t.Fatalf("segments %v (%v)", segments, err)
	}
	argv := []string{"-f", "-q", "-p", fmt.Sprint(n.Pid()), "-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:error=EIO:when=1+2", "-o", "/dev/null"}
	for _, s := range segments[:2] {
		argv = append(argv, "-P", s)
	}
	tracer := exec.Command(strace, argv...)
	var said bytes.Buffer
	tracer.Stderr = &said
	if err := tracer.Start(); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- tracer.Wait() }()
	eventually(t, 30*time.Second, func() error {
		select {
		case err := <-done:
			t.Skipf("strace cannot attach here: %v %s", err, said.String())
		default:
		}
		if stopped := strings.Count(n.Log(1<<20), "log stopped"); stopped < 2 {
			return n.alive(fmt.Errorf("%d logs have stopped at an EIO", stopped))
		}
		return nil
	})
	if err := tracer.Process.Signal(syscall.SIGINT); err != nil { // detaches, the node runs on
		t.Fatal(err)
	}
	<-done
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
