package e2e

import (
	"bufio"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// scripts/cluster-start, -status and -stop, on ports of their own.
func TestClusterScripts(t *testing.T) {
	chronikBin(t)
	dir := filepath.Join(t.TempDir(), "cluster")
	env := append(os.Environ(), "CLUSTER_DIR="+dir, fmt.Sprintf("CLUSTER_PORTS=%d", 2000+10*rand.IntN(1000)))
	script := func(code int, says string, args ...string) {
		t.Helper()
		cmd := exec.Command(filepath.Join(root(t), "scripts", args[0]), args[1:]...)
		cmd.Env = env
		began := time.Now()
		out, err := cmd.CombinedOutput()
		if got := cmd.ProcessState.ExitCode(); got != code || !strings.Contains(string(out), says) {
			t.Errorf("%v: exit code %d (%v), want %d and %q:\n%s", args, got, err, code, says, out)
		}
		t.Logf("%v: %v", args, time.Since(began).Round(10*time.Millisecond))
	}
	t.Cleanup(func() { script(0, "stopped", "cluster-stop", "--clean") })
	script(1, "no cluster", "cluster-status")
	script(0, "3 nodes are ready: localhost:", "cluster-start")
	script(1, "it runs already: localhost:", "cluster-start")
	script(0, "is healthy", "cluster-status")
	script(0, "stopped", "cluster-stop")
	script(2, "is unreachable", "cluster-status")
	script(1, "holds a cluster of 3 nodes", "cluster-start", "5")
	script(0, "3 nodes are ready", "cluster-start")
	for id := range 3 {
		log, err := os.ReadFile(fmt.Sprintf("%s/node-%d.log", dir, id+1))
		if n := strings.Count(string(log), "broker registered"); err != nil || n != 2 {
			t.Errorf("node %d told %d times in two lives that it is registered, %v", id+1, n, err)
		}
	}
	script(0, "stopped", "cluster-stop", "--clean")
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("%s after --clean: %v", dir, err)
	}
}

// chronik dev runs a cluster until it is asked to stop, and leaves nothing behind.
func TestDev(t *testing.T) {
	t.Parallel()
	temp := t.TempDir()
	cmd := exec.Command(chronikBin(t), "dev", "--nodes", "3", "--port", fmt.Sprint(freePortsInARow(t, 3)))
	cmd.Env = append(os.Environ(), "TMPDIR="+temp)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
	defer kill.Stop()
	ready, began := 0, time.Now()
	var text strings.Builder
	for lines := bufio.NewScanner(out); lines.Scan(); {
		fmt.Fprintln(&text, lines.Text())
		if !strings.HasSuffix(lines.Text(), "is ready") {
			continue
		}
		if ready++; ready == 3 {
			t.Logf("three nodes are ready after %v", time.Since(began).Round(10*time.Millisecond))
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err != nil || ready != 3 || strings.Count(text.String(), "msg=stopped") != 3 {
		t.Errorf("%v; %d nodes were ready:\n%s", err, ready, text.String())
	}
	if left, err := os.ReadDir(temp); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}
