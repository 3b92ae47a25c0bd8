package meta

import (
	"iter"
	"slices"
)

// index is a sorted list of topics in blocks. It never changes: with and without
// return another that shares all blocks but one.
type index struct {
	blocks [][]*Topic // none is empty
	size   int
}

// blockSize is how many topics a block holds at most.
const blockSize = 256

// place compares topics with what is looked for: negative for those before it.
type place func(*Topic) int

// newIndex makes an index of sorted topics, which it takes over.
func newIndex(sorted []*Topic) index {
	return index{slices.Collect(slices.Chunk(sorted, blockSize/2)), len(sorted)}
}

// find returns where a topic is, or where it belongs.
func (x index) find(at place) (block, i int, found bool) {
	block, _ = slices.BinarySearchFunc(x.blocks, at, func(b []*Topic, at place) int { return at(b[len(b)-1]) })
	if block == len(x.blocks) {
		if block--; block < 0 {
			return 0, 0, false
		}
	}
	i, found = slices.BinarySearchFunc(x.blocks[block], at, func(t *Topic, at place) int { return at(t) })
	return block, i, found
}

func (x index) get(at place) *Topic {
	if block, i, found := x.find(at); found {
		return x.blocks[block][i]
	}
	return nil
}

func (x index) all() iter.Seq[*Topic] {
	return func(yield func(*Topic) bool) {
		for _, b := range x.blocks {
			for _, t := range b {
				if !yield(t) {
					return
				}
			}
		}
	}
}

// with has t in place of what is there, or adds it.
func (x index) with(t *Topic, at place) index {
	if len(x.blocks) == 0 {
		return newIndex([]*Topic{t})
	}
	block, i, found := x.find(at)
	x.blocks = slices.Clone(x.blocks)
	b := slices.Clone(x.blocks[block])
	if found {
		b[i] = t
		x.blocks[block] = b
		return x
	}
	x.size++
	b = slices.Insert(b, i, t)
	if len(b) <= blockSize {
		x.blocks[block] = b
		return x
	}
	half := len(b) / 2
	x.blocks[block] = slices.Clone(b[half:])
	x.blocks = slices.Insert(x.blocks, block, slices.Clone(b[:half]))
	return x
}

// without lacks what is there.
func (x index) without(at place) index {
	block, i, found := x.find(at)
	if !found {
		return x
	}
	x.size--
	x.blocks = slices.Clone(x.blocks)
	if len(x.blocks[block]) == 1 {
		x.blocks = slices.Delete(x.blocks, block, block+1)
		return x
	}
	x.blocks[block] = slices.Delete(slices.Clone(x.blocks[block]), i, i+1)
	return x
}
