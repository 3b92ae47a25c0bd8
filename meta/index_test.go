package meta

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
)

// An index is what a sorted list would be, and the one before stays what it was.
func TestIndex(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 0))
	var x index
	var model []string
	for step := range 6000 {
		name := fmt.Sprintf("%04d", rnd.IntN(2000))
		i, has := slices.BinarySearch(model, name)
		before, was := x, slices.Clone(model)
		if grow := step < 4000; has && (!grow || rnd.IntN(4) == 0) {
			x, model = x.without(byName(name)), slices.Delete(model, i, i+1)
		} else {
			x = x.with(&Topic{Name: name}, byName(name))
			if !has {
				model = slices.Insert(model, i, name)
			}
		}
		if (x.get(byName(name)) != nil) != slices.Contains(model, name) {
			t.Fatalf("step %d: %s is wrong", step, name)
		}
		if step%50 == 0 && (!sameNames(before, was) || !sameNames(x, model)) {
			t.Fatalf("step %d: %d topics, should be %d; before %d, should be %d", step, x.size, len(model), before.size, len(was))
		}
	}
	for _, name := range slices.Clone(model) {
		x = x.without(byName(name))
	}
	if x.size != 0 || len(x.blocks) != 0 || x.get(byName("0000")) != nil {
		t.Errorf("%d topics are left", x.size)
	}
	sorted := make([]*Topic, 1000)
	for i := range sorted {
		sorted[i] = &Topic{Name: fmt.Sprintf("%04d", i)}
	}
	if x = newIndex(sorted); x.size != 1000 || x.get(byName("0999")) != sorted[999] || x.get(byName("x")) != nil {
		t.Errorf("an index of %d topics", x.size)
	}
}

func sameNames(x index, model []string) bool {
	i := 0
	for topic := range x.all() {
		if i == len(model) || topic.Name != model[i] {
			return false
		}
		i++
	}
	return i == len(model) && x.size == i
}
