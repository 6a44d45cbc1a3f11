// The work of all workers: small pieces, the most urgent first; what nobody wants any more is dropped.
import { plan } from './plan.js'
import { emptySums, merge, read } from './sums.js'

// What a promise of dropped work is rejected with.
export class Dropped extends Error {}

// How many (pixel, candidate) pairs make a piece of some hundredths of a second.
const PAIRS = 6e6

let numbered = 0
const numbers = new WeakMap() // of sets

export class Pool {
  constructor(size = Math.max(1, Math.min(navigator.hardwareConcurrency || 2, 8)), broken = () => {}) {
    this.waiting = []
    this.tickets = 0
    this.workers = Array.from({ length: size }, () => {
      const worker = { thread: new Worker(new URL('worker.js', import.meta.url), { type: 'module' }), known: new Set(), task: null }
      worker.thread.onmessage = ({ data }) => this.answered(worker, data)
      worker.thread.onerror = e => broken(e.message || 'a worker does not start')
      return worker
    })
  }

  // A promise of one piece of work. `group` names what it belongs to, so that `drop(group)` ends it; a lower `rank` goes first.
  ask(job, set, query, group, rank) {
    if (!numbers.has(set)) numbers.set(set, ++numbered)
    return new Promise((resolve, reject) => {
      const task = { ticket: ++this.tickets, job, set, query, group, rank, resolve, reject }
      let at = this.waiting.length
      while (at && this.waiting[at - 1].rank > rank) at--
      this.waiting.splice(at, 0, task)
      this.next()
    })
  }

  next() {
    for (const worker of this.workers) {
      if (worker.task || !this.waiting.length) continue
      const { ticket, job, set, query } = worker.task = this.waiting.shift(), number = numbers.get(set)
      const known = worker.known.has(number)
      worker.known.add(number)
      worker.thread.postMessage({ ticket, job, number, query, set: known ? undefined : set })
    }
  }

  answered(worker, { answer, error, missing }) {
    const task = worker.task
    worker.task = null
    if (missing) {
      // it had to forget the set: once more, with the set
      worker.known.delete(missing)
      if (task.group) this.waiting.unshift(task)
    } else if (error) task.reject(new Error(error))
    else task.resolve(answer)
    this.next()
  }

  // Drop all work of a group.
  drop(group) {
    const gone = this.waiting.filter(task => task.group === group)
    this.waiting = this.waiting.filter(task => task.group !== group)
    for (const { task } of this.workers) if (task?.group === group) gone.push(task)
    for (const task of gone) {
      task.group = undefined
      task.reject(new Dropped(group))
    }
  }

  // What every pixel believes: { machine, k, x, t, skip, each }. With `each` also every image's share of all belief, and its
  // weight at each pixel.
  async believe(set, query, group, rank) {
    const { machine, k, skip = -1 } = query, { N, C, H, W } = set
    const p = machine === 'is' ? undefined : plan(machine, H, W, k)
    const most = Math.ceil(N / this.workers.length), fit = Math.floor(PAIRS / (C * (p ? p.pairs : H * W)))
    const size = Math.max(1, Math.min(most, fit)), pieces = []
    for (let first = 0; first < N; first += size)
      pieces.push({ ...query, skip, first, count: Math.min(size, N - first) })
    const sums = emptySums(H * W, C), parts = []
    await Promise.all(pieces.map(async piece => {
      const part = await this.ask('partial', set, piece, group, rank)
      merge(sums, part.sums)
      parts.push({ first: piece.first, each: part.each })
    }))
    const belief = read(sums, p, N - (skip >= 0 ? 1 : 0))
    return query.each ? Object.assign(belief, shares(sums, parts, N, H * W)) : belief
  }
}

function shares(sums, parts, N, P) {
  const share = new Float64Array(N), weights = Array.from({ length: N })
  for (const { first, each } of parts)
    for (let n = first; n < first + each.length / P; n++) {
      const own = weights[n] = new Float32Array(P)
      for (let p = 0; p < P; p++) {
        own[p] = Math.exp(each[(n - first) * P + p] - sums.top[p]) / sums.z[p]
        share[n] += own[p] / P
      }
    }
  return { share, weights }
}
