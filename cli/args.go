package cli

import (
	"slices"
	"strings"

	"github.com/urfave/cli/v2"
)

// flagsFirst moves a command's flags before its arguments: the library stops
// looking for flags at the first argument, people do not.
func flagsFirst(app *cli.App, args []string) []string {
	out, rest := args[:1:1], args[1:]
	commands, flags := app.Commands, []cli.Flag(nil)
	for len(rest) > 0 {
		next := commandNamed(commands, rest[0])
		if next == nil {
			break
		}
		out, rest = append(out, rest[0]), rest[1:]
		commands, flags = next.Subcommands, next.Flags
	}
	if flags == nil {
		return args
	}
	var words []string
	for i := 0; i < len(rest); i++ {
		word := rest[i]
		switch {
		case word == "--":
			return append(append(out, words...), rest[i:]...)
		case len(word) < 2 || word[0] != '-':
			words = append(words, word)
		default:
			out = append(out, word)
			if takesValue(flags, word) && i+1 < len(rest) {
				i++
				out = append(out, rest[i])
			}
		}
	}
	return append(out, words...)
}

func commandNamed(commands []*cli.Command, name string) *cli.Command {
	for _, c := range commands {
		if c.HasName(name) {
			return c
		}
	}
	return nil
}

// takesValue reports whether the word behind a flag is its value.
func takesValue(flags []cli.Flag, word string) bool {
	if strings.Contains(word, "=") {
		return false
	}
	name := strings.TrimLeft(word, "-")
	for _, f := range flags {
		if slices.Contains(f.Names(), name) {
			_, isBool := f.(*cli.BoolFlag)
			return !isBool
		}
	}
	return false
}
