package group

import (
	"fmt"
	"strings"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
)

// take is what came out since the last time.
func (s *script) take() string {
	text := s.out.String()
	s.out.Reset()
	return text
}

// state is a line that tells the group.
func (s *script) state() string {
	g := s.g
	text := fmt.Sprintf("= %s generation=%d", g.State(), g.gen.number)
	if n := len(g.members.order); n > 0 {
		text += fmt.Sprintf(" members=%d leader=%s", n, g.gen.leader)
	}
	if n := len(g.members.pending); n > 0 {
		text += fmt.Sprintf(" ids-out=%d", n)
	}
	if n := g.offsets.at.n; n > 0 {
		text += fmt.Sprintf(" offsets=%d", n)
	}
	if n := len(g.log.pending); n > 0 {
		text += fmt.Sprintf(" unstored=%d", n)
	}
	if n := s.ledger.open(); n > 0 {
		text += fmt.Sprintf(" waiting=%d", n)
	}
	if g.Gone() {
		text += " gone"
	}
	return text
}

// describe tells members and offsets as queries see them.
func (s *script) describe() {
	d := s.g.Describe()
	fmt.Fprintf(&s.out, "%s type=%q protocol=%q\n", d.State, d.ProtocolType, d.Protocol)
	for _, m := range d.Members {
		fmt.Fprintf(&s.out, "  %s%s client=%s%s assignment=%q metadata=%d\n", m.MemberID, at(m.InstanceID), m.ClientID, m.ClientHost, m.Assignment, len(m.Metadata))
	}
	for o := range s.g.Offsets() {
		fmt.Fprintf(&s.out, "  %s\n", offsetText(&o))
	}
}

func at(instance *string) string {
	if instance == nil {
		return ""
	}
	return "@" + *instance
}

func errText(err error) string {
	switch e, ok := err.(*kerr.Error); {
	case err == nil:
		return "ok"
	case ok:
		return e.Message
	}
	return "!! " + err.Error()
}

func errsText(err error, errs []error) string {
	if err != nil || errs == nil {
		return errText(err)
	}
	var all []string
	for _, err := range errs {
		all = append(all, errText(err))
	}
	return strings.Join(all, " ")
}

func responseText(r Response) string {
	switch r := r.(type) {
	case JoinResponse:
		return joinText(&r)
	case SyncResponse:
		if r.Err != nil {
			return errText(r.Err)
		}
		return fmt.Sprintf("synced %s/%s assignment=%q", *r.ProtocolType, *r.Protocol, r.Assignment)
	case HeartbeatResponse:
		return "heartbeat " + errText(r.Err)
	case LeaveResponse:
		return "leave " + errsText(r.Err, r.Errs)
	case CommitResponse:
		return "commit " + errsText(r.Err, r.Errs)
	case DeleteOffsetsResponse:
		return "delete-offsets " + errsText(r.Err, r.Errs)
	case DeleteResponse:
		return "delete " + errText(r.Err)
	}
	return fmt.Sprintf("!! %T", r)
}

func joinText(r *JoinResponse) string {
	if r.Err != nil {
		if r.Generation != -1 || r.Leader != "" || r.Members != nil {
			return fmt.Sprintf("!! more than an error: %+v", r)
		}
		return fmt.Sprintf("%s id=%s", errText(r.Err), r.MemberID)
	}
	text := fmt.Sprintf("joined id=%s generation=%d %s/%s leader=%s", r.MemberID, r.Generation, *r.ProtocolType, *r.Protocol, r.Leader)
	if r.SkipAssignment {
		text += " skip-assignment"
	}
	var members []string
	for _, m := range r.Members {
		members = append(members, m.MemberID+at(m.InstanceID))
	}
	if len(members) > 0 {
		text += " members=" + strings.Join(members, ",")
	}
	return text
}

func offsetText(o *OffsetRecord) string {
	text := fmt.Sprintf("%s:%d=%d epoch=%d", o.Topic, o.Partition, o.Offset, o.LeaderEpoch)
	if o.Metadata != "" {
		text += fmt.Sprintf(" text=%q", o.Metadata)
	}
	if o.ExpireTimestamp >= 0 {
		text += fmt.Sprintf(" until %v", time.UnixMilli(o.ExpireTimestamp).Sub(began))
	}
	return text
}

func appendText(a *Append) string {
	var all []string
	for i := range a.Offsets {
		all = append(all, offsetText(&a.Offsets[i]))
	}
	for _, tp := range a.DeletedOffsets {
		all = append(all, fmt.Sprintf("no %s:%d", tp.Topic, tp.Partition))
	}
	if m := a.Metadata; m != nil {
		var text strings.Builder
		fmt.Fprintf(&text, "generation=%d %s/%s leader=%s", m.Generation, m.ProtocolType, m.Protocol, m.Leader)
		for _, r := range m.Members {
			fmt.Fprintf(&text, " %s%s:%q", r.MemberID, at(r.InstanceID), r.Assignment)
		}
		all = append(all, text.String())
	}
	if a.DeletedGroup {
		all = append(all, "no group")
	}
	return strings.Join(all, "; ")
}
