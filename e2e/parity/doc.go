// Package parity asks Apache Kafka and chronik the same and compares the answers
// (make parity). Kafka is the oracle: what differs on purpose is a line with its
// reason in ../parity.md, anything else fails.
//
//	scene     a named script of raw requests; played once for each version that both
//	          brokers advertise, against each broker on a connection of its own
//	script    one such play: sends, decodes, and writes down what came back
//	leaf      one value of an answer: path and text. What may differ (ids, ports,
//	          the clock, throttling) is replaced by a name or left out, see tree_test.go
//	report    the leaves that differ, less the lines of ../parity.md
//
// A case is a line or a few in one of the *_scenes_test.go files. Error codes are
// always compared; error messages are printed and do not fail.
//
// ../kafka/kafka.sh fetches Kafka's jars with Maven into .parity/ and runs one broker on the
// ports that it is told. Flags of the test: -other=kafka plays against two Kafkas,
// which must give no difference at all; -chronik=PATH takes a built binary;
// -messages prints the error messages that differ.
package parity
