package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// system is a broker that is measured.
type system struct {
	name string
	// prepare makes an empty node before its first start; nil: nothing is needed.
	prepare func(n *node, all []*node) error
	command func(n *node, all []*node) *exec.Cmd
	warm    bool // it has a compiler that needs load before it is measured
	// running is a system that others started; its nodes are left alone.
	running *node
	pids    []int // of running
}

func chronikSystem(bin string) *system {
	return &system{name: "chronik", command: func(n *node, all []*node) *exec.Cmd {
		args := []string{
			"start", "--node-id", fmt.Sprint(n.id), "--data-dir", n.data(), "--listen", n.kafka, "--http-listen", n.ports[0],
			"--etcd-listen", n.ports[1], "--peer-listen", n.ports[2],
		}
		if len(all) > 1 {
			var peers []string
			for _, p := range all {
				peers = append(peers, fmt.Sprintf("%d=%s", p.id, p.ports[2]))
			}
			args = append(args, "--peers", strings.Join(peers, ","))
		}
		return exec.Command(bin, append(args, n.args...)...)
	}}
}

// kafkaJVM is what kafka-server-start gives a broker, with a heap of 1 GiB.
const kafkaJVM = "KAFKA_JVM=-Xmx1g -Xms1g -server -XX:+UseG1GC -XX:MaxGCPauseMillis=20 " +
	"-XX:InitiatingHeapOccupancyPercent=35 -XX:+ExplicitGCInvokesConcurrent"

// kafkaSettings have the bytes of a deleted topic gone before the next run.
const kafkaSettings = "KAFKA_PROPERTIES=log.segment.delete.delay.ms=100"

func kafkaSystem(script string) *system {
	port := func(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }
	return &system{
		name: "Kafka", warm: true,
		prepare: func(n *node, all []*node) error {
			args := []string{"format", n.data(), port(n.kafka), port(n.ports[0])}
			if len(all) > 1 {
				var voters []string
				for _, p := range all {
					voters = append(voters, fmt.Sprintf("%d@%s", p.id, p.ports[0]))
				}
				args = append(args, fmt.Sprint(n.id), strings.Join(voters, ","))
			}
			cmd := exec.Command(script, args...)
			cmd.Env = append(os.Environ(), kafkaSettings)
			if out, err := cmd.CombinedOutput(); err != nil {
				return fmt.Errorf("%s format: %w\n%s", filepath.Base(script), err, out)
			}
			return nil
		},
		command: func(n *node, _ []*node) *exec.Cmd {
			cmd := exec.Command(script, "start", n.data())
			cmd.Env = append(os.Environ(), kafkaJVM)
			return cmd
		},
	}
}

// runningSystem is a Kafka that is there already: all its servers, and their processes.
func runningSystem(servers string, pids []int) *system {
	return &system{name: "Kafka", warm: true, running: &node{id: 1, kafka: servers}, pids: pids}
}
