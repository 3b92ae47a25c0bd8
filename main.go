// Command chronik is a Kafka-compatible broker with its metadata in an embedded
// etcd. Without arguments it starts one node on localhost:9092.
package main

import (
	"os"

	"chronik/cli"
)

func main() {
	os.Exit(cli.Run(os.Args, os.Stdin, os.Stdout, os.Stderr))
}
