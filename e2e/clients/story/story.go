// Package story is the command line that the Go drivers share: the records, and which
// method tells which story. See ../README.md.
package story

import (
	"bytes"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

// Record is a record as a story knows it; nil is null.
type Record struct {
	Key, Value []byte
	Headers    [][2]string
}

// Driver tells the stories with one client library.
type Driver interface {
	List() ([]string, error)
	Create(topic string, partitions int) error
	Describe(topic string) (partitions int, err error)
	Alter(topic, name, value string) (readBack string, err error)
	Delete(topic string) error
	// Produce writes to partition 0 and waits for every acknowledgement.
	Produce(topic, codec string, records []Record) error
	// Consume calls fn with count records of partition 0, from the start.
	Consume(topic string, count int, fn func(offset int64, r Record) error) error
	Large(topic string, value []byte) error
	// Idempotent writes parts one after the other, with a pause after each.
	Idempotent(topic string, parts [][]Record, pause time.Duration) error
	Groups
}

// Plain is the plain record i.
func Plain(i int) Record {
	return Record{Key: fmt.Appendf(nil, "key-%d", i%100), Value: fmt.Appendf(nil, "value-%d-%s", i, strings.Repeat("x", 80))}
}

// Odd is the odd record i.
func Odd(i int) Record {
	r := Record{Headers: [][2]string{{"h1", "one"}, {"h2", "two"}}}
	if i%5 != 0 {
		r.Key = fmt.Appendf(nil, "k%d", i)
	}
	if i%3 != 1 {
		r.Value = fmt.Appendf(nil, "v%d", i)
	}
	return r
}

func records(n int, nth func(int) Record) []Record {
	all := make([]Record, n)
	for i := range all {
		all[i] = nth(i)
	}
	return all
}

// Main runs the story that the command line names and exits.
func Main(connect func(bootstrap string) (Driver, error)) {
	mainWith(func(bootstrap, story string, args []string) error {
		d, err := connect(bootstrap)
		if err != nil {
			return err
		}
		return run(d, story, args)
	})
}

// MainGroups is Main for a driver that tells the stories of groups only.
func MainGroups(connect func(bootstrap string) (Groups, error)) {
	mainWith(func(bootstrap, story string, args []string) error {
		d, err := connect(bootstrap)
		if err != nil {
			return err
		}
		return runGroups(d, story, append(args, "", "", ""))
	})
}

func mainWith(tell func(bootstrap, story string, args []string) error) {
	if len(os.Args) < 3 {
		fmt.Fprintln(os.Stderr, "usage: driver BOOTSTRAP STORY ARGS...")
		os.Exit(2)
	}
	if err := tell(os.Args[1], os.Args[2], os.Args[3:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(d Driver, story string, args []string) error {
	args = append(args, "", "", "")
	topic := args[0]
	switch story {
	case "list":
		names, err := d.List()
		for _, name := range names {
			fmt.Println(name)
		}
		return err
	case "create":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return d.Create(topic, n)
	case "describe":
		n, err := d.Describe(topic)
		fmt.Println(n)
		return err
	case "alter":
		value, err := d.Alter(topic, "retention.ms", "123456789")
		fmt.Println(value)
		return err
	case "delete":
		return d.Delete(topic)
	default:
		return runRecords(d, story, topic, args[1:])
	}
}

func runRecords(d Driver, story, topic string, args []string) error {
	switch story {
	case "produce":
		n, err := strconv.Atoi(args[1])
		if err != nil {
			return err
		}
		return d.Produce(topic, args[0], records(n, Plain))
	case "consume":
		n, err := strconv.Atoi(args[0])
		if err != nil {
			return err
		}
		return consume(d, topic, n, Plain)
	case "produce-odd":
		return d.Produce(topic, "none", records(10, Odd))
	case "consume-odd":
		return consume(d, topic, 10, Odd)
	case "large":
		return large(d, topic, args[0])
	case "idempotent":
		return idempotent(d, topic, args[0], args[1])
	default:
		return runGroups(d, story, append([]string{topic}, args...))
	}
}

func consume(d Driver, topic string, n int, nth func(int) Record) error {
	i := 0
	err := d.Consume(topic, n, func(offset int64, got Record) error {
		want := nth(i)
		if offset != int64(i) {
			return fmt.Errorf("offset %d where %d was expected", offset, i)
		}
		if !same(got, want) {
			return fmt.Errorf("record %d: %q %q %q, want %q %q %q", i, got.Key, got.Value, got.Headers, want.Key, want.Value, want.Headers)
		}
		i++
		return nil
	})
	if err == nil && i != n {
		err = fmt.Errorf("%d records of %d came", i, n)
	}
	return err
}

func same(a, b Record) bool {
	return bytes.Equal(a.Key, b.Key) && (a.Key == nil) == (b.Key == nil) &&
		bytes.Equal(a.Value, b.Value) && (a.Value == nil) == (b.Value == nil) &&
		fmt.Sprint(a.Headers) == fmt.Sprint(b.Headers)
}

func large(d Driver, topic, size string) error {
	n, err := strconv.Atoi(size)
	if err != nil {
		return err
	}
	if err := d.Large(topic, bytes.Repeat([]byte("x"), n)); err != nil {
		fmt.Println("refused:", err)
	} else {
		fmt.Println("written")
	}
	return nil
}

func idempotent(d Driver, topic, count, seconds string) error {
	n, err := strconv.Atoi(count)
	if err != nil {
		return err
	}
	s, err := strconv.ParseFloat(seconds, 64)
	if err != nil {
		return err
	}
	const steps = 50
	all := records(n, Plain)
	var parts [][]Record
	for i := range steps {
		parts = append(parts, all[i*n/steps:(i+1)*n/steps])
	}
	return d.Idempotent(topic, parts, time.Duration(s*float64(time.Second)/steps))
}
