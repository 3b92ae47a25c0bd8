// Command bench measures the rows of the benchmark table against the built chronik,
// and against Apache Kafka beside it. It imports nothing of the product: it starts
// nodes, drives them with `chronik bench` and franz-go, and reads /proc.
//
//	rows.go     THE TABLE: number, nodes, figures with their aims, how it is measured
//	load.go     rows that `chronik bench` measures
//	direct.go   rows that are measured here: starts, restarts, topics, idle nodes
//	failover.go the longest gap of a producer whose leader is killed
//	run.go      the order: groups of rows on fresh nodes, systems interleaved, medians
//	system.go   the systems: how a node of each is made and started
//	cluster.go  nodes that are each other's peers
//	topic.go    topics of a measurement, and the bytes of their logs
//	process.go  one process: start, stop, kill, CPU and memory from /proc
//	machine.go  what machine this is; filling the page cache
//	result.go   medians, and the table that is printed and written
//	soak.go     -soak: a steady load for a long time, with retention and a checker
//
// Rows whose group has the same name share nodes, the others have nodes of their own
// for each run. Topics are new for each run and deleted after it. Figures are printed,
// not judged: the exit code is 1 when a row could not be measured.
package main
