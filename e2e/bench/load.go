package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// load is a measurement by `chronik bench`.
type load struct {
	topic topic
	args  string // of chronik bench
	// fill are arguments that fill the topic first; "" is none.
	fill string
}

// answer is what is read of --json-output.
type answer struct {
	Seconds, RecordsPerSecond, RequestsPerSecond, MBPerSecond float64
	Latency                                                   struct{ P50, P99 float64 } `json:"latencyMs"`
	ClientCPUSeconds                                          float64
	ServerCPUSecondsPerGB, ServerCPUMicrosPerRequest          float64
	ServerCPUSeconds                                          float64
	ServerRSSBytes                                            float64
}

// figures are what a run found, by metric.
type figures map[*metric]float64

func (a *answer) figures() figures {
	return figures{
		mbps: a.MBPerSecond, records: a.RecordsPerSecond, requests: a.RequestsPerSecond,
		cpuPerGB: a.ServerCPUSecondsPerGB, cpuPerRequest: a.ServerCPUMicrosPerRequest,
		p50: a.Latency.P50, p99: a.Latency.P99, memory: a.ServerRSSBytes / 1e6,
		serverCores: a.ServerCPUSeconds / a.Seconds, clientCores: a.ClientCPUSeconds / a.Seconds,
	}
}

// run creates the topic, fills it, measures, and deletes it.
func (l load) run(ctx context.Context, c *cluster, name string) (figures, error) {
	if err := c.create(ctx, name, l.topic); err != nil {
		return nil, err
	}
	if l.fill != "" {
		if _, err := c.bench(ctx, name, fillTime, l.fill+" -w 0s"); err != nil {
			return nil, fmt.Errorf("fill: %w", err)
		}
	}
	settle()
	got, err := c.bench(ctx, name, options.time(), l.args)
	if err != nil {
		return nil, err
	}
	return got.figures(), c.remove(ctx, name)
}

// fillTime is how long a topic is filled that is then read: over a GB, within memory.
const fillTime = time.Second

// bench runs `chronik bench` against the cluster. Later arguments win.
func (c *cluster) bench(ctx context.Context, topic string, d time.Duration, args string) (*answer, error) {
	out, err := os.CreateTemp(options.dir, "chronik-bench-*.json")
	if err != nil {
		return nil, err
	}
	out.Close()
	defer os.Remove(out.Name())
	line := []string{
		"bench", "-b", c.bootstrap(), "-t", topic, "-d", d.String(), "-w", options.warmup().String(),
		"--report-interval-secs", "0", "--json-output", out.Name(),
	}
	for _, pid := range c.pids() {
		line = append(line, "--server-pid", fmt.Sprint(pid))
	}
	cmd := exec.CommandContext(ctx, options.chronik, append(line, strings.Fields(args)...)...)
	cmd.WaitDelay = time.Second
	if text, err := cmd.CombinedOutput(); err != nil {
		return nil, c.failed(fmt.Errorf("chronik bench %s: %w: %s", args, err, bytes.TrimSpace(text)))
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		return nil, err
	}
	var a answer
	return &a, json.Unmarshal(text, &a)
}
