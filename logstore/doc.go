// Package logstore keeps partition logs on disk: append, read, flush, recover, truncate, retain, compact.
//
// # What it is
//
// A [Store] is one data directory of one process. It holds a [Log] per partition: record batches
// in offset order, exactly as they came over the wire. A log on disk is a log of
// github.com/tidwall/wal, byte for byte: the stock library opens it and reads every entry. The
// library's own writer and reader are not used while a log is in service (BenchmarkAppend and
// BenchmarkRead say why: it copies each byte twice, holds the last segment in memory, syncs under
// its lock, and its Read is not safe for several readers). We write the last segment and read
// segments in place; the library truncates logs, and checks and dumps them in tools and tests.
//
// It does not know topics by name, settings, leaders or the network. Numbers arrive in [Options]. Of
// replication it is told which epoch a log is in (Fence, AppendReplica) and the high watermark: what
// lies above it is not dropped by retention, and the checkpoint keeps it as a hint.
//
// # On disk
//
//	<data>/meta.properties                    who the directory belongs to, and which logs may be short
//	<data>/checkpoint                         each partition taken up here: recovery point, log start, hint
//	<data>/clean-shutdown                     written last at a clean stop, removed at the start
//	<data>/logs/<topic id>-<partition>/       a log; made by its first append
//	    00000000000000000001                  segment, named by the index of its first entry
//	    00000000000000004711                  the last segment: the only one that is written
//	    next                                  the segment to come, made ahead, empty
//	    index/00000000000000000001            sidecar of a segment
//	    epochs                                leader epoch → start offset
//	    producers                             idempotent producers at the recovery point
//	    compacted                             offset up to which the log is compacted
//	    compact/                              new segments of a compaction that is under way, and its journal
//	    cut-<time>/                           what recovery cut off, kept for people, bounded
//	    damaged                               what a read found to be damaged, for the next life
//
// A segment is entries, nothing else:
//
//	+----------------+-----------------------------------------------+----------------+----
//	| uvarint length | record batch, magic 2                         | uvarint length | ...
//	+----------------+-----------------------------------------------+----------------+----
//	                 | base offset 8 | length 4 | leader epoch 4 | magic 1 | CRC-32C 4 | ...
//
// The batch is as on the wire; base offset and leader epoch, which lie outside its CRC, are set in
// place by the leader. A batch has a header of 61 bytes, so a shorter entry, zeros among them, is
// damage. Entry indexes count entries of this replica; offsets count records and are what replicas
// agree on. All other files are our own and start with magic, version and CRC-32C (see
// smallfile.go); they are replaced, never changed in place.
//
// # Invariants
//
//   - Start ≤ Flushed ≤ End, and Acked is Flushed for a log that flushes before it acknowledges,
//     End for one that does not.
//   - Nothing above Acked was ever acknowledged. A byte is below Flushed only after an fdatasync
//     that was begun after its write returned without error. At a roll the old segment's
//     fdatasync and the new name's directory fsync come before the flushed end enters the new one.
//   - The recovery point names bytes that are on disk and still there. A cut below it moves it
//     down, durably, before it cuts.
//   - Offsets of entries grow without overlap; leader epochs never fall; entries of one segment
//     have consecutive indexes and the next segment's name follows them. Compaction leaves gaps
//     between offsets, and batches without records: the log's first batch begins at or below the log
//     start, and for each offset below the end there is a batch that holds it or follows it.
//   - One writer: appends, rolls, truncation, retention and the swap of a compaction hold its lock. Readers hold
//     none: they work on an immutable list of segments, and a segment that leaves the list stays
//     readable until its last reader lets go.
//   - After any error of write, fsync, create or rename the log is poisoned: it answers
//     [ErrPoisoned] and is opened again only through recovery. No fsync is repeated.
//
// # Assumptions
//
//   - fdatasync and fsync that return without error have put the bytes, the size and, for a
//     directory, the names on a disk that keeps them.
//   - Without them nothing is certain: after a power cut a file may end earlier than it was
//     written, or in zeros, or in other bytes, and its pages may be there in any subset.
//   - rename within a directory is atomic. A killed process loses nothing that it wrote.
//   - A failed fsync may have dropped the pages and marked them clean: reading them back proves
//     nothing about the disk.
//   - Bytes that were read back right after the pages were dropped are on disk. (Pages that a socket
//     still has are not dropped: of a killed process, for moments.)
//   - One process at a time has the directory (flock on it).
//
// # What a read checks
//
// A batch that was written more than one to two seconds ago is held against its checksum when it is
// read, unless it is a large one and that was done within the last minute, by this process and while the
// file was open: then its pages are handed to whoever asked as they are (see [Log.Splice]). They stay
// what they were: bytes below the end of a log do not change, and truncation and compaction write other
// files. Recovery alone cuts in place, behind the flushed end of a log that failed: who was sent what
// was not flushed may find a wrong checksum there.
//
// # Why a crash is safe
//
// Append adds bytes only behind the end of the last segment. A crash leaves a prefix of them,
// zeros, or garbage: recovery reads from the recovery point on what the disk returns (after
// fdatasync and after dropping the cached pages) and ends the log before the first entry whose
// length, header, CRC, offset order or epoch order is wrong. All flushed entries lie before it,
// since they were whole and are on disk; what lies behind it was never flushed. An entry of
// garbage that passes all this is a CRC-32C collision.
//
// Roll gives `next` its name (or makes a file) and appends to it at once. The flushed end enters it
// only after the old segment's fdatasync and the fsync of the directory, in this order. Before that a
// crash may undo the new name: its entries were not yet flushed, whatever was written. `next` is not
// used again after a start, so its bytes are never taken for entries.
//
// Sidecars, epochs and producers describe flushed bytes only, are replaced by rename, and are
// rebuilt from the entries when they are missing or damaged. A crash between two of them leaves
// each whole, and each says up to which offset or position it speaks.
//
// Truncation lowers the recovery point durably, closes our handles, and has the stock library
// cut (it writes the shortened last segment beside, renames it to .END, removes the rest). A crash
// inside leaves .TEMP, .END or .START files, which the next open finishes before anything else.
// Sidecars of what will be cut go before it, so a sidecar always speaks of bytes that were on disk:
// recovery takes it for a witness, as it does the producers' file.
//
// Retention moves the log start durably, then unlinks from the front. A crash between leaves
// segments that lie wholly below the log start; they go at the next pass.
//
// Compaction (KIP-58, KIP-354, KIP-534) notes the last offset of each key of what was not compacted
// before, and writes the log anew from its first segment on, beside it, without what is superseded:
//
//   - A batch that keeps all its records is copied; one that loses some is encoded again in its codec,
//     with the same first and last offset, producer and sequence; one that loses all leaves nothing,
//     or its header: the last that is rewritten, since it says where that ends, the last of a
//     producer, since it says its sequence, and the one that the log begins with.
//   - The first compaction that meets a tombstone writes into its batch's header, as Kafka does,
//     when it may go; the first one after that time drops it.
//   - Records without a key go. Only what lies below the recovery point and is committed is touched.
//
// Entries become fewer, so the new segments get names that end where the first one begins that
// stays. They are on disk, under numbers, when the journal is written; from then on the old files
// go and the new ones get their names, at the next open if a crash comes between. Before the journal
// the log is as it was; each step after it may be done twice. In memory the new list comes first, and
// its segments are found wherever their files lie; an old segment is closed for good before a file
// of its name changes, and who still holds the old list goes on with the new one. What lies below the
// log start may be dropped, so that and the recovery point are made durable before the journal.
//
// A segment that is missing or damaged below the recovery point, or where a witness says that it was
// on disk, is not an end: the log is short, and that is for replication to judge. It is never cut
// there and served, and keeps its recovery point in the checkpoint, so that the next start judges
// the same.
//
// A log that is poisoned is cut to its flushed end before all else, whatever the page cache shows
// behind it, and takes appends of a newer leader epoch only: what was cut may have been seen.
package logstore
