package main

import "context"

// metric is a kind of figure.
type metric struct {
	name    string
	more    bool // more is better
	decimal int
}

var (
	mbps          = &metric{"MB/s", true, 0}
	records       = &metric{"records/s", true, 0}
	requests      = &metric{"requests/s", true, 0}
	cpuPerGB      = &metric{"CPU-s/GB", false, 2}
	cpuPerRequest = &metric{"CPU µs/request", false, 1}
	p50           = &metric{"p50 ms", false, 2}
	p99           = &metric{"p99 ms", false, 2}
	serverCores   = &metric{"server cores", false, 2}
	clientCores   = &metric{"client cores", false, 2}
	memory        = &metric{"memory MB", false, 0}
	idleCPU       = &metric{"idle CPU %", false, 2}
	coldStart     = &metric{"cold start s", false, 3}
	warmStart     = &metric{"warm start s", false, 3}
	oneByOne      = &metric{"topics one by one s", false, 2}
	created       = &metric{"created and usable s", false, 2}
	cleanRestart  = &metric{"clean restart s", false, 2}
	killedRestart = &metric{"restart after kill -9 s", false, 2}
	gapMedian     = &metric{"gap, median s", false, 2}
	gapLongest    = &metric{"gap, longest s", false, 2}
	quickMedian   = &metric{"client that asks at once: gap, median s", false, 2}
	quickLongest  = &metric{"client that asks at once: gap, longest s", false, 2}
)

// want is a figure of a row and what it should be; an aim of 0 is none.
type want struct {
	metric *metric
	aim    float64
}

// row is a line of the table.
type row struct {
	number int
	name   string
	// group of rows that share nodes, one after the other; "": own nodes for each run.
	group string
	nodes int
	wants []want
	load  *load
	// direct measures what load does not; it starts and ends its own nodes.
	direct func(context.Context, *system) (figures, error)
}

const (
	raw1   = "--raw -c 1 --in-flight 5 "                    // one connection, batches of 1 MB
	raw8   = "--raw -c 8 --in-flight 5 --batch-size 16384 " // 16 KB × 8
	raw128 = "--raw -c 128 -s 256 --batch-size 1 "          // one record in flight on each of 128
	viaKgo = "-c 2 --in-flight 20000 "
	slow   = "-c 1 --in-flight 1000 --rate-limit 1000 "
)

func aims(m *metric, aim float64, more ...any) []want {
	wants := []want{{m, aim}}
	for i := 0; i < len(more); i += 2 {
		wants = append(wants, want{more[i].(*metric), more[i+1].(float64)})
	}
	return wants
}

// loads of one node, and of three.
func one(number int, name, args string, t topic, wants []want) row {
	return row{number: number, name: name, group: "one node", nodes: 1, wants: wants, load: &load{topic: t, args: args}}
}

func three(number int, name, args string, t topic, wants []want) row {
	t.replicas = 3
	return row{number: number, name: "3 nodes: " + name, group: "three nodes", nodes: 3, wants: wants, load: &load{topic: t, args: args}}
}

func reading(number int, name, args, fill string, t topic, wants []want) row {
	r := one(number, name, "-m consume "+args, t, wants)
	r.load.fill = fill
	return r
}

func direct(number int, name string, nodes int, wants []want, run func(context.Context, *system) (figures, error)) row {
	return row{number: number, name: name, nodes: nodes, wants: wants, direct: run}
}

// table is all rows, in the order in which they are measured. Row 24 is `make soak`.
func table() []row {
	p1, p8, durable1, durable8 := topic{partitions: 1}, topic{partitions: 8}, topic{partitions: 1, durable: true}, topic{partitions: 8, durable: true}
	return []row{
		one(1, "produce raw, 1 KiB, 1 MB batches, 1 connection", raw1, p1, aims(mbps, 1400, cpuPerGB, .55)),
		one(2, "produce raw, 1 KiB, 16 KB × 8, 1 partition", raw8, p1, aims(mbps, 850, cpuPerGB, 1.2)),
		one(2, "produce raw, 1 KiB, 16 KB × 8, 8 partitions", raw8, p8, aims(mbps, 850, cpuPerGB, 1.2)),
		one(3, "produce raw, 100 B, 1 MB batches", raw1+"-s 100", p1, aims(records, 12e6, cpuPerGB, .6)),
		one(4, "kgo produce, 1 KiB", viaKgo, p1, aims(mbps, 1150, cpuPerGB, .5)),
		one(4, "kgo produce, 100 B", viaKgo+"-s 100", p1, aims(records, 4.2e6, cpuPerGB, .7)),
		one(5, "128 connections, one 256 B record in flight each", raw128, p1, aims(requests, 110e3, cpuPerRequest, 10., p50, 0., p99, 3.)),
		one(6, "1 connection, one 256 B record in flight", "--raw -c 1 -s 256 --batch-size 1", p1, aims(p50, .06, p99, 0., cpuPerRequest, 30.)),
		one(7, "durable: 1 MB batches", raw1, durable1, aims(mbps, 800, cpuPerGB, .9)),
		one(8, "durable: 16 KB × 8, 1 partition", raw8, durable1, aims(mbps, 250, cpuPerGB, 4.)),
		one(8, "durable: 16 KB × 8, 8 partitions", raw8, durable8, aims(mbps, 250, cpuPerGB, 4.)),
		one(9, "durable: 128 connections × 256 B", raw128, durable1, aims(requests, 40e3, p50, 3., p99, 0.)),
		reading(10, "fetch raw, hot, 1 connection, stored as 1 MB batches", "--raw -c 1", raw1, p1, aims(mbps, 3200, cpuPerGB, .21)),
		reading(10, "fetch raw, hot, 1 connection, stored as 16 KB batches", "--raw -c 1", raw8, p1, aims(mbps, 2800, cpuPerGB, .25)),
		reading(11, "fetch raw, hot, 8 connections × 8 partitions, stored as 1 MB batches (aim: not below Kafka)", "--raw -c 8",
			"--raw -c 8", p8, aims(mbps, 0, cpuPerGB, 0.)),
		reading(11, "fetch raw, hot, 8 connections × 8 partitions, stored as 16 KB batches (aim: not below Kafka)", "--raw -c 8",
			raw8, p8, aims(mbps, 0, cpuPerGB, 0.)),
		reading(12, "kgo consume, 1 KiB (client-bound)", "-c 1", raw1, p1, aims(mbps, 0, cpuPerGB, .28)),
		reading(12, "kgo consume, 100 B (client-bound)", "-c 1 -s 100", raw1+"-s 100", p1, aims(records, 0, cpuPerGB, .35)),
		one(13, "latency at 1,000 msg/s, 1 KiB: acknowledged", slow, p1, aims(p50, .20, p99, .8)),
		one(13, "latency at 1,000 msg/s, 1 KiB: end to end", slow+"-m round-trip", p1, aims(p50, .25, p99, 1.)),
		one(25, "100 producers, 100 partitions, keyed, 16 KB batches", "--raw -c 100 --in-flight 5 --batch-size 16384 --key-pattern random",
			topic{partitions: 100}, aims(mbps, 500, cpuPerGB, 1.5)),
		direct(14, "start to first answer; idle node", 1, aims(coldStart, .3, warmStart, .3, memory, 60., idleCPU, .5), starts),
		direct(15, "1,000 topics; one topic of 1,000 partitions", 1, aims(oneByOne, 3, created, .3), manyTopics),
		direct(16, "Metadata of 1,000 topics", 1, aims(p50, .35, cpuPerRequest, 200.), metadata),
		direct(17, "restart with 1,000 partitions, all led", 1, aims(cleanRestart, .5, killedRestart, 1.), restarts),
		direct(18, "3 nodes: cold start to all registered; idle", 3, aims(coldStart, 2.5, memory, 200., idleCPU, 0.), clusterStart),
		three(19, "1 MB batches, acks=all", raw1, p1, aims(mbps, 400, cpuPerGB, 2.6)),
		three(20, "16 KB × 8, 1 partition", raw8, p1, aims(mbps, 270, cpuPerGB, 5.)),
		three(20, "16 KB × 8, 8 partitions", raw8, p8, aims(mbps, 250, cpuPerGB, 6.)),
		three(21, "128 connections × 256 B, 1 partition", raw128, p1, aims(requests, 60e3, cpuPerRequest, 20., p50, 0., p99, 0.)),
		three(21, "128 connections × 256 B, 8 partitions", raw128, p8, aims(requests, 60e3, cpuPerRequest, 20., p50, 0., p99, 0.)),
		three(22, "latency at 1,000 msg/s: acknowledged", slow, p1, aims(p50, .4, p99, 2.)),
		three(22, "latency at 1,000 msg/s, durable: acknowledged", slow, durable1, aims(p50, 3, p99, 8.)),
		direct(23, "3 nodes: kill -9 of a leader at 1,000 msg/s: no acknowledgement for", 3, aims(gapMedian, .5, gapLongest, 2., quickMedian, .5, quickLongest, 2.), failover),
		direct(26, "10,000 partitions, 1 % of them written", 1,
			aims(created, 2, cleanRestart, 1.5, killedRestart, 4., memory, 150., idleCPU, 2.), wide),
	}
}
