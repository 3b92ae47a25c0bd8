// Package chaos judges what clients did to a topic, and saw of it, while faults were
// injected. It is pure: it starts no process, opens no socket and knows no client. A
// [History] is recorded elsewhere; [Check] returns every [Violation] in it; [Gaps]
// tells how long nothing was acknowledged around each fault.
//
// A history is one topic. Its parts come from different observers, and every check
// holds some of them against each other:
//
//	operations  what writers sent, and what became of it: acknowledged at an offset,
//	            failed (surely not written) or unknown (written or not)
//	sessions    what a consumer read of a partition between taking it up and losing it
//	commits     offsets that groups committed
//	ends        high watermarks that clients were told, with the leader epoch
//	leaderships every state of the partitions' keys, from the metadata's history
//	final       every partition, read whole when all faults are healed
//	dumps       the log of every replica, at the same time
//
//	check      claims that
//	lost       an acknowledged value is in the final read
//	duplicate  no value is at two offsets, whoever saw it there
//	conflict   no offset holds two values, whoever saw them there
//	order      a writer's values lie in a partition in the order in which it sent them
//	missed     what was read once is in the final read
//	invented   every value was sent, to that partition, and did not surely fail
//	damaged    every value read is as it was sent
//	hole       the final read has no gaps, and every partition was read
//	jump       a consumer leaves out no offset
//	back       a consumer never goes back, but to the last commit at a rebalance
//	end        the high watermark never goes back
//	above      nothing at or above the high watermark is read
//	leader     an epoch has one leader, in one life; epochs grow; leader ∈ ISR ⊆ replicas
//	replicas   the logs of all replicas are equal
//
// A value that a writer had no answer for may be written late, by a request that lay
// in a socket: order does not hold it to its place. On a compacted topic (Keys > 0)
// lost and missed are content with a later value of the same key, offsets may be
// left out, and replicas are equal when they hold the same last value of every key.
package chaos
