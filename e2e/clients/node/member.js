// What a member of a group prints: count records, or records until the end of stdin; see
// ../README.md.
export class Member {
  constructor(count) {
    this.left = count === undefined ? Infinity : Number(count)
    this.finished = new Promise(end => (this.end = end))
    if (count === undefined) process.stdin.resume().once('end', () => this.stop())
  }

  stop() {
    this.left = 0
    this.end()
  }

  done() {
    return this.left === 0
  }

  take(partition, offset, value) {
    console.log(`${partition} ${offset} ${value}`)
    if (--this.left === 0) this.end()
  }
}
