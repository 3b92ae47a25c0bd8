package logstore

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"
)

func epochsOf(pairs ...int64) *epochs {
	e := &epochs{}
	for p := range slices.Chunk(pairs, 2) {
		e.assign(int32(p[0]), p[1])
	}
	return e
}

func TestEpochsAssign(t *testing.T) {
	for _, c := range []struct {
		name    string
		before  *epochs
		epoch   int32
		start   int64
		changed bool
		want    []epochStart
	}{
		{"first", epochsOf(), 3, 0, true, []epochStart{{3, 0}}},
		{"next", epochsOf(0, 0), 2, 10, true, []epochStart{{0, 0}, {2, 10}}},
		{"same epoch goes on", epochsOf(0, 0, 2, 10), 2, 15, false, []epochStart{{0, 0}, {2, 10}}},
		{"same epoch begins earlier", epochsOf(0, 0, 2, 10), 2, 5, true, []epochStart{{0, 0}, {2, 5}}},
		{"empty epoch is replaced", epochsOf(0, 0, 2, 10), 3, 10, true, []epochStart{{0, 0}, {3, 10}}},
		{"truncated epochs are replaced", epochsOf(0, 0, 2, 10, 3, 20), 4, 7, true, []epochStart{{0, 0}, {4, 7}}},
		{"older epoch replaces newer", epochsOf(0, 0, 5, 10), 3, 20, true, []epochStart{{0, 0}, {3, 20}}},
		{"all replaced", epochsOf(4, 10, 5, 12), 6, 0, true, []epochStart{{6, 0}}},
	} {
		if changed := c.before.assign(c.epoch, c.start); changed != c.changed || !slices.Equal(c.before.list, c.want) {
			t.Errorf("%s: %v %v, want %v %v", c.name, changed, c.before.list, c.changed, c.want)
		}
	}
}

func TestEpochsEndFor(t *testing.T) {
	e := epochsOf(2, 10, 4, 20, 7, 30)
	for _, c := range []struct {
		epoch, found int32
		end          int64
	}{
		{-1, -1, -1},
		{0, 0, 10}, // older than all: the log start, so that the follower begins there
		{1, 1, 10},
		{2, 2, 20},
		{3, 2, 20},
		{4, 4, 30},
		{6, 4, 30},
		{7, 7, 45},
		{8, -1, -1},
	} {
		if found, end := e.endFor(c.epoch, 45); found != c.found || end != c.end {
			t.Errorf("endFor(%d) = %d, %d; want %d, %d", c.epoch, found, end, c.found, c.end)
		}
	}
	if found, end := epochsOf().endFor(0, 5); found != -1 || end != -1 {
		t.Errorf("without epochs: %d, %d", found, end)
	}
}

func TestEpochsAt(t *testing.T) {
	e := epochsOf(2, 10, 4, 20)
	for offset, want := range map[int64]int32{0: -1, 9: -1, 10: 2, 19: 2, 20: 4, 1000: 4} {
		if got := e.at(offset); got != want {
			t.Errorf("at(%d) = %d, want %d", offset, got, want)
		}
	}
}

func TestEpochsTruncate(t *testing.T) {
	for _, c := range []struct {
		name    string
		do      func(*epochs) bool
		changed bool
		want    []epochStart
	}{
		{"end above all", func(e *epochs) bool { return e.truncateEnd(50) }, false, []epochStart{{2, 10}, {4, 20}, {7, 30}}},
		{"end inside", func(e *epochs) bool { return e.truncateEnd(21) }, true, []epochStart{{2, 10}, {4, 20}}},
		{"end at a start", func(e *epochs) bool { return e.truncateEnd(20) }, true, []epochStart{{2, 10}}},
		{"end below all", func(e *epochs) bool { return e.truncateEnd(0) }, true, nil},
		{"start below all", func(e *epochs) bool { return e.truncateStart(5) }, false, []epochStart{{2, 10}, {4, 20}, {7, 30}}},
		{"start at the first", func(e *epochs) bool { return e.truncateStart(10) }, false, []epochStart{{2, 10}, {4, 20}, {7, 30}}},
		{"start inside the first", func(e *epochs) bool { return e.truncateStart(11) }, true, []epochStart{{2, 11}, {4, 20}, {7, 30}}},
		{"start at the second", func(e *epochs) bool { return e.truncateStart(20) }, true, []epochStart{{4, 20}, {7, 30}}},
		{"start inside the second", func(e *epochs) bool { return e.truncateStart(25) }, true, []epochStart{{4, 25}, {7, 30}}},
		{"start above all", func(e *epochs) bool { return e.truncateStart(99) }, true, []epochStart{{7, 99}}},
	} {
		e := epochsOf(2, 10, 4, 20, 7, 30)
		if changed := c.do(e); changed != c.changed || !slices.Equal(e.list, c.want) {
			t.Errorf("%s: %v %v, want %v %v", c.name, changed, e.list, c.changed, c.want)
		}
	}
}

// Against the plain truth: a slice that holds the epoch of each offset.
func TestEpochsModel(t *testing.T) {
	for seed := range uint64(200) {
		r := rand.New(rand.NewPCG(seed, 3))
		e, byOffset, start, epoch := &epochs{}, []int32{}, int64(0), int32(0)
		for range 60 {
			switch r.IntN(6) {
			case 0:
				epoch += 1 + r.Int32N(2)
			case 1: // a follower that was cut may be led in any newer epoch
				byOffset = byOffset[:max(start, int64(len(byOffset))-r.Int64N(8))]
				e.truncateEnd(int64(len(byOffset)))
			case 2:
				start += r.Int64N(int64(len(byOffset)) - start + 1)
				e.truncateStart(start)
			default:
				e.assign(epoch, int64(len(byOffset)))
				for range 1 + r.IntN(5) {
					byOffset = append(byOffset, epoch)
				}
			}
			for o := start; o < int64(len(byOffset)); o++ {
				if got := e.at(o); got != byOffset[o] {
					t.Fatalf("seed %d: at(%d) = %d, want %d: %v", seed, o, got, byOffset[o], e.list)
				}
			}
		}
		if got, err := decodeEpochs(e.encode()); err != nil || !slices.Equal(got.list, e.list) {
			t.Fatalf("seed %d: decoded %v, %v", seed, got.list, err)
		}
	}
}

func TestEpochsDecodeRefuses(t *testing.T) {
	for name, e := range map[string]epochs{
		"epochs not growing": {[]epochStart{{2, 10}, {2, 20}}},
		"starts not growing": {[]epochStart{{2, 10}, {3, 10}}},
		"negative":           {[]epochStart{{-1, 10}}},
	} {
		if _, err := decodeEpochs(e.encode()); !errors.Is(err, errBadFile) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := decodeEpochs(make([]byte, 11)); !errors.Is(err, errBadFile) {
		t.Errorf("11 bytes: %v", err)
	}
}
