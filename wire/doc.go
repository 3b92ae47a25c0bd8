// Package wire speaks Kafka's bytes where kmsg is not enough: request and
// response headers, and codecs by hand for Produce and Fetch, whose requests are
// decoded without copying records and whose answers are built around records that
// are read straight into the output.
//
// A frame is a 4-byte size and that many bytes:
//
//	request   key int16 | version int16 | correlation int32 | client id nullable string | (tags) | body
//	response  correlation int32 | (tags) | body
//
// Tags are there in flexible versions (KIP-482). The response header of
// ApiVersions never has them, at any version: a client that does not know the
// broker's versions yet must be able to read it.
//
// Every length and count is checked against the bytes that remain before anything
// is allocated from it; no input panics. Decoders reuse the slices of their last
// request, and what they return lies in the frame.
package wire
