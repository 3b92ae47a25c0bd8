package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"strings"

	"github.com/urfave/cli/v2"
)

// Set by the linker; see the Makefile.
var (
	version = ""
	commit  = ""
)

// usageError is a command line that cannot be meant: exit code 2.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

// Run runs one command line and returns its exit code.
func Run(args []string, in io.Reader, out, errs io.Writer) int {
	app := newApp(in, out, errs)
	err := app.RunContext(context.Background(), flagsFirst(app, args))
	if err == nil {
		return 0
	}
	if code, ok := errors.AsType[toldError](err); ok {
		return int(code)
	}
	fmt.Fprintln(errs, "chronik: "+strings.TrimSpace(err.Error()))
	if _, ok := errors.AsType[usageError](err); ok {
		return 2
	}
	return 1
}

// toldError is a failure that the command has told already; it is the exit code.
type toldError int

func (toldError) Error() string { return "failed" }

func newApp(in io.Reader, out, errs io.Writer) *cli.App {
	start := startCommand()
	app := &cli.App{
		Name:                 "chronik",
		Usage:                "a Kafka-compatible broker in one binary",
		Description:          "Without a command, chronik starts one node on localhost:9092 with its data in ./chronik-data.",
		Version:              versionText(),
		HideVersion:          true,
		EnableBashCompletion: true,
		Reader:               in, Writer: out, ErrWriter: errs,
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("unknown command %q: see chronik help", c.Args().First())
			}
			return start.Run(c, "start")
		},
		ExitErrHandler:  func(*cli.Context, error) {},
		CommandNotFound: nil,
		OnUsageError:    wrongUsage,
		Commands: []*cli.Command{
			start, topicCommand(), groupCommand(), produceCommand(), consumeCommand(), benchCommand(),
			clusterCommand(), devCommand(), logCommand(), metaCommand(), versionCommand(),
		},
	}
	for _, c := range app.Commands {
		c.OnUsageError = wrongUsage
		for _, sub := range c.Subcommands {
			sub.OnUsageError = wrongUsage
		}
		if len(c.Subcommands) > 0 {
			c.Action = func(c *cli.Context) error {
				if c.Args().Present() {
					return usagef("unknown command %q: see %s --help", c.Args().First(), c.Command.HelpName)
				}
				return cli.ShowSubcommandHelp(c)
			}
		}
	}
	return app
}

func wrongUsage(c *cli.Context, err error, _ bool) error {
	return usagef("%w: see %s --help", err, c.Command.HelpName)
}

// versionText is the version of this build, however it was built.
func versionText() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
		return info.Main.Version
	}
	return "(devel)"
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name:  "version",
		Usage: "print the versions of chronik, Go and etcd",
		Action: func(c *cli.Context) error {
			_, err := fmt.Fprintf(c.App.Writer, "chronik %s\ncommit  %s\ngo      %s\netcd    %s\n",
				versionText(), orUnknown(commit), strings.TrimPrefix(runtime.Version(), "go"), dependency("go.etcd.io/etcd/server/v3"))
			return err
		},
	}
}

func orUnknown(s string) string {
	if s == "" {
		return "unknown"
	}
	return s
}

// dependency is the version of a module that is built in.
func dependency(path string) string {
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, d := range info.Deps {
			if d.Path == path {
				return strings.TrimPrefix(d.Version, "v")
			}
		}
	}
	return "unknown"
}
