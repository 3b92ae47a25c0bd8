package group

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

var rewrite = flag.Bool("rewrite", false, "write testdata/*.txt instead of comparing")

// TestScripts plays the scripts of testdata. A script is a list of blocks: what happens, a line
// of four dashes, what comes out. Each begins with a group that nobody made:
//
//	join NAME [id=…] [instance=…] [protocols=range,…] [topics=t,…] [type=…] [session=…] [rebalance=…] [known] [skip]
//	sync NAME id=… gen=… [instance=…] [assign=id:text,…] [protocol=…] [type=…] [required]
//	heartbeat NAME id=… gen=… [instance=…]
//	leave NAME id id@instance @instance …
//	commit NAME [id=…] [gen=…] [instance=…] [retention=…] [topic-id=…] [notfound] topic:partition=offset[/text] …
//	delete-offsets NAME topic:partition …       delete NAME       topic-deleted TOPIC/ID
//	after DURATION      time passes; the group is told of it at each of its deadlines
//	hold                from here on appends wait for   stored [n=…] [err=CODE]
//	set initial=… max-size=… max-metadata=… retention=… check=… min-session=… max-session=…
//	describe            members and offsets
//	resign              the group ends
//	reload              and another one is loaded from what was stored
//	new                 and another one is made by nobody
func TestScripts(t *testing.T) {
	scripts, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(scripts) == 0 {
		t.Fatal("no scripts: ", err)
	}
	for _, path := range scripts {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txt"), func(t *testing.T) { play(t, path) })
	}
}

// play runs one script and compares it with what it says, or writes that down.
func play(t *testing.T, path string) {
	said, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	s := newScript()
	var is bytes.Buffer
	for i, block := range strings.Split(strings.TrimSpace(string(said)), "\n\n") {
		happens, _, _ := strings.Cut(block, "\n----")
		for line := range strings.SplitSeq(happens, "\n") {
			if err := s.line(line); err != nil {
				t.Fatalf("%s: %q: %v", path, line, err)
			}
		}
		if i > 0 {
			is.WriteByte('\n')
		}
		fmt.Fprintf(&is, "%s\n----\n%s%s\n", happens, s.take(), s.state())
	}
	s.resign()
	if err := s.ledger.check(); err != nil {
		t.Error(err)
	}
	if *rewrite {
		if err := os.WriteFile(path, is.Bytes(), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	compareLines(t, path, string(said), is.String())
}

// compareLines fails at the first line that differs.
func compareLines(t *testing.T, path, want, is string) {
	t.Helper()
	a, b := strings.Split(want, "\n"), strings.Split(is, "\n")
	for i := range max(len(a), len(b)) {
		line := func(of []string) string {
			if i < len(of) {
				return of[i]
			}
			return "(nothing)"
		}
		if line(a) != line(b) {
			t.Fatalf("%s:%d: not as it was; -rewrite takes it over\nwas %s\nis  %s", path, i+1, line(a), line(b))
		}
	}
}

// script is a group under a clock of its own, and a log that answers at once unless it is held.
type script struct {
	g      *Group
	cfg    Config
	now    time.Time
	hold   bool
	held   []Append
	log    []Append // stored, in order
	ids    map[string]int
	out    bytes.Buffer
	ledger ledger
}

var began = time.UnixMilli(1_700_000_000_000)

func newScript() *script {
	return &script{
		g: New("g"), now: began, ids: map[string]int{}, ledger: ledger{},
		cfg: Config{
			MinSession: time.Second, MaxSession: time.Hour, MaxSize: 100, MaxMetadata: 8,
			Retention: time.Hour, RetentionCheck: 10 * time.Minute,
		},
	}
}

// line does what one line says.
func (s *script) line(line string) error {
	line, _, _ = strings.Cut(line, "#")
	words := strings.Fields(line)
	if len(words) == 0 {
		return nil
	}
	verb, args := words[0], words[1:]
	switch verb {
	case "new":
		s.resign()
		*s = script{g: New("g"), cfg: s.cfg, now: s.now, ids: map[string]int{}, ledger: s.ledger, out: s.out}
	case "set":
		return s.set(parseArgs(args))
	case "after":
		d, err := time.ParseDuration(args[0])
		s.after(d)
		return err
	case "hold":
		s.hold = true
	case "stored":
		return s.stored(parseArgs(args))
	case "describe":
		s.describe()
	case "reload":
		s.reload()
	case "resign":
		s.resign()
	case "topic-deleted":
		name, n, _ := strings.Cut(args[0], "/")
		s.step(TopicDeleted{name, topicID(n)})
	default:
		ev, err := s.request(verb, args)
		if err != nil {
			return err
		}
		s.step(ev)
	}
	return nil
}

// step has the group take an event, writes down what it does and plays the log.
func (s *script) step(ev Event) {
	if token := tokenOf(ev); token != nil {
		s.ledger.asked(token)
	}
	for _, effect := range s.g.Step(s.now, &s.cfg, ev) {
		switch e := effect.(type) {
		case Reply:
			s.ledger.answered(e.Token)
			fmt.Fprintf(&s.out, "%s: %s\n", e.Token.(*token).name, responseText(e.Response))
		case Append:
			fmt.Fprintf(&s.out, "log %d: %s\n", e.Seq, appendText(&e))
			s.held = append(s.held, e)
		}
	}
	for !s.hold && len(s.held) > 0 {
		a := s.held[0]
		s.held = s.held[1:]
		s.log = append(s.log, a)
		s.step(Appended{Seq: a.Seq})
	}
}

// stored has the log answer for one append that is held, the first if none is named.
func (s *script) stored(a arguments) error {
	if len(s.held) == 0 {
		return fmt.Errorf("nothing is held")
	}
	first, err := s.held[0], error(nil)
	s.held = s.held[1:]
	if code := a.named["err"]; code != "" {
		if err = kerrNamed(code); err == nil {
			return fmt.Errorf("no error %s", code)
		}
	} else {
		s.log = append(s.log, first)
	}
	s.step(Appended{Seq: first.Seq, Err: err})
	return nil
}

func kerrNamed(name string) error {
	for code := range int16(200) {
		if e := kerr.ErrorForCode(code); e != nil && strings.EqualFold(kerr.TypedErrorForCode(code).Message, name) {
			return e
		}
	}
	return nil
}

// after lets time pass, and the group hear of it when it wants to.
func (s *script) after(d time.Duration) {
	end := s.now.Add(d)
	for {
		next := s.g.Deadline()
		if next.IsZero() || next.After(end) {
			break
		}
		s.now = next
		fmt.Fprintf(&s.out, "at %v\n", s.now.Sub(began))
		s.step(Tick{})
		if at := s.g.Deadline(); !at.IsZero() && !at.After(s.now) {
			fmt.Fprintf(&s.out, "!! Deadline is not after the Tick at it\n")
			break
		}
	}
	s.now = end
}

// reload loads another group from the log.
func (s *script) reload() {
	s.resign()
	s.g = loaded(s.log)
	s.g.Loaded(s.now, &s.cfg)
	s.hold = false
}

// resign ends the group, which answers whoever waits.
func (s *script) resign() {
	s.held = nil
	s.step(Resign{})
}

// loaded is the group that appends make.
func loaded(log []Append) *Group {
	g := New("g")
	for _, a := range log {
		for _, o := range a.Offsets {
			g.LoadOffset(o)
		}
		for _, tp := range a.DeletedOffsets {
			g.LoadDeletedOffset(tp)
		}
		if a.Metadata != nil {
			g.LoadMetadata(a.Metadata)
		}
		if a.DeletedGroup {
			g.LoadDeletedGroup()
		}
	}
	return g
}

// ledger counts the answers of each request.
type ledger map[any]int

func (l ledger) asked(token any) { l[token] = 0 }

func (l ledger) answered(token any) { l[token]++ }

// check says whether somebody was not answered once.
func (l ledger) check() error {
	for tok, n := range l {
		if n != 1 {
			return fmt.Errorf("%s was answered %d times", tok.(*token).name, n)
		}
	}
	return nil
}

// open are the requests that have no answer yet.
func (l ledger) open() int {
	n := 0
	for _, answers := range l {
		if answers == 0 {
			n++
		}
	}
	return n
}

func tokenOf(ev Event) any {
	switch ev := ev.(type) {
	case Join:
		return ev.Token
	case Sync:
		return ev.Token
	case Heartbeat:
		return ev.Token
	case Leave:
		return ev.Token
	case Commit:
		return ev.Token
	case DeleteOffsets:
		return ev.Token
	case Delete:
		return ev.Token
	}
	return nil
}
