package logstore

import (
	"bytes"
	"fmt"
	"testing"

	"chronik/wire/batch"
)

// maker makes record batches with contents that no two share.
type maker struct {
	made int
	keys int // of the records, one after the other; 0: none
}

// key is the key of the record that was made last.
func (m *maker) key() []byte {
	if m.keys == 0 {
		return nil
	}
	return fmt.Appendf(nil, "key %d", m.made%m.keys)
}

// batch makes an uncompressed batch of n records of about size bytes each, with timestamps from ts on.
func (m *maker) batch(n, size int, ts int64) batch.Batch {
	return m.of(batch.None, n, size, ts)
}

func (m *maker) of(codec batch.Codec, n, size int, ts int64) batch.Batch {
	b := batch.NewBuilder(codec)
	for i := range n {
		m.made++
		value := fmt.Appendf(nil, "value %d ", m.made)
		value = append(value, bytes.Repeat([]byte{byte(m.made)}, max(0, size-len(value)))...)
		b.Add(ts+int64(i), m.key(), value)
	}
	return build(b)
}

// produced makes a batch of an idempotent producer.
func (m *maker) produced(n int, id int64, epoch int16, seq int32) batch.Batch {
	b := batch.NewBuilder(batch.None)
	b.SetProducer(id, epoch, seq)
	for range n {
		m.made++
		b.Add(1, m.key(), fmt.Appendf(nil, "value %d", m.made))
	}
	return build(b)
}

func build(b *batch.Builder) batch.Batch {
	made, err := b.Build(nil)
	if err != nil {
		panic(err) // of the test's own making
	}
	return made
}

// at sets what a leader sets.
func at(b batch.Batch, offset int64, epoch int32) batch.Batch {
	b.SetBaseOffset(offset)
	b.SetLeaderEpoch(epoch)
	return b
}

func mustDo(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
