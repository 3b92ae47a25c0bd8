// Package meta keeps the cluster's metadata in an etcd server that every node
// embeds, and shows it as an immutable snapshot that a watch keeps fresh.
//
// # The keyspace
//
// Under the prefix /chronik/; values are small JSON that a person can read with
// etcdctl get --prefix /chronik/. Names that clients choose are escaped where
// they may hold a slash.
//
//	key                         value                               written by                  lease
//	cluster                     id, schema version, features        the first node, once
//	controller                  broker and its epoch                whoever campaigns            yes
//	brokers/<id>                address, directory, state           the broker itself
//	live/<id>                   incarnation, directory              the broker itself, per life  yes
//	topics/<name>               id, partitions, replication factor  any broker
//	topics/<name>/<n>           replicas, leader, epochs, ISR       creator, then controller
//	configs/topics/<name>       settings that differ                any broker
//	configs/brokers/<id>        settings; "default" for all         any broker
//	configs/groups/<group>      settings                            any broker
//	producers                   next producer id, in blocks         any broker
//
// Everything is read by every broker through its cache. The epoch of a broker is
// the mod revision of its live key, the epoch of a controller that of its key.
//
// # Writes
//
// Every write is one transaction with its conditions in it and returns its
// revision; WaitRevision then waits until the snapshot shows it. A write of this
// broker holds only in its present life. No call is made under a lock, and every
// call has a deadline.
//
// # What is not here
//
// Nothing that changes with every message: no watermarks, no committed offsets,
// no group membership. The package knows no Kafka error codes.
package meta
