package broker

import "iter"

// distinct yields what a request names, each key once and in its order; twice
// says that the request has the key again, which Kafka refuses.
func distinct[T any, K comparable](named []T, key func(*T) K) iter.Seq2[*T, bool] {
	times := make(map[K]int, len(named))
	for i := range named {
		times[key(&named[i])]++
	}
	return func(yield func(item *T, twice bool) bool) {
		for i := range named {
			k := key(&named[i])
			n := times[k]
			if times[k] = 0; n > 0 && !yield(&named[i], n > 1) {
				return
			}
		}
	}
}
