// A worker: takes one piece of work at a time. Sets of images are sent to it once and known by a number.
import { partial, sources } from './machines.js'

const sets = new Map()

const work = {
  // sums over some of the images
  partial: (set, { machine, k, x, t, first, count, skip, each }) => partial(set, machine, k, x, t, first, count, skip, each),
  // all that stands behind one pixel
  sources: (set, { machine, k, x, t, pixel, top, skip }) => sources(set, machine, k, x, t, pixel, top, skip),
}

self.onmessage = ({ data: { ticket, job, number, set, query } }) => {
  try {
    if (set) {
      sets.set(number, set)
      for (const old of sets.keys()) if (sets.size > 8 && old !== number) sets.delete(old)
    }
    if (!sets.has(number)) return self.postMessage({ ticket, missing: number })
    const answer = work[job](sets.get(number), query)
    const arrays = [...Object.values(answer.sums ?? {}), answer.each, answer.byImage].filter(v => v?.buffer).map(v => v.buffer)
    self.postMessage({ ticket, answer }, arrays)
  } catch (e) { self.postMessage({ ticket, error: e.message }) }
}
