// Package batch reads and edits Kafka's record batch (magic 2) in place: the
// unit in which producers send, logs store and consumers fetch records.
//
//	 0  baseOffset            int64   set by the leader
//	 8  batchLength           int32   bytes after this field
//	12  partitionLeaderEpoch  int32   set by the leader
//	16  magic                 int8    2
//	17  crc                   uint32  CRC-32C of everything after it
//	21  attributes            int16   codec, timestamp type, transactional, control
//	23  lastOffsetDelta       int32
//	27  baseTimestamp         int64
//	35  maxTimestamp          int64
//	43  producerId            int64
//	51  producerEpoch         int16
//	53  baseSequence          int32
//	57  recordCount           int32
//	61  records, compressed together
//
// Base offset and leader epoch lie outside the checksum, so a broker sets them
// without touching the records. The package is a leaf: it knows no topics, logs
// or connections.
package batch
