package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/urfave/cli/v2"
)

// adminPatience is how long an admin command waits for an answer.
const adminPatience = 15 * time.Second

func serversFlag() cli.Flag {
	return &cli.StringFlag{
		Name: "bootstrap-servers", Aliases: []string{"b"}, Usage: "brokers to begin with, host:port,…",
		Value: "localhost:9092", EnvVars: env("BOOTSTRAP_SERVERS"),
	}
}

func outputFlag() cli.Flag {
	return &cli.StringFlag{Name: "output", Aliases: []string{"o"}, Usage: "table or json", Value: "table"}
}

// connect makes a client, and fails at once when nobody is there.
func connect(c *cli.Context, opts ...kgo.Opt) (*kgo.Client, error) {
	servers := c.String("bootstrap-servers")
	opts = append(opts, kgo.SeedBrokers(strings.Split(servers, ",")...), kgo.ClientID("chronik-cli"),
		kgo.DialTimeout(5*time.Second), kgo.RetryTimeout(adminPatience))
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context, 5*time.Second)
	defer cancel()
	if err := client.Ping(ctx); err != nil {
		client.Close()
		return nil, fmt.Errorf("no broker at %s: %w (is one running? --bootstrap-servers names another)", servers, rootCause(err))
	}
	return client, nil
}

// rootCause leaves out what a client wraps around a network error.
func rootCause(err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}

// admin runs f with an admin client and a deadline.
func admin(c *cli.Context, f func(ctx context.Context, adm *kadm.Client) error) error {
	return withClient(c, func(ctx context.Context, client *kgo.Client) error { return f(ctx, kadm.NewClient(client)) })
}

// withClient is admin for requests that the admin client does not have.
func withClient(c *cli.Context, f func(ctx context.Context, client *kgo.Client) error) error {
	client, err := connect(c)
	if err != nil {
		return err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(c.Context, adminPatience)
	defer cancel()
	return f(ctx, client)
}

// said is an error with the broker's own words, where it gave any.
func said(err error, message string) error {
	if err == nil {
		return nil
	}
	if ke, ok := errors.AsType[*kerr.Error](err); ok {
		if message == "" {
			message = ke.Description
		}
		return fmt.Errorf("%s: %s", ke.Message, message)
	}
	return err
}

// listing prints rows as a table, or what they stand for as JSON.
func listing(c *cli.Context, value any, header string, rows [][]string) error {
	switch c.String("output") {
	case "json":
		enc := json.NewEncoder(c.App.Writer)
		enc.SetIndent("", "  ")
		return enc.Encode(value)
	case "table":
		return table(c.App.Writer, header, rows)
	}
	return usagef("--output %s: it is table or json", c.String("output"))
}

func table(w io.Writer, header string, rows [][]string) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(strings.Fields(header), "\t"))
	for _, r := range rows {
		fmt.Fprintln(tw, strings.Join(r, "\t"))
	}
	return tw.Flush()
}

// oneArg is the one argument of a command.
func oneArg(c *cli.Context, what string) (string, error) {
	if c.NArg() != 1 {
		return "", usagef("%s takes one %s, got %d: see %s --help", c.Command.HelpName, what, c.NArg(), c.Command.HelpName)
	}
	return c.Args().First(), nil
}
