package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/urfave/cli/v2"
)

// benchResult is what a measurement found.
type benchResult struct {
	Mode            string   `json:"mode"`
	Topic           string   `json:"topic"`
	Raw             bool     `json:"raw"`
	Concurrency     int      `json:"concurrency"`
	InFlight        int      `json:"inFlight"`
	Partitions      int      `json:"partitions"`
	MessageSize     int      `json:"messageSize"`
	Acks            string   `json:"acks"`
	Compression     string   `json:"compression"`
	Seconds         float64  `json:"seconds"`
	Records         int64    `json:"records"`
	Bytes           int64    `json:"bytes"`
	Requests        int64    `json:"requests"`
	Failed          int64    `json:"failed"`
	RecordsPerSec   float64  `json:"recordsPerSecond"`
	RequestsPerSec  float64  `json:"requestsPerSecond"`
	MBPerSec        float64  `json:"mbPerSecond"`
	Latency         latency  `json:"latencyMs"`
	ClientCPU       float64  `json:"clientCpuSeconds"`
	ServerCPU       *float64 `json:"serverCpuSeconds,omitempty"`
	ServerCPUPerGB  *float64 `json:"serverCpuSecondsPerGb,omitempty"`
	ServerCPUMicros *float64 `json:"serverCpuMicrosPerRequest,omitempty"`
	ServerRSS       *int64   `json:"serverRssBytes,omitempty"`
}

// latency is in milliseconds.
type latency struct {
	P50  float64 `json:"p50"`
	P90  float64 `json:"p90"`
	P99  float64 `json:"p99"`
	P999 float64 `json:"p999"`
	Max  float64 `json:"max"`
}

func newResult(cfg *benchConfig, rec *recorder, used usage) *benchResult {
	secs := cfg.duration.Seconds()
	h := rec.merged()
	ms := func(q float64) float64 { return float64(h.ValueAtQuantile(q)) / 1000 }
	r := &benchResult{
		Mode: cfg.mode, Topic: cfg.topic, Raw: cfg.raw, Concurrency: cfg.workers, InFlight: cfg.inFlight,
		Partitions: cfg.partitions, MessageSize: cfg.size, Acks: cfg.acks, Compression: cfg.compression,
		Seconds: secs, Records: rec.records.Load(), Bytes: rec.bytes.Load(), Requests: rec.requests.Load(), Failed: rec.failed.Load(),
		Latency: latency{ms(50), ms(90), ms(99), ms(99.9), float64(h.Max()) / 1000}, ClientCPU: used.client,
	}
	r.RecordsPerSec, r.RequestsPerSec, r.MBPerSec = float64(r.Records)/secs, float64(r.Requests)/secs, float64(r.Bytes)/secs/1e6
	if used.known {
		perGB, perRequest := used.server/max(float64(r.Bytes)/1e9, 1e-9), used.server*1e6/max(float64(r.Requests), 1)
		r.ServerCPU, r.ServerCPUPerGB, r.ServerCPUMicros, r.ServerRSS = &used.server, &perGB, &perRequest, &used.serverRSS
	}
	return r
}

// report prints the result, and writes it where that is asked for.
func report(c *cli.Context, r *benchResult) error {
	if path := c.String("json-output"); path == "-" {
		return writeJSON(c.App.Writer, r)
	} else if path != "" {
		if err := toFile(path, os.O_TRUNC, func(w io.Writer) error { return writeJSON(w, r) }); err != nil {
			return err
		}
	}
	if path := c.String("csv-output"); path != "" {
		if err := toFile(path, os.O_APPEND, r.csv); err != nil {
			return err
		}
	}
	return box(c.App.Writer, r.title(), r.lines())
}

func writeJSON(w io.Writer, r *benchResult) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

func toFile(path string, how int, write func(io.Writer) error) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|how, 0o644)
	if err != nil {
		return err
	}
	return errors.Join(write(f), f.Close())
}

// csv appends a line, after a heading when the file is new.
func (r *benchResult) csv(w io.Writer) error {
	if f, ok := w.(*os.File); ok {
		if st, err := f.Stat(); err == nil && st.Size() == 0 {
			fmt.Fprintln(w, "time,mode,raw,concurrency,partitions,message_size,acks,seconds,records,bytes,failed,records_per_s,mb_per_s,p50_ms,p99_ms,max_ms")
		}
	}
	_, err := fmt.Fprintf(w, "%s,%s,%t,%d,%d,%d,%s,%.3f,%d,%d,%d,%.1f,%.3f,%.3f,%.3f,%.3f\n",
		time.Now().UTC().Format(time.RFC3339), r.Mode, r.Raw, r.Concurrency, r.Partitions, r.MessageSize, r.Acks, r.Seconds,
		r.Records, r.Bytes, r.Failed, r.RecordsPerSec, r.MBPerSec, r.Latency.P50, r.Latency.P99, r.Latency.Max)
	return err
}

func (r *benchResult) title() string {
	raw := ""
	if r.Raw {
		raw = " (raw)"
	}
	return fmt.Sprintf("%s%s  %d × %d in flight, %d B records, acks %s, %s, %d partitions",
		r.Mode, raw, r.Concurrency, r.InFlight, r.MessageSize, r.Acks, r.Compression, r.Partitions)
}

func (r *benchResult) lines() []string {
	lines := []string{
		fmt.Sprintf("throughput   %12.0f records/s   %10.1f MB/s   %10.0f requests/s", r.RecordsPerSec, r.MBPerSec, r.RequestsPerSec),
		fmt.Sprintf("latency      p50 %.2f   p90 %.2f   p99 %.2f   p99.9 %.2f   max %.2f ms", r.Latency.P50, r.Latency.P90, r.Latency.P99, r.Latency.P999, r.Latency.Max),
		fmt.Sprintf("sent         %d records, %.1f MB in %.1f s, %d failed", r.Records, float64(r.Bytes)/1e6, r.Seconds, r.Failed),
		fmt.Sprintf("client CPU   %.2f s", r.ClientCPU),
	}
	if r.ServerCPU != nil {
		lines = append(lines, fmt.Sprintf("server CPU   %.2f s   %.2f s/GB   %.1f µs/request   RSS %.0f MB",
			*r.ServerCPU, *r.ServerCPUPerGB, *r.ServerCPUMicros, float64(*r.ServerRSS)/1e6))
	}
	return lines
}

// box draws a frame around lines.
func box(w io.Writer, title string, lines []string) error {
	width := utf8.RuneCountInString(title)
	for _, l := range lines {
		width = max(width, utf8.RuneCountInString(l))
	}
	pad := func(s string) string { return s + strings.Repeat(" ", width-utf8.RuneCountInString(s)) }
	var b strings.Builder
	fmt.Fprintf(&b, "┌─%s─┐\n│ %s │\n├─%s─┤\n", strings.Repeat("─", width), pad(title), strings.Repeat("─", width))
	for _, l := range lines {
		fmt.Fprintf(&b, "│ %s │\n", pad(l))
	}
	fmt.Fprintf(&b, "└─%s─┘\n", strings.Repeat("─", width))
	_, err := io.WriteString(w, b.String())
	return err
}
