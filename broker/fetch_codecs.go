package broker

import "chronik/wire/batch"

// zstdFetch is the first version whose clients know zstd (KIP-110).
const zstdFetch = 10

func hasZstd(records []byte) bool {
	for {
		b, rest, err := batch.First(records)
		if err != nil {
			return false
		}
		if b.Codec() == batch.Zstd {
			return true
		}
		records = rest
	}
}
