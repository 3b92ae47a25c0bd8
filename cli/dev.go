package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"

	"chronik/meta"
)

func devCommand() *cli.Command {
	return &cli.Command{
		Name: "dev", Usage: "a throw-away cluster in one terminal", ArgsUsage: " ", Action: dev,
		Description: "Every node is a process of its own, whose output is shown with its id in front. Ctrl-C stops all;\n" +
			"a second one stops them at once. Data goes when the cluster stops, unless --data-dir names a place for it.",
		Flags: []cli.Flag{
			&cli.IntFlag{Name: "nodes", Aliases: []string{"n"}, Usage: "how many", Value: 3},
			&cli.IntFlag{Name: "port", Usage: "of the first node; the others have the ports after it", Value: 9092},
			&cli.StringFlag{Name: "data-dir", Usage: "keep data here"},
			&cli.StringSliceFlag{Name: "set", Usage: "a broker setting of every node, `NAME=VALUE`; may be given again"},
		},
	}
}

// dev runs a cluster until a signal ends it.
func dev(c *cli.Context) error {
	nodes, dir := c.Int("nodes"), c.String("data-dir")
	if nodes < 1 || nodes > meta.MaxVoters {
		return usagef("--nodes %d: it is 1 to %d", nodes, meta.MaxVoters)
	}
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "chronik-dev-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	commands, bootstrap, err := devCommands(c, nodes, dir)
	if err != nil {
		return err
	}
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	fmt.Fprintf(c.App.Writer, "%d nodes: %s   Ctrl-C stops them\n", nodes, bootstrap)
	return runAll(ctx, c.App.Writer, commands)
}

// devCommands are the command lines of the nodes.
func devCommands(c *cli.Context, nodes int, dir string) (commands []*exec.Cmd, bootstrap string, err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, "", err
	}
	ports, err := freeLoopback(3 * nodes)
	if err != nil {
		return nil, "", err
	}
	var peers, servers []string
	for i := range nodes {
		addr := net.JoinHostPort("localhost", strconv.Itoa(c.Int("port")+i))
		l, err := net.Listen("tcp", addr)
		if err != nil {
			return nil, "", fmt.Errorf("a node would listen on %s (--port names another): %w", addr, err)
		}
		l.Close()
		peers = append(peers, fmt.Sprintf("%d=%s", i+1, ports[3*i]))
		servers = append(servers, addr)
	}
	for i := range nodes {
		args := []string{
			"start", "--node-id", strconv.Itoa(i + 1), "--data-dir", filepath.Join(dir, fmt.Sprintf("node-%d", i+1)),
			"--listen", servers[i], "--peers", strings.Join(peers, ","), "--etcd-listen", ports[3*i+1], "--http-listen", ports[3*i+2],
		}
		for _, setting := range c.StringSlice("set") {
			args = append(args, "--set", setting)
		}
		cmd := exec.Command(self, args...)
		// Ctrl-C reaches the whole group: the nodes are told by this process alone.
		cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGTERM}
		commands = append(commands, cmd)
	}
	return commands, strings.Join(servers, ","), nil
}

// freeLoopback finds n addresses that nothing uses.
func freeLoopback(n int) (addrs []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // at the end, so that none is found twice
		addrs = append(addrs, l.Addr().String())
	}
	return addrs, nil
}

// devPatience is how long a node may take to stop.
const devPatience = 15 * time.Second

// runAll runs commands until all have ended. When ctx ends they are asked to stop,
// and forced by a second signal or after a while. One that ends before is told of;
// the others go on.
func runAll(ctx context.Context, w io.Writer, commands []*exec.Cmd) error {
	out := &prefixed{w: w}
	var running sync.WaitGroup
	var failed error
	for i, cmd := range commands {
		pipe, err := cmd.StdoutPipe()
		if err == nil {
			cmd.Stderr = cmd.Stdout
			err = cmd.Start()
		}
		if err != nil {
			failed = err
			break
		}
		name := strconv.Itoa(i + 1)
		running.Go(func() {
			out.copy(name, pipe)
			if err := cmd.Wait(); err != nil {
				out.line(name, "node "+name+" has ended: "+err.Error())
			}
		})
	}
	ended := make(chan struct{})
	go func() { running.Wait(); close(ended) }()
	if failed == nil {
		select {
		case <-ctx.Done():
		case <-ended:
			return errors.New("all nodes have ended")
		}
	}
	stopAll(commands, ended)
	return failed
}

// stopAll asks processes to stop, and forces them by a second signal or after a while.
func stopAll(commands []*exec.Cmd, ended <-chan struct{}) {
	again := make(chan os.Signal, 1)
	signal.Notify(again, syscall.SIGTERM, os.Interrupt)
	defer signal.Stop(again)
	signalAll(commands, syscall.SIGTERM)
	select {
	case <-ended:
		return
	case <-again:
	case <-time.After(devPatience):
	}
	signalAll(commands, syscall.SIGKILL)
	<-ended
}

func signalAll(commands []*exec.Cmd, sig syscall.Signal) {
	for _, cmd := range commands {
		if cmd.Process != nil {
			_ = cmd.Process.Signal(sig) // it may have ended
		}
	}
}

// prefixed writes whole lines of several sources, each with the name of its source.
type prefixed struct {
	mu sync.Mutex // one line at a time
	w  io.Writer
}

func (p *prefixed) copy(name string, r io.Reader) {
	lines := bufio.NewReader(r)
	for {
		text, err := lines.ReadString('\n')
		if text != "" {
			p.line(name, strings.TrimRight(text, "\n"))
		}
		if err != nil {
			return
		}
	}
}

func (p *prefixed) line(name, text string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.w, "%s | %s\n", name, text)
}
