// What is chosen and what is known so far; whoever shows it is told what has changed.
import { levels, seedNoise, widthAt } from './diffusion.js'
import { classOf, drawnBy, load } from './data.js'
import { flow } from './flow.js'
import { Dropped, Pool } from './pool.js'

export const STEPS = 20
// the widths of the slider; the last one covers the image from every place
export const WIDTHS = [1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31, 63]

export const state = {
  set: null, classIndex: 0, seed: 23, machine: 'bbels', // chosen
  images: null, // of the class, for the machine
  noise: null, painted: false,
  steps: [], // the flow as far as it is known: { step, t, x, belief }
  step: 0, following: true, // which one is looked at; does it follow the flow?
  pixel: 11 * 32 + 15, width: null, // null: as calibrated
  source: -1, // the training image that is looked at
  cut: null, // { how, image, steps, of }: the flow without it
}

export const pool = new Pool(why => problem(`The page’s workers do not run here: ${why}`), () => tell('engine'))

const listeners = [], news = new Set()
export const listen = f => listeners.push(f)

// Say what has changed; the listeners are called once a frame, each in a task of its own, so that none is long.
export function tell(...names) {
  if (!news.size) (document.hidden ? queueMicrotask : requestAnimationFrame)(() => {
    const changed = new Set(news)
    news.clear()
    for (const f of listeners) document.hidden ? f(changed) : setTimeout(f, 0, changed)
  })
  for (const name of names) news.add(name)
}

export function problem(text) {
  const box = document.getElementById('problem')
  box.textContent = text
  box.hidden = !text
}

// The step whose belief is looked at: the image at the end was made by the last one.
export const asked = () => state.steps[Math.min(state.step, STEPS - 1)]
// An answer may arrive when another flow has begun and nobody has been told yet: it is shown only of what is looked at.
export const isAsked = (now, pixel = state.pixel) => now === asked() && pixel === state.pixel
export const ownWidth = t => state.machine === 'is' ? null : widthAt(state.set.scales, t)
export const levelsAt = step => levels((STEPS - step) / STEPS)
export const isDone = () => state.steps.length > STEPS
export const network = () => state.painted ? undefined : drawnBy(state.set, state.classIndex, state.seed)
export const className = () => state.set.classes[state.classIndex].name

export async function chooseSet(name) {
  let set
  try { set = await load(name) } catch (e) { return problem(`The images could not be loaded: ${e.message}`) }
  Object.assign(state, { set })
  chooseClass(0)
}

export function chooseClass(index) {
  Object.assign(state, { classIndex: index, images: classOf(state.set, index), source: -1 })
  tell('images')
  chooseSeed(state.seed)
}

// What is chosen before the images are there holds when they come.
export function chooseSeed(seed) {
  state.seed = seed
  if (!state.set) return
  const { C, H, W } = state.set
  Object.assign(state, { noise: Float64Array.from(seedNoise(seed, C * H * W)), painted: false })
  tell('seed')
  startFlow()
}

export function chooseMachine(machine) {
  Object.assign(state, { machine, width: null })
  tell('machine')
  if (state.set) startFlow()
}

// Steps of a flow from the noise, asked of the pool; ends quietly when its work is dropped.
export async function* run(images, group, rank, width, skip = -1) {
  const { machine, noise, set: { scales } } = state, k = t => machine === 'is' ? null : width ?? widthAt(scales, t)
  const believe = (x, t) => pool.believe(images, { machine, k: k(t), x, t, skip }, group, rank)
  try { yield* flow(noise, STEPS, believe) } catch (e) {
    if (!(e instanceof Dropped)) problem(`Something went wrong: ${e.message}`)
  }
}

let runs = 0
let group = ''

// The flow from the noise as it is.
export async function startFlow() {
  pool.drop(group)
  const mine = group = `flow ${++runs}`
  Object.assign(state, { steps: [], step: 0, following: true })
  dropCut()
  tell('flow', 'step')
  for await (const s of run(state.images, mine, 2)) {
    if (mine !== group) return
    state.steps.push(s)
    if (state.following) state.step = s.step
    tell('steps', 'step')
    if (isDone()) tell('done')
  }
}

export function goTo(step, following = false) {
  state.step = Math.max(0, Math.min(step, state.steps.length - 1))
  state.following = following && !isDone()
  tell('step')
}

export function choosePixel(pixel) {
  state.pixel = pixel
  tell('pixel')
}

export function chooseWidth(width) {
  state.width = width
  tell('width')
}

// The flow with one training image left out ('out'), mirrored ('mirror') or replaced by `other` [C,H,W].
export async function startCut(how, image, other) {
  dropCut()
  const { images } = state, { C, H, W } = images, size = C * H * W
  let changed = images
  if (how !== 'out') {
    changed = { ...images, data: Float32Array.from(images.data) }
    const own = images.data.subarray(image * size, (image + 1) * size)
    const mirrored = () => own.map((_, i) => own[i - i % W + W - 1 - i % W])
    changed.data.set(how === 'mirror' ? mirrored() : other, image * size)
  }
  const cut = state.cut = { how, image, steps: [], group: `cut ${++runs}` }
  tell('cut')
  for await (const s of run(changed, cut.group, 1, undefined, how === 'out' ? image : -1)) {
    if (state.cut !== cut) return
    cut.steps.push(s)
    tell('cut')
  }
}

export function dropCut() {
  if (!state.cut) return
  pool.drop(state.cut.group)
  state.cut = null
  tell('cut')
}
