package story

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"sync"
)

// Groups is what a driver does with consumer groups.
type Groups interface {
	// Join is the life of one member: it starts a partition without a committed offset at
	// its first record, hands every record to m, commits, and leaves when m is done or ctx
	// ends. What is committed is exactly what m has taken.
	Join(ctx context.Context, m *Member) error
	GroupList() ([]string, error)
	GroupState(group string) (string, error)
	GroupOffsets(group, topic string) (map[int]int64, error)
	// GroupRewind commits offset 0 for the partitions of a topic.
	GroupRewind(group, topic string, partitions []int) error
	GroupDelete(group string) error
}

// Member is what a member of a group is told, and prints what it consumes.
type Member struct {
	Topic, Group string
	mu           sync.Mutex
	left         int // records until it is done; negative without end
	out          *bufio.Writer
}

// Take prints a record. It says false, and prints nothing, when m has enough.
func (m *Member) Take(partition int32, offset int64, value []byte) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.left == 0 {
		return false
	}
	m.left--
	fmt.Fprintln(m.out, partition, offset, string(value))
	return true
}

// Done says that m has enough.
func (m *Member) Done() bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.left == 0
}

// Flush writes out what was printed; call it before a commit.
func (m *Member) Flush() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.out.Flush()
}

// join runs a member that ends after count records, or, when count is negative, at the
// end of stdin.
func join(d Groups, topic, group string, count int) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	m := &Member{Topic: topic, Group: group, left: count, out: bufio.NewWriter(os.Stdout)}
	if count < 0 {
		go func() {
			_, _ = io.Copy(io.Discard, os.Stdin) // however it ends, it is the end
			cancel()
		}()
	}
	if err := d.Join(ctx, m); err != nil {
		return err
	}
	return m.Flush()
}

func runGroups(d Groups, story string, args []string) error {
	switch story {
	case "group-consume":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		return join(d, args[0], args[1], n)
	case "group-member":
		return join(d, args[0], args[1], -1)
	case "groups":
		names, err := d.GroupList()
		for _, name := range names {
			fmt.Println(name)
		}
		return err
	case "group-state":
		state, err := d.GroupState(args[0])
		fmt.Println(state)
		return err
	case "group-offsets":
		return printOffsets(d, args[0], args[1])
	case "group-rewind":
		n, err := strconv.Atoi(args[2])
		if err != nil {
			return err
		}
		var partitions []int
		for p := range n {
			partitions = append(partitions, p)
		}
		return d.GroupRewind(args[0], args[1], partitions)
	case "group-delete":
		return d.GroupDelete(args[0])
	default:
		return fmt.Errorf("no story %s", story)
	}
}

func printOffsets(d Groups, group, topic string) error {
	offsets, err := d.GroupOffsets(group, topic)
	if err != nil {
		return err
	}
	var partitions []int
	for p := range offsets {
		partitions = append(partitions, p)
	}
	slices.Sort(partitions)
	for _, p := range partitions {
		fmt.Println(p, offsets[p])
	}
	return nil
}
