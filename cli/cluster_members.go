package cli

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/urfave/cli/v2"
	"go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// etcdRow is a member of etcd.
type etcdRow struct {
	Name   string `json:"name"`
	Peer   string `json:"peer"`
	Client string `json:"client"`
	Role   string `json:"role"`  // leader, voter or learner
	State  string `json:"state"` // ok, or what is wrong
}

// memberPatience is how long a member of etcd has for its answer.
const memberPatience = 2 * time.Second

// askMembers asks every member of etcd how it is.
func (s *clusterStatus) askMembers(c *cli.Context) {
	client, ctx, stop, err := etcdClient(c)
	if err != nil {
		s.trouble(degraded, "%v", err)
		return
	}
	defer stop()
	defer client.Close()
	ctx, cancel := context.WithTimeout(ctx, adminPatience)
	defer cancel()
	list, err := client.MemberList(ctx)
	if err != nil {
		s.trouble(degraded, "etcd does not list its members: %v", err)
		return
	}
	rows := make([]etcdRow, len(list.Members))
	var asked sync.WaitGroup
	for i, m := range list.Members {
		asked.Go(func() { rows[i] = askMember(ctx, client, m) })
	}
	asked.Wait()
	slices.SortFunc(rows, func(a, b etcdRow) int { return strings.Compare(a.Name, b.Name) })
	for _, row := range rows {
		if row.State != "ok" {
			s.trouble(degraded, "member %s of etcd: %s", row.Name, row.State)
		}
		if row.Role == "learner" {
			s.trouble(degraded, "member %s of etcd is still a learner", row.Name)
		}
	}
	s.Members = rows
}

func askMember(ctx context.Context, client *clientv3.Client, m *etcdserverpb.Member) etcdRow {
	row := etcdRow{Name: m.Name, Role: "voter", State: "ok"}
	if m.Name == "" {
		row.Name = fmt.Sprintf("%x", m.ID)
	}
	if len(m.PeerURLs) > 0 {
		row.Peer = withoutScheme(m.PeerURLs[0])
	}
	if m.IsLearner {
		row.Role = "learner"
	}
	if len(m.ClientURLs) == 0 {
		row.State = "never started"
		return row
	}
	row.Client = withoutScheme(m.ClientURLs[0])
	ctx, cancel := context.WithTimeout(ctx, memberPatience)
	defer cancel()
	status, err := client.Status(ctx, m.ClientURLs[0])
	switch {
	case err != nil:
		row.State = "does not answer"
	case len(status.Errors) > 0:
		row.State = strings.Join(status.Errors, ", ")
	case status.Leader == m.ID:
		row.Role = "leader"
	}
	return row
}

func withoutScheme(url string) string {
	_, addr, _ := strings.Cut(url, "://")
	return addr
}
