// The records that every driver writes; see ../README.md.

export const odd = Array.from({ length: 10 }, (_, i) => ({
  key: i % 5 === 0 ? null : `k${i}`,
  value: i % 3 === 1 ? null : `v${i}`,
}))

export const oddHeaders = { h1: 'one', h2: 'two' }

export function plain(count) {
  const x = 'x'.repeat(80)
  return Array.from({ length: Number(count) }, (_, i) => ({ key: `key-${i % 100}`, value: `value-${i}-${x}` }))
}

// chunks cuts a list into n parts of nearly equal length.
export function chunks(list, n) {
  const size = Math.ceil(list.length / n)
  return Array.from({ length: n }, (_, i) => list.slice(i * size, (i + 1) * size)).filter(c => c.length > 0)
}

export const pause = seconds => new Promise(done => setTimeout(done, seconds * 1000))
