package logstore

import (
	"fmt"
	"os"
	"testing"

	"github.com/tidwall/wal"
)

// BenchmarkAppend compares appending in place with the stock library's writer, which is why that is
// not used. Neither is flushed but where a segment ends.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1 << 20, 16 << 10} {
		var m maker
		made := m.batch(size/1024, 1000, 1)
		b.Run(fmt.Sprintf("stock/%dKiB", size>>10), func(b *testing.B) {
			log, err := wal.Open(b.TempDir(), &wal.Options{NoSync: true, SegmentSize: 64 << 20})
			mustDo(b, err)
			b.SetBytes(int64(len(made)))
			b.ReportAllocs()
			for i := uint64(1); b.Loop(); i++ {
				mustDo(b, log.Write(i, made))
				if i%1024 == 0 { // what a test directory can hold
					mustDo(b, log.TruncateFront(i))
				}
			}
			mustDo(b, log.Close())
		})
		b.Run(fmt.Sprintf("direct/%dKiB", size>>10), func(b *testing.B) {
			s, stop := running(b, b.TempDir())
			l := taken(b, s, Options{FlushMessages: 1 << 60, RetentionBytes: 1 << 30})
			items := []Item{{Batch: made}}
			b.SetBytes(int64(len(made)))
			b.ReportAllocs()
			for i := 1; b.Loop(); i++ {
				mustDo(b, l.Append(0, items))
				if i%1024 == 0 {
					mustDo(b, s.retain(b.Context()))
				}
			}
			stop(true)
		})
	}
}

// BenchmarkAppendFlushed is one producer that waits for the disk each time.
func BenchmarkAppendFlushed(b *testing.B) {
	s, stop := running(b, b.TempDir())
	l := taken(b, s, Options{})
	var m maker
	items := []Item{{Batch: m.batch(16, 1000, 1)}}
	w := Waiter{Waker: make(chanWaker, 1)}
	b.SetBytes(int64(len(items[0].Batch)))
	for b.Loop() {
		mustDo(b, l.Append(0, items))
		w.At = l.End()
		l.AckedMark().Wait(&w)
		mustDo(b, <-w.Waker.(chanWaker))
	}
	stop(true)
}

// BenchmarkRead reads a log from the start to the end, 1 MiB at a time, from the page cache.
func BenchmarkRead(b *testing.B) {
	for _, size := range []int{1 << 20, 16 << 10} {
		var m maker
		items := []Item{{Batch: m.batch(size/1024, 1000, 1)}}
		b.Run(fmt.Sprintf("direct/%dKiB", size>>10), func(b *testing.B) {
			s, stop := running(b, b.TempDir())
			l := taken(b, s, Options{FlushMessages: 1 << 60})
			for l.Size() < 100<<20 {
				mustDo(b, l.Append(0, items))
			}
			b.SetBytes(l.Size())
			b.ReportAllocs()
			buf := make([]byte, 0, 2<<20)
			for b.Loop() {
				for at := int64(0); at < l.End(); {
					got, err := l.Read(buf, at, l.End(), 1<<20)
					mustDo(b, err)
					at += int64(len(got)/len(items[0].Batch)) * int64(items[0].Batch.NumRecords())
				}
			}
			stop(true)
		})
		b.Run(fmt.Sprintf("stock/%dKiB", size>>10), func(b *testing.B) {
			log, err := wal.Open(b.TempDir(), &wal.Options{NoSync: true, NoCopy: true, SegmentSize: 64 << 20})
			mustDo(b, err)
			n := uint64(100<<20) / uint64(len(items[0].Batch))
			for i := range n {
				mustDo(b, log.Write(i+1, items[0].Batch))
			}
			b.SetBytes(int64(n) * int64(len(items[0].Batch)))
			b.ReportAllocs()
			var buf []byte
			for b.Loop() {
				for i := range n {
					got, err := log.Read(i + 1)
					mustDo(b, err)
					buf = append(buf[:0], got...)
				}
			}
			mustDo(b, log.Close())
		})
	}
}

// BenchmarkSplice compares handing pages over with copying and checking, by the size of batches.
func BenchmarkSplice(b *testing.B) {
	null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0)
	mustDo(b, err)
	defer null.Close()
	p := newPipe(b, 2<<20)
	for _, size := range []int{1016 << 10, 64 << 10, 16 << 10, 8 << 10} {
		var m maker
		items := []Item{{Batch: m.batch(size/1024, 1000, 1)}}
		for _, how := range []string{"splice", "copy"} {
			b.Run(fmt.Sprintf("%s/%dKiB", how, size>>10), func(b *testing.B) {
				s, kill := still(b, b.TempDir())
				l := taken(b, s, Options{FlushMessages: 1 << 60})
				for l.Size() < 100<<20 {
					mustDo(b, l.Append(0, items))
				}
				if how == "copy" {
					l.settle()
					l.settle()
				}
				b.SetBytes(l.Size())
				b.ReportAllocs()
				buf := make([]byte, 0, 2<<20)
				for b.Loop() {
					for at := int64(0); at < l.End(); {
						pipe := p
						if how == "copy" {
							pipe = nil
						}
						got, err := l.Splice(buf, Want{at, l.End(), 1 << 20, pipe})
						mustDo(b, err)
						at += int64((p.Held()+len(got))/len(items[0].Batch)) * int64(items[0].Batch.NumRecords())
						for p.Held() > 0 {
							_, err := p.Send(null.Fd(), p.Held(), false)
							mustDo(b, err)
						}
					}
				}
				kill()
			})
		}
	}
}
