//go:build interop

package e2e

import (
	"strings"
	"testing"
)

// The ledger must find what the stories of groups look for.
func TestInteropLedger(t *testing.T) {
	const end = 3 // of partition 0
	for _, c := range []struct{ name, history, want string }{
		{"good", "a assigned 1 0; a 0 0 x; a 0 1 y; a committed 0 2; a revoked 0; b assigned 2 0; b 0 2 z", ""},
		{"twice after no commit", "a assigned 1 0; a 0 0 x; a 0 1 y; b assigned 2 0; b 0 0 x; b 0 1 y; b 0 2 z", ""},
		{"from the start again", "a assigned 1 0; a 0 0 x; a 0 1 y; a committed 0 2; b assigned 2 0; b 0 0 x; b 0 1 y; b 0 2 z", "starts at 0, committed was 2"},
		{"two owners", "a assigned 4 0 1; b assigned 4 1 2; a 0 0 x; a 0 1 y; a 0 2 z", "belongs to a as well"},
		{"generation goes back", "a assigned 4 0; a assigned 3 0; a 0 0 x; a 0 1 y; a 0 2 z", "generation 3 comes after 4"},
		{"jump", "a assigned 1 0; a 0 0 x; a 0 2 z; b assigned 2 0; b 0 1 y", "goes on at 2, not at 1"},
		{"back", "a assigned 1 0; a 0 0 x; a 0 1 y; a 0 0 x; a 0 1 y; a 0 2 z", "goes on at 0, not at 2"},
		{"lost", "a assigned 1 0; a 0 0 x; a committed 0 2; b assigned 2 0; b 0 2 z", "offset 1 was never consumed"},
		{"too much", "a assigned 1 0; a 0 0 x; a 0 1 y; a 0 2 z; a 0 3 z", "4 offsets were consumed, it has 3"},
		{"another value", "a assigned 1 0; a 0 0 x; a 0 1 y; a 0 2 z; b assigned 2 0; b 0 0 w", `holds "w" and held "x"`},
		{"not a line", "a assigned 1 0; a 0 0 x; a 0 1 y; a 0 2 z; a Traceback", "not a line"},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := newLedger("t")
			members := map[string]*ledgerMember{"a": l.member("a"), "b": l.member("b")}
			for one := range strings.SplitSeq(c.history, "; ") {
				who, line, _ := strings.Cut(one, " ")
				if err := members[who].line(line); err != nil {
					l.faults = append(l.faults, err)
				}
			}
			if err := l.whole(0, end); err != nil {
				l.faults = append(l.faults, err)
			}
			var found []string
			for _, err := range l.faults {
				found = append(found, err.Error())
			}
			got := strings.Join(found, "; ")
			if (c.want == "") != (got == "") || !strings.Contains(got, c.want) {
				t.Errorf("found %q, want %q", got, c.want)
			}
		})
	}
}
