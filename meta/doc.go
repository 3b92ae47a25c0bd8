// Package meta keeps the cluster's metadata in an etcd server that every node
// embeds, and shows it as an immutable snapshot that a watch keeps fresh. It
// knows no Kafka error codes and no settings.
//
// # The keyspace
//
// Under the prefix /chronik/; values are small JSON that a person can read with
// etcdctl get --prefix /chronik/. Names that may hold a slash are escaped. Every
// broker reads all of it through its cache.
//
//	key                   value                               written by                        lease
//	cluster               id, schema version, features        the first node, once
//	controller            broker and its epoch                whoever campaigns                 yes
//	brokers/<id>          address, directory, state           the broker itself
//	live/<id>             incarnation, directory              the broker itself, once per life  yes
//	topics/<name>         id, number of partitions            any broker
//	topics/<name>/<n>     replicas, leader, epochs, ISR       creator; controller, leader, replica;
//	                                                          any broker that is asked to elect;
//	                                                          who takes a node out for good
//	configs/topics/<t>    settings that differ                any broker
//	configs/brokers/<id>  settings; "default" is for all      any broker
//	configs/groups/<g>    settings                            any broker
//	producers             the next block of producer ids      any broker; read when one is taken
//
// The epoch of a broker is the mod revision of its live key, the epoch of a
// controller that of its key. Nothing is here that changes with every message: no
// watermarks, no committed offsets, no group membership.
//
// # A node
//
// Meta.Run gets this node into etcd, makes or checks the cluster key, lists the
// keyspace and watches it, registers the broker fenced, and keeps its lease;
// SetState makes it active. A session that is lost is followed by another, with a
// new incarnation; one whose process is proved to be gone is ended by ReportDead. No
// constructor waits; Why says what a node waits for. At the end the lease is given
// back, etcd's leadership is handed over, and etcd stops last.
//
// # The members of etcd
//
// A node alone is a cluster of one. Peers are the first voters of a cluster. Before
// etcd takes the peer port, and beside it afterwards, nodes answer there how they
// stand (GET /chronik/stand): empty, forming or in etcd.
//
//	empty    all voters answer, none is in etcd      note durably: forming
//	empty    a voter is in etcd                      rejoin
//	forming  all are forming, or one is in etcd      start the new cluster
//	else                                             ask again; Why names who is missing
//
// So a voter whose directory was wiped and one that fell behind are never a quorum
// without what the others committed. Whoever was part of a cluster, as the data
// directory says, forms no other.
//
// To rejoin, or to join by the etcd listener of a member, a node asks a member on its
// peer port (POST /chronik/admit). The member makes sure that it reaches an empty
// directory at the address, removes the member that the node was before, and adds it
// as a learner; the node promotes itself when etcd finds it in sync. Beyond seven
// members a node is a client of the voters, over gRPC instead of in the process; it
// runs no etcd and has no etcd listener. A member that starts with another peer
// address tells the others.
//
// With certificates both ports speak TLS, with those alone who show one that the same
// authority signed.
//
// # Writes
//
// Every write is one transaction with its conditions in it: what it was decided
// on, this broker's life, for the controller's elections also the controller key. It returns its
// revision, and WaitRevision waits until the snapshot shows it. A write without an
// answer is sent again with the same conditions: it takes effect once, or a
// condition fails, and then what is there rules. Every call has a deadline; none is
// made under a lock.
//
// # Reads
//
// A Snapshot is complete up to its revision and shares with the one before all
// that stayed the same. In doubt (a compacted or silent watch, no leader) the old
// one stays in service while the keyspace is listed anew. A value that cannot be
// read is logged, and what the key held before stays in force until the key is
// written again.
package meta
