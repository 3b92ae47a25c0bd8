package e2e

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// root is the top of the repository.
func root(t testing.TB) string {
	t.Helper()
	wd, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Dir(wd)
}

// buildDir is where TestMain wants the binary.
var buildDir string

var build = sync.OnceValues(func() (string, error) {
	bin := filepath.Join(buildDir, "chronik")
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".")
	cmd.Dir = ".."
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

// chronikBin is the built chronik, built once in a test run.
func chronikBin(t testing.TB) string {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

// NodeConfig says how a node is started. The zero value is a new node on free ports.
type NodeConfig struct {
	ID   int      // node id; 0 is 1
	Dir  string   // data directory; default: a temporary one
	Args []string // further arguments of chronik start; later ones win
	Env  []string // further environment
	Host string   // where it listens; default: 127.0.0.1

	Command []string // what is run; default: the built chronik
}

// Node is one broker process with its data directory and ports. They stay the same
// over restarts, so that clients find it again.
type Node struct {
	ID                int
	Dir               string
	Kafka, HTTP, Etcd string // host:port
	Peer              string // host:port of raft
	t                 testing.TB
	command           []string
	args, env         []string
	workDir           string // where the process runs; "" is the test's folder
	log               string // file; every life appends to it
	cmd               *exec.Cmd
	exited            chan struct{} // closed when this life's process is reaped
	frozen            atomic.Bool
}

// NewNode prepares a node that is not started. Its end, and the tail of its log when
// the test failed, are in t's cleanup.
func NewNode(t testing.TB, c NodeConfig) *Node {
	t.Helper()
	if c.Dir == "" {
		c.Dir = filepath.Join(t.TempDir(), "data")
	}
	if len(c.Command) == 0 {
		c.Command = []string{chronikBin(t)}
	}
	p := freePorts(t, 4)
	if c.Host != "" {
		for i := range p {
			p[i] = strings.Replace(p[i], "127.0.0.1", c.Host, 1)
		}
	}
	n := &Node{
		ID: max(c.ID, 1), Dir: c.Dir, Kafka: p[0], HTTP: p[1], Etcd: p[2], Peer: p[3],
		t: t, command: c.Command, env: c.Env, log: filepath.Join(t.TempDir(), "log"),
	}
	n.args = append([]string{
		"start", "--node-id", strconv.Itoa(n.ID), "--data-dir", n.Dir, "--listen", n.Kafka, "--http-listen", n.HTTP,
		"--etcd-listen", n.Etcd, "--peer-listen", n.Peer,
	}, c.Args...)
	t.Cleanup(n.cleanup)
	return n
}

// StartNode starts a new node and waits until it is ready.
func StartNode(t testing.TB, c NodeConfig) *Node {
	t.Helper()
	n := NewNode(t, c)
	n.Start()
	n.WaitReady()
	return n
}

// Start begins a life of the node and waits for nothing.
func (n *Node) Start() {
	n.t.Helper()
	log, err := os.OpenFile(n.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		n.t.Fatal(err)
	}
	defer log.Close()
	cmd := exec.Command(n.command[0], slices.Concat(n.command[1:], n.args)...)
	cmd.Env, cmd.Dir = append(os.Environ(), n.env...), n.workDir
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	n.frozen.Store(false)
	if err := cmd.Start(); err != nil {
		n.t.Fatal(err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // the state is read from cmd.ProcessState
		close(exited)
	}()
	n.cmd, n.exited = cmd, exited
}

// WaitReady waits until /readyz says so.
func (n *Node) WaitReady() {
	n.t.Helper()
	eventually(n.t, 30*time.Second, func() error {
		code, text, err := n.Get("/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("/readyz: %d %s", code, text)
		}
		return n.alive(err)
	})
}

// WaitAnswer waits for the first successful ApiVersions and returns the time since from.
func (n *Node) WaitAnswer(from time.Time) time.Duration {
	n.t.Helper()
	for {
		err := askApiVersions(n.Kafka)
		took := time.Since(from)
		if err == nil {
			return took
		}
		if err = n.alive(err); took > 30*time.Second || errors.Is(err, errHopeless) {
			n.t.Fatalf("no ApiVersions after %v: %v", took, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// errHopeless ends an eventually: what is waited for cannot come any more.
var errHopeless = errors.New("no use to wait")

// alive is err, and says so when the process is gone: no use to go on waiting.
func (n *Node) alive(err error) error {
	select {
	case <-n.exited:
		return fmt.Errorf("%w, the node has exited: %v (%w)", errHopeless, n.cmd.ProcessState, err)
	default:
		return err
	}
}

// Get asks the node's HTTP listener.
func (n *Node) Get(path string) (int, string, error) {
	client := http.Client{Timeout: 5 * time.Second}
	defer client.CloseIdleConnections()
	resp, err := client.Get("http://" + n.HTTP + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, strings.TrimSpace(string(body)), err
}

// Pid is the process of this life.
func (n *Node) Pid() int { return n.cmd.Process.Pid }

// Kill9 kills the process and waits until it is gone.
func (n *Node) Kill9() {
	n.t.Helper()
	n.end(syscall.SIGKILL)
}

// Freeze stops every thread of the process where it is, those inside the kernel as soon
// as they come out of it. Thaw and Kill9 end that.
func (n *Node) Freeze() {
	n.t.Helper()
	n.frozen.Store(true)
	if err := n.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		n.t.Fatal(err)
	}
	eventually(n.t, 10*time.Second, func() error {
		states, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", n.Pid()))
		if err != nil || len(states) == 0 {
			return fmt.Errorf("no threads in /proc: %w", err)
		}
		for _, file := range states {
			text, err := os.ReadFile(file)
			if err != nil {
				return err
			}
			_, rest, _ := strings.Cut(string(text), ") ") // T: stopped, D: in the kernel
			if !strings.HasPrefix(rest, "T") && !strings.HasPrefix(rest, "D") {
				return fmt.Errorf("a thread is in state %.1s", rest)
			}
		}
		return nil
	})
}

// Thaw lets a frozen process go on.
func (n *Node) Thaw() {
	n.t.Helper()
	n.signal(syscall.SIGCONT)
	n.frozen.Store(false)
}

// Stop asks the process to end, and returns how long that took.
func (n *Node) Stop() time.Duration {
	n.t.Helper()
	began := time.Now()
	n.signal(syscall.SIGTERM)
	n.ended()
	return time.Since(began)
}

// ended waits for the end of a process that was asked to stop.
func (n *Node) ended() {
	n.t.Helper()
	n.await(syscall.SIGTERM)
	if code := n.cmd.ProcessState.ExitCode(); code != 0 {
		n.t.Errorf("exit code %d after SIGTERM", code)
	}
}

// Restart stops the node in order and starts it again.
func (n *Node) Restart() {
	n.t.Helper()
	n.Stop()
	n.Start()
	n.WaitReady()
}

// Running reports whether the node has a process.
func (n *Node) Running() bool {
	if n.cmd == nil {
		return false
	}
	select {
	case <-n.exited:
		return false
	default:
		return true
	}
}

func (n *Node) signal(sig syscall.Signal) {
	n.t.Helper()
	if err := n.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
		n.t.Fatal(err)
	}
}

func (n *Node) end(sig syscall.Signal) {
	n.t.Helper()
	n.signal(sig)
	n.await(sig)
}

// await waits until the process is reaped.
func (n *Node) await(sig syscall.Signal) {
	n.t.Helper()
	select {
	case <-n.exited:
	case <-time.After(30 * time.Second):
		n.t.Errorf("still running 30 s after %v", sig)
		_ = n.cmd.Process.Kill() // what counts is the error above
		<-n.exited
	}
}

// awaitExit waits until the node ends by itself with an error that it tells.
func (n *Node) awaitExit(says string) {
	n.t.Helper()
	select {
	case <-n.exited:
	case <-time.After(30 * time.Second):
		n.t.Fatalf("node %d goes on", n.ID)
	}
	if text := n.Log(4 << 10); n.cmd.ProcessState.ExitCode() == 0 || !strings.Contains(text, says) {
		n.t.Errorf("node %d ended with %v and does not say %q:\n%s", n.ID, n.cmd.ProcessState, says, text)
	}
}

func (n *Node) cleanup() {
	if n.cmd != nil {
		n.end(syscall.SIGKILL)
	}
	if n.t.Failed() {
		n.t.Logf("end of the log of node %d, %s:\n%s", n.ID, n.Kafka, n.Log(8<<10))
	}
}

// Log is at most the last max bytes of what the node printed in all its lives.
func (n *Node) Log(max int) string {
	b, err := os.ReadFile(n.log)
	if err != nil {
		return err.Error()
	}
	if len(b) > max {
		b = b[len(b)-max:]
		b = b[bytes.IndexByte(b, '\n')+1:]
	}
	return string(b)
}

// eventually polls until try succeeds, and fails the test with the last reason when
// that takes longer than within.
func eventually(t testing.TB, within time.Duration, try func() error) {
	t.Helper()
	deadline := time.Now().Add(within)
	for {
		err := try()
		if err == nil {
			return
		}
		if time.Now().After(deadline) || errors.Is(err, errHopeless) {
			t.Fatalf("not within %v: %v", within, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
