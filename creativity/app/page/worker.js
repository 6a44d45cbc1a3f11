// A worker: takes one piece of work at a time. Sets of images are sent to it once and known by a number.
import { partial, sources } from './machines.js'
import { check, open, speed } from './webgpu.js'

const sets = new Map()
let card // the graphics card, in the one worker that opens it

const work = {
  // sums over some of the images
  partial: (set, { machine, k, x, t, first, count, skip, each }) =>
    (card ? card.partial.bind(card) : partial)(set, machine, k, x, t, first, count, skip, each),
  // all that stands behind one pixel
  sources: (set, { machine, k, x, t, pixel, top, skip }) => sources(set, machine, k, x, t, pixel, top, skip),
  // what the graphics card is called, and how many times as fast as a worker it is; it must be exact
  open: async (_, { any }) => {
    card = await open(any)
    if (!card) return {}
    await check(card, partial)
    return { name: card.name, speed: any ? Infinity : await speed(card, partial) }
  },
}

self.onmessage = async ({ data: { ticket, job, number, set, query } }) => {
  try {
    if (set) {
      sets.set(number, set)
      for (const old of sets.keys()) if (sets.size > 8 && old !== number) sets.delete(old)
    }
    if (number && !sets.has(number)) return self.postMessage({ ticket, missing: number })
    const answer = await work[job](sets.get(number), query)
    const arrays = [...Object.values(answer.sums ?? {}), answer.each, answer.byImage].filter(v => v?.buffer)
    self.postMessage({ ticket, answer }, arrays.map(v => v.buffer))
  } catch (e) { self.postMessage({ ticket, error: e.message }) }
}
