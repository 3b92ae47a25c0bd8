package main

import (
	"bytes"
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// median of an even number of values is the mean of the two in the middle.
func median(values []float64) float64 {
	v := slices.Sorted(slices.Values(values))
	if len(v) == 0 {
		return 0
	}
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// number writes a figure with its decimals, and commas between thousands.
func number(f float64, decimals int) string {
	s := strconv.FormatFloat(f, 'f', decimals, 64)
	whole, rest, _ := strings.Cut(s, ".")
	for i := len(whole) - 3; i > 0 && whole[i-1] != '-'; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		whole += "." + rest
	}
	return whole
}

// values are the runs of a system, of one figure.
func (m *measurement) values(system string, of *metric) (v []float64) {
	for _, f := range m.runs[system] {
		if x, ok := f[of]; ok {
			v = append(v, x)
		}
	}
	return v
}

// cell is the median with minimum and maximum.
func cell(v []float64, decimals int) string {
	if len(v) == 0 {
		return "–"
	}
	s := number(median(v), decimals)
	if len(v) > 1 {
		s += fmt.Sprintf(" (%s–%s)", number(slices.Min(v), decimals), number(slices.Max(v), decimals))
	}
	return s
}

// aim says what a figure should be, and whether it is not.
func (w want) text(ours []float64) string {
	if w.aim == 0 {
		return ""
	}
	sign, missed := "≤", median(ours) > w.aim
	if w.metric.more {
		sign, missed = "≥", median(ours) < w.aim
	}
	text := sign + " " + strings.TrimSuffix(strings.TrimRight(number(w.aim, 2), "0"), ".")
	if missed && len(ours) > 0 {
		text += " missed"
	}
	return text
}

// ratio is how many times better ours is.
func ratio(ours, theirs []float64, moreIsBetter bool) string {
	a, b := median(ours), median(theirs)
	if !moreIsBetter {
		a, b = b, a
	}
	if len(ours) == 0 || len(theirs) == 0 || b == 0 {
		return "–"
	}
	return fmt.Sprintf("%.2f", a/b)
}

// report is the whole of bench/results.md.
func report(found []*measurement, systems []*system, now time.Time) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "# Benchmark results\n\nmachine: %s  \ncommit: %s  \ndate: %s  \ncommand: `%s`\n\n",
		machine(), commit(), now.UTC().Format("2006-01-02 15:04 UTC"), options.command)
	fmt.Fprintf(&b, "Medians of %d runs of %v after %v of warm-up, minimum and maximum in parentheses; client and servers on one machine.\n"+
		"CPU is that of the servers, all of them together; client cores is the generator's: near the number of cores it is the limit.\n"+
		"Where a row does not say durable, nothing waits for the disk (flush.messages=%s).\n", options.runs, options.time(), options.warmup(), neverFlush)
	if len(systems) > 1 {
		fmt.Fprintf(&b, "Ratio: how many times better chronik is, so above 1 it is more throughput or less time. Systems by turns, Kafka warmed up for %v;\n"+
			"rows about starts, topics and kills are of new nodes.\n", options.warm)
	}
	var header strings.Builder
	header.WriteString("\n| # | row | figure | aim |")
	for _, s := range systems {
		header.WriteString(" " + s.name + " |")
	}
	if len(systems) > 1 {
		header.WriteString(" ratio |")
	}
	fmt.Fprintf(&b, "%s\n%s\n", header.String(), strings.Repeat("|---", strings.Count(header.String(), "|")-1)+"|")
	inOrder := slices.SortedStableFunc(slices.Values(found), func(x, y *measurement) int { return cmp.Compare(x.row.number, y.row.number) })
	for _, m := range inOrder {
		m.lines(&b, systems)
	}
	var notes strings.Builder
	for _, m := range inOrder {
		for _, s := range systems {
			if why := m.failed[s.name]; why != "" {
				fmt.Fprintf(&notes, "- row %d, %s, %s: %s\n", m.row.number, m.row.name, s.name, strings.ReplaceAll(why, "\n", " "))
			}
		}
	}
	if notes.Len() > 0 {
		fmt.Fprintf(&b, "\nNot measured:\n\n%s", notes.String())
	}
	return b.Bytes()
}

// lines are the table's lines of a row, one a figure.
func (m *measurement) lines(b *bytes.Buffer, systems []*system) {
	wants := m.row.wants
	if m.row.load != nil {
		wants = append(slices.Clip(wants), want{clientCores, 0})
	}
	for i, w := range wants {
		first := [2]string{}
		if i == 0 {
			first = [2]string{fmt.Sprint(m.row.number), m.row.name}
		}
		ours := m.values("chronik", w.metric)
		fmt.Fprintf(b, "| %s | %s | %s | %s |", first[0], first[1], w.metric.name, w.text(ours))
		for _, s := range systems {
			fmt.Fprintf(b, " %s |", cell(m.values(s.name, w.metric), w.metric.decimal))
		}
		if len(systems) > 1 {
			better := "–"
			if w.metric != clientCores {
				better = ratio(ours, m.values(systems[1].name, w.metric), w.metric.more)
			}
			fmt.Fprintf(b, " %s |", better)
		}
		fmt.Fprintln(b)
	}
}

// write prints the report, and puts it into a file unless path is empty.
func write(text []byte, path string) error {
	if _, err := os.Stdout.Write(text); err != nil || path == "" {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
