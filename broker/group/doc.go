// Package group is the state machine of one classic consumer group and its committed offsets.
//
// It is pure: no goroutine, clock, lock, network, disk or log. The caller (one shell for the
// groups of one partition of __consumer_offsets) brings requests, answers of the log and time
// as events, and carries out the effects:
//
//	request, Appended, Tick ──► Group.Step(now, cfg, event) ──► Reply, Append
//
// A group passes through these states; Dead is also the state of a group that nobody made yet,
// so a shell may step a new Group with any request and drop it again when it is Gone.
//
//	        first join                    all joined, or timeout
//	Empty ────────────► PreparingRebalance ────────────► CompletingRebalance
//	  ▲                   │          ▲                        │        │
//	  └── nobody left ────┘          │  member joins, leaves, │        │ leader's assignment
//	  │                              └── expires, changes ────┴─Stable◄┘ is in the log
//	  └── deleted, or nothing left to keep ──► Dead
//
// What is promised:
//   - every request is answered exactly once, by a Reply with its token;
//   - what an answer says of offsets and assignments is in the log: such answers wait for Appended;
//   - appends take effect in the order of their Seq, whatever the order of the answers;
//   - committed offsets that queries see are those whose append succeeded;
//   - the records of a settled group load the same group;
//   - a settled group needs Tick only at Deadline, and after a Tick Deadline is later than now.
//
// The order of checks and the error codes are those of Apache Kafka's classic protocol
// (KIP-62, 134, 211, 345, 394, 559, 814). What depends on a request's version arrives as a
// flag. So are the timings, but for these: each new member begins the initial delay anew, within
// the rebalance timeout; without a delay the first rebalance waits up to a second for the ids
// that were given out; the rebalance timeout runs from the rebalance's beginning. A request that
// its member sent again is answered, and a static member that comes back is shown with the
// client and host that it has now.
//
// Not here: transactional commits, the new consumer protocol (KIP-848), authorization, the
// existence of topics, the record format of __consumer_offsets.
package group
