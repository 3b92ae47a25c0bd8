package broker

import (
	"errors"
	"fmt"

	"github.com/twmb/franz-go/pkg/kerr"

	"chronik/logstore"
	"chronik/wire"
)

// fetchResult is what is told of one partition; read appends its records.
type fetchResult struct {
	p      *partition // nil with an error
	later  bool       // nothing is told now
	header wire.FetchPartitionHeader
	read   wire.ReadRecords
}

// news reports whether an incremental answer must name the partition.
func (r *fetchResult) news(fp *fetchPartition) bool {
	return !r.later && (r.read != nil || r.header.Diverging != (wire.EpochEnd{}) || r.header.ErrorCode != 0 || r.header.PreferredReplica >= 0 ||
		r.header.HighWatermark != fp.hw || r.header.LogStartOffset != fp.start)
}

// failed is what is told of a partition that cannot be read.
func (a *fetchAnswer) failed(fp *fetchPartition, err error) fetchResult {
	r := fetchResult{header: wire.NewFetchPartitionHeader(fp.num)}
	r.header.ErrorCode = errorCode(err)
	if at, ok := errors.AsType[*refusedAt](err); ok && fp.replica >= 0 {
		r.header.LogStartOffset = at.logStart // where it starts anew
	}
	r.header.Committed = r.header.ErrorCode == kerr.UnknownTopicOrPartition.Code || r.header.ErrorCode == kerr.UnknownTopicID.Code
	a.nameLeader(fp, &r.header)
	return r
}

// look decides what to tell of one partition when left bytes remain. The first
// batch of the answer is given whole even when it is larger.
func (a *fetchAnswer) look(w *fetchWriter, fp *fetchPartition, left int, first bool) fetchResult {
	r := fetchResult{header: wire.NewFetchPartitionHeader(fp.num)}
	p, err := a.c.b.fetched(a.h.Version, fp)
	if d, ok := errors.AsType[*diverged](err); ok {
		r.header.Diverging = d.at
	} else if err != nil && !a.full && a.awaits(fp, err) {
		r.later = true
		return r
	} else if err != nil {
		return a.failed(fp, err)
	}
	end, limit := fp.end(p), min(int(fp.maxBytes), left, maxPartitionRead)
	hw := p.hw() // after the end of what is given: that must not lie above it
	if told := min(fp.offset, p.begin); p.repl != nil && fp.replica < 0 && hw < told {
		hw = told // what the client has read is committed; a new leader does not know it yet
	}
	r.header.HighWatermark, r.header.LastStableOffset, r.header.LogStartOffset = hw, hw, p.log.Start()
	if err == nil {
		r.p, r.header.PreferredReplica = p, a.nearer(fp, p)
	}
	if err != nil || r.header.PreferredReplica >= 0 || end <= fp.offset || limit <= 0 && !first || !a.mayGive(fp, p) {
		return r
	}
	from := fp.offset
	if planted("skip-batch") && from%100 == 99 {
		from = min(from+100, end-1)
	}
	if planted("read-uncommitted") {
		end = p.log.End()
	}
	r.header.SizeHint = p.log.SizeFrom(fp.offset, end, max(limit, 1))
	r.read = func(dst []byte) ([]byte, int, error) {
		before, pipe := len(dst), w.pipe(a.h.Version)
		dst, err := p.log.Splice(dst, logstore.Want{From: from, Until: end, Limit: max(limit, 1), Pipe: pipe})
		if errors.Is(err, logstore.ErrDamaged) && (p.followed != nil || p.repl.othersInSync()) {
			err = fmt.Errorf("%w: %w", kerr.KafkaStorageError, err) // one of them serves at once
		}
		if err == nil && p.followed != nil {
			err = p.usable() // what lies below end now may be other records
		}
		if err == nil && !first && len(dst)-before > limit { // that is one batch, which is not spliced
			dst = dst[:before]
		}
		if err == nil && a.h.Version < zstdFetch && hasZstd(dst[before:]) {
			err = kerr.UnsupportedCompressionType
		}
		return dst, w.keep(pipe, err), err
	}
	return r
}
