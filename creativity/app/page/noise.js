// The first screen: one noise, its flow, and what the trained network makes of it.
import { $, $$, percent, place } from './controls.js'
import { seedNoise } from './diffusion.js'
import { bitmap, colours, fill, image, limitAt } from './draw.js'
import { correlation, nearest, settled } from './measure.js'
import {
  chooseSeed, className, goTo, isDone, levelsAt, listen, network, startFlow, state, STEPS, tell,
} from './state.js'

const REACH = 2.5, STRENGTH = 1.5 // of the brush, in pixels and in units of the noise
let brush = 1, cursor = [16, 16], touched = null

const hints = {
  is: 'IS, the ideal score machine: the whole image is one window, so that all pixels share one belief. It can only '
    + 'give back training images.',
  ls: 'LS, local: a pixel compares its window with the training windows at the same place.',
  bbels: 'bbELS, local and alike at all places: a pixel compares its window with those from all places of all images, '
    + 'but it sees the border. This is what a network with zero padding can be at best.',
  els: 'ELS, the same for a picture that goes on past its border on the other side. It takes about twice as long.',
}

// Paint around a row and a column; a stroke changes each pixel once.
function paint(row, column) {
  if (!state.set) return
  const { C, H, W } = state.set, P = H * W
  touched ??= new Set()
  const fresh = brush ? null : seedNoise(state.seed + 1000003, C * P)
  for (let i = 0; i < H; i++) for (let j = 0; j < W; j++) {
    if ((i + .5 - row) ** 2 + (j + .5 - column) ** 2 > REACH ** 2 || touched.has(i * W + j)) continue
    touched.add(i * W + j)
    for (let c = 0; c < C; c++) {
      const p = c * P + i * W + j
      state.noise[p] = brush ? state.noise[p] + brush * STRENGTH : fresh[p]
    }
  }
  state.painted = true
  tell('seed')
}

function endStroke() {
  if (!touched) return
  touched = null
  startFlow()
}

function watchPaper() {
  const paper = $('paper'), mark = paper.querySelector('.brush')
  const at = e => {
    const b = paper.getBoundingClientRect()
    return [(e.clientY - b.top) / b.height * 32, (e.clientX - b.left) / b.width * 32]
  }
  const show = ([row, column]) => {
    mark.hidden = false
    place(mark, [row - REACH, row + REACH - 1], [column - REACH, column + REACH - 1])
  }
  paper.addEventListener('pointerdown', e => { paper.setPointerCapture(e.pointerId); paint(...at(e)) })
  paper.addEventListener('pointermove', e => { show(at(e)); if (e.buttons && touched) paint(...at(e)) })
  for (const end of ['pointerup', 'pointercancel']) paper.addEventListener(end, endStroke)
  for (const gone of ['pointerleave', 'blur']) paper.addEventListener(gone, () => { mark.hidden = true })
  paper.addEventListener('focus', () => { if (paper.matches(':focus-visible')) show(cursor) })
  paper.addEventListener('keydown', e => {
    const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key]
    if (!move && e.key !== ' ') return
    e.preventDefault()
    if (move) cursor = cursor.map((v, i) => Math.max(0, Math.min(31, v + move[i])))
    else { paint(...cursor); endStroke() }
    show(cursor)
  })
  for (const tool of $$('[data-brush]')) tool.addEventListener('click', () => {
    brush = Number(tool.dataset.brush)
    for (const other of $$('[data-brush]')) other.setAttribute('aria-pressed', other === tool)
  })
  $('unpaint').addEventListener('click', () => chooseSeed(state.seed))
}

let playing = 0
function play(on) {
  clearInterval(playing)
  playing = 0
  $('play').textContent = on ? 'Pause' : 'Play'
  $('play').setAttribute('aria-pressed', on)
  if (!on) return
  if (state.step >= state.steps.length - 1) goTo(0)
  playing = setInterval(() => {
    if (state.step < state.steps.length - 1) goTo(state.step + 1)
    else if (isDone()) play(false)
  }, 220)
}

// All steps side by side: above what there is, below what is expected.
function drawStrip(changed) {
  const canvas = $('strip'), { H, W, C } = state.set, context = canvas.getContext('2d')
  if (changed.has('flow')) context.clearRect(0, 0, canvas.width, canvas.height)
  for (const s of state.steps.slice(changed.has('flow') ? 0 : drawn)) {
    const expected = s.step < STEPS ? s.belief.mean : s.x
    for (const [x, limit, top] of [[s.x, limitAt(levelsAt(s.step)), 0], [expected, 1, 33]]) {
      const picture = context.createImageData(W, H)
      fill(picture.data, H * W, colours(x, C, H * W, limit))
      context.putImageData(picture, s.step * 33, top)
    }
  }
  drawn = state.steps.length
}
let drawn = 0

function draw() {
  const { set, step } = state, now = state.steps[step], what = `${set.title}, ${className()}`
  image($('noise-canvas'), state.noise, set, limitAt(levelsAt(0)))
  if (now) {
    image($('state-canvas'), now.x, set, limitAt(levelsAt(step)))
    image($('expected-canvas'), step < STEPS ? now.belief.mean : now.x, set)
  } else for (const id of ['state-canvas', 'expected-canvas']) bitmap($(id), set.W, set.H, () => [60, 60, 60])
  $('state-canvas').setAttribute('aria-label', `${what}: the image after ${step} steps`)
  $('expected-canvas').setAttribute('aria-label', `${what}: the image that is expected after ${step} steps`)
  const noise = Math.round(100 * levelsAt(step).sigma ** 2)
  $('noise-left').textContent = step === STEPS ? 'No noise is left.' : `${noise} % of it is noise.`
  $('expected-says').textContent = step === STEPS ? 'At the end it is what there is.'
    : 'The mean of each pixel’s belief; the next step goes towards it.'
}

function drawNetwork() {
  const other = network(), canvas = $('network-canvas'), { images, seeds } = state.set.network
  $('unpaint').disabled = !state.painted
  if (other) image(canvas, other, state.set)
  else bitmap(canvas, 32, 32, p => (Math.floor(p / 128) + Math.floor(p % 32 / 4)) % 2 ? [70, 70, 70] : [62, 62, 62])
  const trained = `A ResNet, trained on ${images.toLocaleString('en')} images, from the same noise, in ${STEPS} steps.`
  const text = other ? trained : state.painted ? 'It is not here to be asked about a painted noise.'
    : `Its images are stored for seeds 0 to ${seeds - 1}.`
  $('network-says').textContent = text
  canvas.setAttribute('aria-label', other ? 'What the trained network makes of this noise' : text)
}

function say() {
  const { set, steps, images } = state
  if (!isDone()) return void ($('flow-says').textContent = '')
  const end = steps[STEPS].x, near = nearest(end, images), other = network(), sure = settled(steps[STEPS].belief)
  const sources = sure.images === 1 ? 'it is one image' : `these come from ${sure.images} images`
  const share = percent(sure.share)
  const parts = [`Made of ${images.N} images: ${share} of the pixels are sure of their source, and ${sources}.`]
  parts.push(near.distance < .02 ? `It is training image ${near.image}, copied.`
    : `The nearest training image is ${near.distance.toFixed(2)} away (root mean square, black to white is 2).`)
  if (other) parts.push(`Correlation with the network’s image: r = ${correlation(end, other).toFixed(3)}.`)
  const { seed, machine, painted } = state, r = other ? correlation(end, other) : ''
  const { distance, image: nearestImage } = near
  Object.assign($('flow-says').dataset, { r, distance, nearest: nearestImage, set: set.name, seed, machine, painted })
  $('flow-says').textContent = parts.join(' ')
}

export function noiseScreen() {
  watchPaper()
  $('play').addEventListener('click', () => play(!playing))
  const seed = v => {
    if (Number.isInteger(v) && v >= 0 && v <= 999999) chooseSeed(v)
    else $('seed').value = state.seed
  }
  $('seed').addEventListener('change', () => seed($('seed').value === '' ? NaN : Number($('seed').value)))
  $('seed-less').addEventListener('click', () => seed(state.seed - 1))
  $('seed-more').addEventListener('click', () => seed(state.seed + 1))
  $('strip').addEventListener('click', e => {
    const box = $('strip').getBoundingClientRect()
    goTo(Math.floor((e.clientX - box.left) / box.width * (STEPS + 1)))
  })
  for (const slider of $$('[data-range="step"]')) slider.addEventListener('input', () => play(false))
  listen(changed => {
    if (!state.set) return
    if (changed.has('flow')) { if (playing) play(false) }
    if (changed.has('seed')) { $('seed').value = state.seed; drawNetwork() }
    if (changed.has('machine') || changed.has('images')) $('machine-hint').textContent = hints[state.machine]
    if (['seed', 'step', 'flow'].some(v => changed.has(v))) draw()
    if (changed.has('flow') || changed.has('steps')) drawStrip(changed)
    if (changed.has('flow') || changed.has('done')) say()
  })
}

