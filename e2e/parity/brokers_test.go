//go:build parity

package parity

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

var (
	other      = flag.String("other", "chronik", "whom to compare with Kafka: chronik or kafka")
	wait       = flag.Duration("patience", patience, "how long an answer may take")
	chronikBin = flag.String("chronik", "", "a built chronik; default: build it")
)

// startBoth starts a fresh Kafka and the other broker, side by side.
func startBoth(t *testing.T) (kafka, ours *broker) {
	t.Helper()
	patience = *wait
	needKafka(t)
	var starting sync.WaitGroup
	kafka, ours = &broker{name: "kafka"}, &broker{name: *other}
	commands := []*exec.Cmd{kafkaCommand(t, kafka), nil}
	if *other == "kafka" {
		commands[1] = kafkaCommand(t, ours)
	} else {
		commands[1] = chronikCommand(t, ours)
	}
	errs := make([]error, 2)
	for i, b := range []*broker{kafka, ours} {
		starting.Go(func() { errs[i] = start(t, b, commands[i]) })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	agree(t, kafka, ours)
	return kafka, ours
}

// needKafka skips when Kafka cannot run here.
func needKafka(t *testing.T) {
	t.Helper()
	if _, err := exec.LookPath("java"); err != nil {
		t.Skip("Apache Kafka needs Java 17 or newer: install default-jre-headless")
	}
	if out, err := exec.Command("../kafka/kafka.sh", "fetch").CombinedOutput(); err != nil {
		t.Skipf("Apache Kafka could not be fetched (needs mvn): %v\n%s", err, out)
	}
}

func kafkaCommand(t *testing.T, b *broker) *exec.Cmd {
	ports := freePorts(t, 2)
	b.addr = "127.0.0.1:" + ports[0]
	return exec.Command("../kafka/kafka.sh", "run", t.TempDir(), ports[0], ports[1])
}

func chronikCommand(t *testing.T, b *broker) *exec.Cmd {
	bin := *chronikBin
	if bin == "" {
		bin = filepath.Join(t.TempDir(), "chronik")
		build := exec.Command("go", "build", "-buildvcs=false", "-o", bin, ".")
		build.Dir = "../.."
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("go build: %v\n%s", err, out)
		}
	}
	ports := freePorts(t, 3)
	b.addr = "127.0.0.1:" + ports[0]
	return exec.Command(bin, "start", "--node-id", "1", "--data-dir", filepath.Join(t.TempDir(), "data"), "--listen", b.addr,
		"--etcd-listen", "127.0.0.1:"+ports[1], "--peer-listen", "127.0.0.1:"+ports[2], "--http-listen", "",
		"--set", "group.initial.rebalance.delay.ms=0", "--set", "offsets.topic.replication.factor=1")
}

// start runs a broker until the test ends and waits until it makes a topic.
func start(t *testing.T, b *broker, cmd *exec.Cmd) error {
	path := filepath.Join(t.TempDir(), "log")
	log, err := os.Create(path)
	if err != nil {
		return err
	}
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return err
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // killed below, or seen as an answer that does not come
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // gone already is fine
		<-exited
		log.Close()
		if text, err := os.ReadFile(path); err == nil && t.Failed() {
			t.Logf("end of the log of %s:\n%s", b.name, text[max(0, len(text)-4096):])
		}
	})
	return awake(b, exited)
}

func awake(b *broker, exited <-chan struct{}) error {
	began := time.Now()
	for {
		err := b.ready()
		if err == nil {
			fmt.Printf("%s answers on %s after %v\n", b.name, b.addr, time.Since(began).Round(time.Millisecond))
			return nil
		}
		select {
		case <-exited:
			return fmt.Errorf("%s has exited", b.name)
		case <-time.After(50 * time.Millisecond):
		}
		if time.Since(began) > time.Minute {
			return fmt.Errorf("%s does not answer after a minute: %w", b.name, err)
		}
	}
}

// ready asks for the versions and makes a first topic.
func (b *broker) ready() error {
	c, err := dial(b.addr)
	if err != nil {
		return err
	}
	defer c.Close()
	s := &script{broker: b, conn: c}
	versions, _, err := s.exchange(kmsg.NewPtrApiVersionsRequest())
	if err != nil {
		return err
	}
	b.newest = map[int16]int16{}
	b.oldest = map[int16]int16{}
	for _, k := range versions.(*kmsg.ApiVersionsResponse).ApiKeys {
		b.oldest[k.ApiKey], b.newest[k.ApiKey] = k.MinVersion, k.MaxVersion
	}
	req := kmsg.NewPtrCreateTopicsRequest()
	req.SetVersion(5)
	req.TimeoutMillis = 10_000
	req.Topics = append(req.Topics, newTopic("first", 1))
	created, _, err := s.exchange(req)
	if err != nil {
		return err
	}
	return kerr.ErrorForCode(created.(*kmsg.CreateTopicsResponse).Topics[0].ErrorCode)
}

// agree leaves each broker with the versions that both have and kmsg knows.
func agree(t *testing.T, a, b *broker) {
	for key := range apis {
		k := int16(key)
		newest := min(a.newest[k], b.newest[k], kmsg.RequestForKey(k).MaxVersion())
		oldest := max(a.oldest[k], b.oldest[k])
		t.Logf("%s: v%d–%d (%s %d–%d, %s %d–%d)", key.Name(), oldest, newest,
			a.name, a.oldest[k], a.newest[k], b.name, b.oldest[k], b.newest[k])
		a.newest[k], b.newest[k], a.oldest[k], b.oldest[k] = newest, newest, oldest, oldest
	}
}

func freePorts(t *testing.T, n int) []string {
	t.Helper()
	var ports []string
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close() // at the end, so that none is found twice
		_, port, err := net.SplitHostPort(l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		ports = append(ports, port)
	}
	return ports
}
