// Package cli is the command line of the one binary: start runs a node; topic,
// produce, consume and bench are clients of any Kafka; meta and log look at what
// a node keeps. Listings are tables for people, or JSON with --output json; errors
// are one line on stderr. Exit codes: 0 done, 1 failed, 2 wrong usage.
package cli
