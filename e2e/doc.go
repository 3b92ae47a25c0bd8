// Package e2e tests the built binary from outside: real processes, real sockets,
// real clients, real kill -9. It imports nothing of the product.
//
// A test starts a [Node], which is one process with its own data directory and
// ports, drives it with franz-go or raw bytes, and waits with eventually, which
// prints the last reason when nothing came. Times are printed and not judged, but
// for bounds ten times wider than what is aimed at.
//
//	cluster.go       Node: start, kill, stop, restart, wait until ready
//	*_test.go        one story a file
//	house_test.go    the rules of the source tree: imports, sizes, names
//	clients/         drivers in other languages; interop_test.go runs them (make interop)
//	parity*          the same requests to Apache Kafka and to chronik (make parity)
//
// Environment: CHRONIK_ROUNDS=full runs the long counts of the kill and power-cut
// stories. KAFKA=host:port makes the interop stories run against that broker
// instead of a node of their own, to tell a wrong story from a wrong broker.
package e2e
