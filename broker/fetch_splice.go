package broker

import (
	"sync/atomic"
	"time"

	"chronik/logstore"
	"chronik/wire"
)

// fetchWriter writes an answer whose records may stay in pipes.
type fetchWriter struct {
	wire.FetchWriter
	out   *outbox
	pipes []*logstore.Pipe // with records, in their order
}

// pipesOfOne is how many pipes one answer may have.
const pipesOfOne = 4

// pipe is an empty one, nil where records have to be looked at or there is none. keep must follow.
func (w *fetchWriter) pipe(version int16) *logstore.Pipe {
	if version < zstdFetch || w.out.socket == nil || len(w.pipes) == pipesOfOne {
		return nil
	}
	p := w.out.pipes.get()
	if p != nil {
		w.pipes = append(w.pipes, p)
	}
	return p
}

// keep gives a pipe back if it is empty or what was read into it failed, and returns how much it has.
func (w *fetchWriter) keep(p *logstore.Pipe, err error) int {
	if p == nil || err == nil && p.Held() > 0 {
		return p.Held()
	}
	w.pipes = w.pipes[:len(w.pipes)-1]
	w.out.pipes.put(p)
	return 0
}

// splice gives the pipes to the outbox, and returns how many bytes are in them.
func (w *fetchWriter) splice() (sum int) {
	for i, o := range w.Outside() {
		w.out.spliced = append(w.out.spliced, spliced{o.At, w.pipes[i]})
		sum += o.Size
	}
	w.pipes = nil
	return sum
}

// discard gives back the pipes of an answer that is not to be.
func (w *fetchWriter) discard() {
	for _, p := range w.pipes {
		w.out.pipes.put(p)
	}
}

// pipes are those of all connections. There are few, and clients that do not read keep some: who finds
// none copies.
type pipes struct {
	sizes []int // to ask for
	free  chan *logstore.Pipe
	made  atomic.Int32
	again atomic.Int64 // unix nanoseconds: before, the system gives no more
}

const (
	// mostPipes keeps below the memory in pipes that Linux gives one user before it makes them small.
	mostPipes = 48
	// pipesAgain is how long no pipe is made after one was refused.
	pipesAgain = 10 * time.Second
)

// newPipes asks for room for a read of a log, and half of it: more than 1 MiB is for root.
func newPipes() *pipes {
	return &pipes{sizes: []int{2 * maxPartitionRead, maxPartitionRead}, free: make(chan *logstore.Pipe, mostPipes)}
}

// get returns an empty pipe, nil when all are in use.
func (p *pipes) get() *logstore.Pipe {
	select {
	case pipe := <-p.free:
		return pipe
	default:
	}
	if p.made.Add(1) <= mostPipes && time.Now().UnixNano() > p.again.Load() {
		for _, size := range p.sizes {
			if pipe, err := logstore.NewPipe(size); err == nil {
				return pipe
			}
		}
		p.again.Store(time.Now().Add(pipesAgain).UnixNano()) // too many files are open, or too much is in pipes
	}
	p.made.Add(-1)
	return nil
}

// put takes a pipe back. One that is not empty is of no use any more.
func (p *pipes) put(pipe *logstore.Pipe) {
	if pipe.Held() == 0 {
		p.free <- pipe
		return
	}
	p.made.Add(-1)
	_ = pipe.Close() // what is in it was given up
}

// close ends the pipes, when no connection is left.
func (p *pipes) close() {
	for {
		select {
		case pipe := <-p.free:
			_ = pipe.Close() // it is empty
		default:
			return
		}
	}
}
