// The work of all workers: small pieces, the most urgent first; what nobody wants any more is dropped. One more
// worker has the graphics card, where there is one; what single precision cannot do exactly enough the others do.
import { plan } from './plan.js'
import { emptySums, merge, read } from './sums.js'
import { doubt, MOST_DOUBT, takes } from './webgpu.js'

// What a promise of dropped work is rejected with.
export class Dropped extends Error {}

// How many (pixel, candidate) pairs make a piece of some hundredths of a second.
const PAIRS = 6e6
// The card's pieces are to take so many milliseconds; how many pairs it does in one is seen as it works.
const PIECE = 40

let numbered = 0
const numbers = new WeakMap() // of sets

export class Pool {
  // `broken(why)` is told when a worker does not start, `changed()` when the card begins or ends to take part.
  constructor(broken = () => {}, changed = () => {}) {
    Object.assign(this, { waiting: [], tickets: 0, card: null, rate: 1e4, changed, done: { card: 0, workers: 0 } })
    const size = Math.max(1, Math.min(navigator.hardwareConcurrency || 2, 8))
    this.workers = Array.from({ length: size }, () => this.start(broken))
  }

  all() { return this.card ? [this.card, ...this.workers] : this.workers }

  start(broken) {
    const thread = new Worker(new URL('worker.js', import.meta.url), { type: 'module' })
    const worker = { thread, known: new Set(), task: null, card: false }
    thread.onmessage = ({ data }) => this.answered(worker, data)
    thread.onerror = e => broken(e.message || 'a worker does not start')
    return worker
  }

  // Let the graphics card take part if it is exact, and faster than the workers together; `any`: whatever it is.
  async openCard(any = false) {
    this.card = Object.assign(this.start(() => this.closeCard()), { card: true })
    try {
      const { name, speed } = await this.ask('open', null, { any }, 'open', 0, true)
      if (!name || speed < this.workers.length) return this.closeCard()
      this.card.name = name
    } catch { return this.closeCard() }
    this.changed()
  }

  // It is not to be had, or no longer: its work goes to the others.
  closeCard() {
    if (!this.card) return
    const { thread, task } = this.card, begun = task?.group ? [task] : []
    thread.terminate()
    this.card = null
    this.waiting = [...begun, ...this.waiting]
    for (const other of this.waiting) other.card = false
    this.waiting = this.waiting.filter(({ job, reject }) => job !== 'open' || reject(new Dropped('open')))
    this.changed()
    this.next()
  }

  // A promise of one piece of work. `group` names what it belongs to, so that `drop(group)` ends it; a lower `rank`
  // goes first. `card`: by the graphics card.
  ask(job, set, query, group, rank, card = false) {
    if (set && !numbers.has(set)) numbers.set(set, ++numbered)
    return new Promise((resolve, reject) => {
      const task = { ticket: ++this.tickets, job, set, query, group, rank, card, resolve, reject }
      let at = this.waiting.length
      while (at && this.waiting[at - 1].rank > rank) at--
      this.waiting.splice(at, 0, task)
      this.next()
    })
  }

  next() {
    for (const worker of this.all()) {
      const at = worker.task ? -1 : this.waiting.findIndex(task => task.card === worker.card)
      if (at < 0) continue
      const [task] = this.waiting.splice(at, 1), { ticket, job, set, query } = task, number = set && numbers.get(set)
      const known = worker.known.has(number)
      if (number) worker.known.add(number)
      Object.assign(worker, { task, since: performance.now() })
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
    } else if (error && worker.card && task.job !== 'open') {
      worker.task = task
      return this.closeCard()
    } else if (error) task.reject(new Error(error))
    else {
      if (worker.card && task.job !== 'open') this.rate = task.query.pairs / (performance.now() - worker.since)
      task.resolve(answer)
    }
    this.next()
  }

  // Drop all work of a group.
  drop(group) {
    const gone = this.waiting.filter(task => task.group === group)
    this.waiting = this.waiting.filter(task => task.group !== group)
    for (const { task } of this.all()) if (task?.group === group) gone.push(task)
    for (const task of gone) {
      task.group = undefined
      task.reject(new Dropped(group))
    }
  }

  // What every pixel believes: { machine, k, x, t, skip, each }. With `each` also every image's share of all belief,
  // and its weight at each pixel.
  async believe(set, query, group, rank) {
    const { machine, k, x, t, skip = -1 } = query, { N, C, H, W } = set
    const p = machine === 'is' ? undefined : plan(machine, H, W, k)
    const sums = card => this.sums(set, query, group, rank, p, card)
    let card = Boolean(this.card?.name) && takes(set, machine), found = await sums(card)
    if (card && doubt(set, machine, k, x, t, found.sums) > MOST_DOUBT) found = await sums(card = false)
    this.done[card ? 'card' : 'workers']++
    const belief = read(found.sums, p, N - (skip >= 0 ? 1 : 0))
    return query.each ? Object.assign(belief, shares(found.sums, found.parts, N, H * W)) : belief
  }

  // The sums over all images, in pieces.
  async sums(set, query, group, rank, p, card) {
    const { N, C, H, W } = set, pairs = p ? p.pairs : H * W
    const fit = card ? PIECE * this.rate / pairs : PAIRS / (C * pairs)
    const most = card ? N : Math.ceil(N / this.workers.length)
    const size = Math.max(1, Math.min(most, Math.floor(fit))), pieces = []
    for (let first = 0; first < N; first += size) {
      const count = Math.min(size, N - first)
      pieces.push({ skip: -1, ...query, first, count, pairs: pairs * count })
    }
    const sums = emptySums(H * W, C), parts = []
    await Promise.all(pieces.map(async piece => {
      const part = await this.ask('partial', set, piece, group, rank, card)
      merge(sums, part.sums)
      parts.push({ first: piece.first, each: part.each })
    }))
    return { sums, parts }
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
