// Package broker is the server: everything that a Kafka client can see
// happens here.
//
// # Parts and who owns which state
//
//	server      listeners, connection limits              server.go
//	conn        one connection: its read buffer, the FIFO of answers it owes   conn.go, answers.go
//	outbox      encoded answers on their way out, and pipes with records       outbox.go, fetch_splice.go
//	serve       the dispatcher: version check, recover, metrics, log. Once.    serve.go
//	routes      the table of APIs; ApiVersions is derived from it               routes.go
//	settings    the table of topic and broker settings                          settings*.go
//	topicSet    what this broker leads, looked up by every produce and fetch    partitions.go
//	partition   a led partition: its log, leader epoch and settings             partition.go
//	coordinator the groups of one led partition of __consumer_offsets           coordinator*.go
//	replication the leader's view of its followers, the high watermark          replication.go
//	replicaSet  pure: high watermark and in-sync replicas of one partition      isr.go
//	isrChanges  writes the changes of in-sync replicas that are due             isr_changes.go
//	followedReads what consumers read of a partition that is followed here      followed_reads.go, read_replica.go
//	fetchers    one fetch loop for each broker that leads what is followed here replica.go, replica_fetch.go
//	peers       one connection to each other broker; whose process is gone      peers.go, peer*.go
//	observed    pure: what such a connection proves                             detector.go
//	mourned     pure: which lives Metadata must not name yet, or lists still     hold.go
//	takeovers   which partitions clients wait for: this broker may soon lead them  takeover.go
//	reports     pure: leaders that others cannot reach, and who leads instead   detector_reports.go
//	controller  pure plan over the snapshot, and the loop that writes it        controller.go, controller_plan.go
//	candidates  pure: who is asked before an election, and who then wins        controller_candidates.go
//	inquiries   what replicas told the controller of the ends of their logs     controller_ends.go
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
// partition. Records of large batches go from the page cache to the socket through pipes,
// without a copy; others are copied into the answer. A request that has to wait (for a
// flush, for more records) leaves an answer in the connection's FIFO; the connection's
// second goroutine, started with the first such answer, completes answers in order.
//
// # Groups
//
// Consumer groups and committed offsets live in the internal topic
// __consumer_offsets, in Kafka's record formats. The leader of the partition that a
// group's id hashes to coordinates it. A coordinator is one goroutine for one leader
// epoch: it loads the groups from the partition, waits until all of that is committed,
// and then steps the state machines of package group with requests from its inbox,
// with time, and with the log's answers. What an answer promises is in the log before
// it is given. When the leadership ends it answers whoever waits and holds nothing.
// Past its lease it answers once a record is committed that was appended after the
// request came: it may have been paused, and replaced.
//
// # Replicas
//
// A partition with several replicas is led by one broker in one leader epoch and
// followed by the others, who fetch from it and append what it has as it is. The high
// watermark is what every in-sync replica has, as durably as the topic promises; it
// bounds what is read, here and from followers that know it, and answers acks=all. Who is in sync stands in the metadata and
// changes by compare-and-swap only: the leader adds and removes, the controller and a
// broker itself remove. Leadership and following are bound to their epoch: another epoch
// makes another object, and what waits in the old one is answered. A replica is cut only
// where its history and its leader's differ, by epochs. A broker whose log may lack
// records leaves the in-sync replicas before it is active, and one that stops before it does.
//
// # Other brokers
//
// A broker keeps a connection to each of the others, over a request type of their own
// that no client is told of. Refused is proof, silence is not: when the connection broke
// and dials are refused, the process is gone, and whoever sees it has its lease revoked;
// a broker that does not answer is left to its lease. A mistake costs availability alone,
// since safety rests on epochs. While a leader is missing, answers that would name it
// wait, for a moment. A leader that is alive and that others cannot reach, or fetch from,
// for seconds is reported to the controller, which moves leadership to a replica that
// fewer report and waits no more for the old leader. Nor does a leader wait for a follower
// that it does not reach and that does not fetch, while enough others are in sync. A
// controller that most of the others do not reach is replaced by one of them.
// Before the controller elects one of several that may lead and began another life, it asks
// them where their logs end, and takes the fullest.

// # Start and shutdown
//
// New checks the settings, locks the data directory and binds the listeners; it
// waits for nothing. Run starts the metadata node, waits in the background until
// the cache is loaded and this broker is registered (fenced), recovers the logs,
// takes itself out where a log is short, becomes active, is elected for its partitions
// (every start of a process is an election), and is then ready. Until then only ApiVersions is answered;
// other requests wait. Shutdown goes the other way: others take over what
// it leads, of which its clients are told for half a second, connections end, logs are
// flushed and closed, the lease is revoked, etcd stops last.
package broker
