// Package cli is the command line of the one binary: start runs a node, dev several;
// topic, group, produce, consume and bench are clients of any Kafka; cluster, meta
// and log look at what nodes keep. Listings are tables for people, or JSON with
// --output json; errors are one line on stderr. Exit codes: 0 done, 1 failed, 2 wrong
// usage; of cluster status: 0 healthy, 1 degraded, 2 unreachable.
package cli
