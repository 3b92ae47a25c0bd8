package cli

import (
	"context"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
	"github.com/urfave/cli/v2"
)

func clusterCommand() *cli.Command {
	return &cli.Command{
		Name: "cluster", Usage: "look at a cluster, and take nodes out of it",
		Subcommands: []*cli.Command{
			{
				Name: "status", Usage: "brokers, controller, members of etcd, partitions in trouble", Action: clusterStatusCommand,
				Description: "Exit code 0: healthy; 1: degraded; 2: unreachable.",
				Flags:       append([]cli.Flag{serversFlag(), outputFlag()}, etcdClientFlags()...),
			},
			{
				Name: "remove-node", Usage: "take a node out of the cluster, alive or not", ArgsUsage: "ID", Action: removeNode,
				Flags: etcdClientFlags(),
			},
		},
	}
}

// The health of a cluster.
const (
	healthy     = "healthy"
	degraded    = "degraded"
	unreachable = "unreachable"
)

// clusterStatus is what can be seen of a cluster from outside.
type clusterStatus struct {
	Health          string      `json:"health"`
	Troubles        []string    `json:"troubles"`
	Cluster         string      `json:"cluster"`
	Controller      int32       `json:"controller"`
	Brokers         []brokerRow `json:"brokers"`
	Members         []etcdRow   `json:"members"`
	Partitions      int         `json:"partitions"`
	UnderReplicated []string    `json:"underReplicated"`
	Offline         []string    `json:"offline"`
}

type brokerRow struct {
	ID      int32  `json:"id"`
	Address string `json:"address"`
	Rack    string `json:"rack"`
	State   string `json:"state"`
}

func (s *clusterStatus) trouble(health, format string, args ...any) {
	if s.Health != unreachable {
		s.Health = health
	}
	s.Troubles = append(s.Troubles, fmt.Sprintf(format, args...))
}

func clusterStatusCommand(c *cli.Context) error {
	s := &clusterStatus{
		Health: healthy, Controller: -1, Troubles: []string{}, Brokers: []brokerRow{}, Members: []etcdRow{},
		UnderReplicated: []string{}, Offline: []string{},
	}
	s.askBrokers(c)
	s.askMembers(c)
	if err := s.print(c); err != nil {
		return err
	}
	switch s.Health {
	case degraded:
		return toldError(1)
	case unreachable:
		return toldError(2)
	}
	return nil
}

// askBrokers sees what a client of the brokers sees.
func (s *clusterStatus) askBrokers(c *cli.Context) {
	client, err := connect(c)
	if err != nil {
		s.trouble(unreachable, "%v", err)
		return
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, adminPatience)
	defer cancel()
	if err := s.describe(ctx, client); err != nil {
		s.trouble(unreachable, "the brokers do not tell of the cluster: %v", err)
		return
	}
	topics, err := kadm.NewClient(client).ListTopicsWithInternal(ctx)
	if err != nil {
		s.trouble(unreachable, "the brokers do not tell of the topics: %v", err)
		return
	}
	topics.EachPartition(s.partition)
	slices.Sort(s.UnderReplicated)
	slices.Sort(s.Offline)
	if n := len(s.UnderReplicated); n > 0 {
		s.trouble(degraded, "%d partitions are under-replicated", n)
	}
	if n := len(s.Offline); n > 0 {
		s.trouble(degraded, "%d partitions are offline", n)
	}
}

func (s *clusterStatus) partition(p kadm.PartitionDetail) {
	s.Partitions++
	name := fmt.Sprintf("%s-%d", p.Topic, p.Partition)
	if p.Leader < 0 {
		s.Offline = append(s.Offline, name)
	}
	if len(p.ISR) < len(p.Replicas) {
		s.UnderReplicated = append(s.UnderReplicated, name)
	}
}

// describe asks who the brokers are, those that are fenced too.
func (s *clusterStatus) describe(ctx context.Context, client *kgo.Client) error {
	req := kmsg.NewPtrDescribeClusterRequest()
	req.EndpointType, req.IncludeFencedBrokers = 1, true
	resp, err := req.RequestWith(ctx, client)
	if err == nil {
		err = kerr.ErrorForCode(resp.ErrorCode)
	}
	if err != nil {
		return err
	}
	s.Cluster, s.Controller = resp.ClusterID, resp.ControllerID
	for _, b := range resp.Brokers {
		row := brokerRow{ID: b.NodeID, Address: fmt.Sprintf("%s:%d", b.Host, b.Port), State: "active"}
		if b.Rack != nil {
			row.Rack = *b.Rack
		}
		if b.IsFenced {
			row.State = "fenced"
			s.trouble(degraded, "broker %d is fenced: down, starting or stopping", b.NodeID)
		}
		s.Brokers = append(s.Brokers, row)
	}
	slices.SortFunc(s.Brokers, func(a, b brokerRow) int { return int(a.ID - b.ID) })
	return nil
}

// mostNamed is how many partitions a table names.
const mostNamed = 20

func (s *clusterStatus) print(c *cli.Context) error {
	if c.String("output") != "table" {
		return listing(c, s, "", nil)
	}
	w := c.App.Writer
	fmt.Fprintf(w, "cluster %s is %s\n", orUnknown(s.Cluster), s.Health)
	for _, trouble := range s.Troubles {
		fmt.Fprintln(w, "  "+trouble)
	}
	if err := s.printNodes(w); err != nil {
		return err
	}
	if s.Health == unreachable {
		return nil
	}
	fmt.Fprintf(w, "\npartitions %d, under-replicated %d, offline %d\n", s.Partitions, len(s.UnderReplicated), len(s.Offline))
	printPartitions(w, "under-replicated", s.UnderReplicated)
	printPartitions(w, "offline", s.Offline)
	return nil
}

func printPartitions(w io.Writer, what string, partitions []string) {
	if len(partitions) > mostNamed {
		partitions = append(partitions[:mostNamed:mostNamed], "…")
	}
	if len(partitions) > 0 {
		fmt.Fprintf(w, "  %s: %s\n", what, strings.Join(partitions, " "))
	}
}

func (s *clusterStatus) printNodes(w io.Writer) error {
	var brokers, members [][]string
	for _, b := range s.Brokers {
		controller := ""
		if b.ID == s.Controller {
			controller = "controller"
		}
		brokers = append(brokers, []string{strconv.Itoa(int(b.ID)), b.Address, b.State, controller, b.Rack})
	}
	for _, m := range s.Members {
		members = append(members, []string{m.Name, m.Peer, m.Client, m.Role, m.State})
	}
	if err := section(w, "BROKER ADDRESS STATE ROLE RACK", brokers); err != nil {
		return err
	}
	return section(w, "MEMBER PEER-ADDRESS ETCD-ADDRESS ROLE STATE", members)
}

// section is a table after an empty line, or nothing.
func section(w io.Writer, header string, rows [][]string) error {
	if len(rows) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	return table(w, header, rows)
}
