// Package e2e tests the built binary from outside: real processes, real sockets,
// real clients, real kill -9. It imports nothing of the product.
//
// A test starts a [Node], which is one process with its own data directory and
// ports, or a [Cluster] of them, drives it with franz-go or raw bytes, and waits
// with eventually, which prints the last reason when nothing came. Times are
// printed and not judged, but for bounds ten times wider than what is aimed at.
//
//	node.go          Node: start, kill, stop, restart, wait until ready
//	cluster.go       Cluster: nodes that are each other's peers; who leads what
//	*_test.go        one story a file
//	workload_test.go writers (outcome_test.go) and consumers of one topic; what they
//	                 and observe_test.go see becomes a history, which chaos/ judges
//	nemesis_test.go  the faults: kill, pause, proxy_test.go between client and node,
//	                 network_test.go between nodes, power cuts of disk_test.go
//	chaos_test.go    workload and nemesis together: make chaos
//	planted_test.go  bugs that a build with a tag has on purpose; each is found
//	house_test.go    the rules of the source tree: imports, sizes, names
//	clients/         drivers in other languages; interop_test.go runs them (make interop)
//	parity*          the same requests to Apache Kafka and to chronik (make parity)
//	bench/           figures, alone and beside Apache Kafka; no tests of the product
//	                 (make bench, make bench-kafka, make soak)
//	kafka/           the runner of Apache Kafka for parity/ and bench/
//
// Environment: CHRONIK_ROUNDS=full runs the long counts of the kill, power-cut and
// cluster stories and all planted bugs. CHAOS_DURATION, CHAOS_FAULTS, CHAOS_NODES,
// CHAOS_REPLICAS and CHAOS_SEED are what make chaos sets; a history with a violation
// is kept under bin/histories. KAFKA=host:port makes the interop stories run
// against that broker instead of a node of their own, to tell a wrong story from a
// wrong broker.
package e2e
