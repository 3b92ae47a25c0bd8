package broker

import (
	"sync/atomic"

	"chronik/logstore"
	"chronik/wire"
)

// fetchWriter writes an answer whose records may stay in pipes.
type fetchWriter struct {
	wire.FetchWriter
	out   *outbox
	pipes []*logstore.Pipe // with records, in their order
}

// pipe is an empty one, nil where records have to be looked at or there is none.
func (w *fetchWriter) pipe(version int16) *logstore.Pipe {
	if version < zstdFetch || w.out.socket == nil {
		return nil
	}
	return w.out.pipes.get()
}

// keep takes a pipe with what was read into it, unless that failed, and returns how much that is.
func (w *fetchWriter) keep(p *logstore.Pipe, err error) int {
	switch {
	case p == nil:
		return 0
	case err != nil || p.Held() == 0:
		w.out.pipes.put(p)
		return 0
	}
	w.pipes = append(w.pipes, p)
	return p.Held()
}

// splice gives the pipes to the outbox, and returns how many bytes are in them.
func (w *fetchWriter) splice() (sum int) {
	for i, o := range w.Outside() {
		w.out.spliced = append(w.out.spliced, spliced{o.At, w.pipes[i]})
		sum += o.Size
	}
	return sum
}

func (w *fetchWriter) discard() {
	for _, p := range w.pipes {
		w.out.pipes.put(p)
	}
}

// pipes are those of all connections. There are few: a client that does not read keeps one, and
// who finds none copies.
type pipes struct {
	free chan *logstore.Pipe
	made atomic.Int32
}

// mostPipes keeps below the memory in pipes that Linux gives one user before it makes them small.
const mostPipes = 48

func newPipes() *pipes { return &pipes{free: make(chan *logstore.Pipe, mostPipes)} }

// get returns an empty pipe, nil when all are in use.
func (p *pipes) get() *logstore.Pipe {
	select {
	case pipe := <-p.free:
		return pipe
	default:
	}
	if p.made.Add(1) > mostPipes {
		p.made.Add(-1)
		return nil
	}
	pipe, err := logstore.NewPipe()
	if err != nil { // too many files are open, or too much is in pipes: whoever asks copies
		p.made.Add(-1)
		return nil
	}
	return pipe
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

// close ends the pipes; those that are in use stay to be collected.
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
