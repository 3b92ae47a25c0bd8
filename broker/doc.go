// Package broker is the server: everything that a Kafka client can see
// happens here.
//
// # Parts and who owns which state
//
//	server      listeners, connection limits              server.go
//	conn        one connection: its read buffer, the FIFO of answers it owes   conn.go, answers.go
//	serve       the dispatcher: version check, recover, metrics, log. Once.    serve.go
//	routes      the table of APIs; ApiVersions is derived from it               routes.go
//	settings    the table of topic and broker settings                          settings*.go
//	topicSet    what this broker leads, looked up by every produce and fetch    partitions.go
//	partition   a led partition: its log, leader epoch and settings             partition.go
//	controller  pure plan over the snapshot, and the loop that writes it        controller.go
//
// Metadata (who leads what, with which settings) is an immutable snapshot of
// package meta; records are in the logs of package logstore. The broker keeps
// no third copy: a topicSet entry is the snapshot's decision applied.
//
// # The way of a request
//
// The connection's goroutine reads as many bytes as there are, serves every
// complete frame in them, and writes all answers that are ready in one write.
// Produce and Fetch are raw routes: they work on the frame's bytes. The batches
// of all produce frames of one read are staged and appended with one write per
// partition. A request that has to wait (for a flush, for more records) leaves
// an answer in the connection's FIFO; the connection's second goroutine, started
// with the first such answer, completes answers in order.
//
// # Start and shutdown
//
// New checks the settings, locks the data directory and binds the listeners; it
// waits for nothing. Run starts the metadata node, waits in the background until
// the cache is loaded and this broker is registered (fenced), recovers the logs,
// becomes active, has itself elected for its partitions (every start of a process
// is an election), and is then ready. Until then only ApiVersions is answered;
// other requests wait. Shutdown goes the other way: connections end, logs are
// flushed and closed, the lease is revoked, etcd stops last.
package broker
