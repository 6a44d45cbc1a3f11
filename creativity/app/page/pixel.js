// The second screen: what one pixel believes, where that comes from, and what the width of its window does.
import { $, $$, calm, make, percent, place } from './controls.js'
import { cut, image, limitAt, map, mosaic } from './draw.js'
import { nearest, strongest } from './measure.js'
import { plan } from './plan.js'
import { Dropped } from './pool.js'
import {
  asked, chooseWidth, isAsked, isDone, levelsAt, listen, ownWidth, pool, run, state, STEPS, WIDTHS,
} from './state.js'

const NO_WINDOWS = 'IS has no windows: choose another machine.'
const quiet = e => { if (!(e instanceof Dropped)) throw e }
const width = () => state.width ?? ownWidth(asked().t)

// What all pixels believe at the step and width that are looked at: known from the flow, or asked for.

function believe() {
  const now = asked()
  pool.drop('belief')
  if (!now) return
  if (state.width === null || state.machine === 'is') return showBelief(now.belief)
  const { images, machine, width: k } = state
  pool.believe(images, { machine, k, x: now.x, t: now.t }, 'belief', 1)
    .then(found => isAsked(now) && showBelief(found)).catch(quiet)
}

function showBelief(belief) {
  const { set, images, machine } = state, { N, H, W } = images, now = asked()
  const [seen, expected, count, sources] =
    ['state', 'expected', 'count', 'sources'].map(name => $$(`#looks [data-map="${name}"] canvas`)[0])
  const most = N * (machine === 'is' ? 1 : Math.max(...plan(machine, H, W, width()).counts))
  image(seen, now.x, set, limitAt(levelsAt(now.step)))
  image(expected, belief.mean, set)
  map(count, Array.from(belief.nEff, v => Math.log(v) / Math.log(most)), set)
  mosaic(sources, belief, set, strongest(belief).slice(0, 8))
  $('most').textContent = most.toLocaleString('en')
  expected.setAttribute('aria-label', 'The image that is expected')
  const [least, largest] = [Math.min, Math.max].map(f => f(...belief.nEff).toFixed(1))
  count.setAttribute('aria-label', `How many candidates count: between ${least} and ${largest}`)
  sources.setAttribute('aria-label', `The strongest source of each pixel: ${strongest(belief).length} images`)
}

// One pixel, asked for anew: it is always quick.
function lookAt() {
  const now = asked(), { images, machine, pixel } = state, k = now && width()
  pool.drop('pixel')
  if (!now) return
  pool.ask('sources', images, { machine, k, x: now.x, t: now.t, pixel, top: 6, skip: -1 }, 'pixel', 0)
    .then(found => isAsked(now, pixel) && showPixel(found, now, k)).catch(quiet)
}

const byte = v => Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, v)))
const tone = ([r, g = r, b = r]) => `rgb(${[r, g, b].map(byte).join(' ')})`
const swatch = values => {
  const s = make('span', { className: 'swatch' })
  s.style.background = tone(values)
  return s
}
const number = v => v.toFixed(2).replace('-', '−')
const light = v => v < -.8 ? 'black' : v < -.3 ? 'dark' : v < .3 ? 'grey' : v < .8 ? 'light' : 'white'

function showPixel(found, now, k) {
  const { set, images, pixel, machine } = state, { rows, cols } = found, { C, H, W } = set, P = H * W
  const row = Math.floor(pixel / W), column = pixel % W
  $('row').textContent = row
  $('column').textContent = column
  const seen = (at, along) => [Math.max(0, at + along[0]), Math.min(31, at + along.at(-1))]
  for (const box of $$('#looks .window')) place(box, seen(row, rows), seen(column, cols))
  for (const point of $$('.pick .point')) place(point, [row, row], [column, column])
  $('candidates').textContent = found.count.toLocaleString('en')
  $('neff').textContent = found.nEff < 100 ? found.nEff.toFixed(2) : Math.round(found.nEff).toLocaleString('en')
  const [first] = found.top, together = found.top.reduce((s, c) => s + c.weight, 0)
  Object.assign($('neff').dataset, { neff: found.nEff, ...first, step: now.step, k: k ?? '', machine, pixel })
  $('value').replaceChildren(swatch(found.mean), ` ${found.mean.map(number).join(', ')}`)
  const mean = found.mean.reduce((a, b) => a + b) / C, weight = percent(first.weight), { image: n } = first
  const most = first.weight > .9 ? `it is nearly certain that its window is a copy of one in image ${n} (${weight})`
    : first.weight > .3 ? `${weight} of its belief lies on one window, in image ${n}`
      : together > .5 ? `the six windows that it believes in most hold ${percent(together)} of its belief`
        : `no window stands out: the best one has ${weight}, and it takes the mean of many`
  $('why').textContent = `It expects to be ${light(mean)}, for ${most}.`
  const centre = c => Array.from({ length: C }, (_, i) => images.data[(c.image * C + i) * P + c.place])
  const own = patch(now.x, pixel, rows, cols, limitAt(levelsAt(now.step)))
  const items = [make('li', {}, own, make('b', {}, 'its window'), make('div', {}, 'noisy, as it is'))]
  for (const c of found.top) {
    const training = images.data.subarray(c.image * C * P, (c.image + 1) * C * P), bar = make('i')
    bar.style.width = `${100 * c.weight}%`
    const canvas = make('canvas'), window = make('div', { className: 'window' })
    const point = make('div', { className: 'point' })
    image(canvas, training, set)
    const [i, j] = [Math.floor(c.place / W), c.place % W]
    place(window, seen(i, rows), seen(j, cols))
    place(point, [i, i], [j, j])
    items.push(make('li', {}, patch(training, c.place, rows, cols, 1), make('b', {}, percent(c.weight)),
      make('div', { className: 'bar' }, bar), make('div', { className: 'frame' }, canvas, window, point),
      make('div', {}, `image ${c.image}, at ${i}, ${j}: `, swatch(centre(c)))))
  }
  $('top').replaceChildren(...items)
}

// A window as a picture, as large as it is among windows.
function patch(x, centre, rows, cols, limit) {
  const canvas = make('canvas'), longest = Math.max(rows.length, cols.length)
  const share = Math.max(40, 100 * Math.min(1, longest / 11))
  cut(canvas, x, state.set, centre, rows, cols, limit)
  canvas.style.width = `${share * cols.length / longest}%`
  canvas.style.height = `${share * rows.length / longest}%`
  return make('div', { className: 'frame patch' }, canvas)
}

// The curve: how many candidates count for this pixel, by width.
let points = []
function askCurve() {
  const now = asked(), { images, machine, pixel } = state
  pool.drop('curve')
  points = []
  $('curve').classList.toggle('waits', Boolean(now))
  if (!now) return
  if (machine === 'is') return drawCurve()
  for (const k of WIDTHS)
    pool.ask('sources', images, { machine, k, x: now.x, t: now.t, pixel, top: 1, skip: -1 }, 'curve', 3).then(found => {
      if (!isAsked(now, pixel)) return
      points.push([k, found.nEff])
      if (points.length === WIDTHS.length) drawCurve()
    }).catch(quiet)
}

function svg(tag, attributes, text) {
  const e = document.createElementNS('http://www.w3.org/2000/svg', tag)
  for (const [name, v] of Object.entries(attributes)) e.setAttribute(name, v)
  if (text) e.textContent = text
  return e
}

function drawCurve() {
  const box = $('curve'), left = 64, right = 408, top = 12, bottom = 168
  box.replaceChildren()
  box.classList.remove('waits')
  if (state.machine === 'is') return box.append(svg('text', { x: 60, y: 90 }, NO_WINDOWS))
  points.sort((a, b) => a[0] - b[0])
  const most = Math.max(10, ...points.map(p => p[1])), up = Math.ceil(Math.log10(most))
  const x = k => left + WIDTHS.indexOf(k) / (WIDTHS.length - 1) * (right - left)
  const y = v => bottom - Math.log10(Math.max(1, v)) / up * (bottom - top), middle = (left + right) / 2
  for (let e = 0; e <= up; e++) {
    box.append(svg('line', { class: 'axis', x1: left, x2: right, y1: y(10 ** e), y2: y(10 ** e) }))
    box.append(svg('text', { x: left - 8, y: y(10 ** e) + 4, 'text-anchor': 'end' }, (10 ** e).toLocaleString('en')))
  }
  const below = (at, y, text, anchor = 'middle') => box.append(svg('text', { x: at, y, 'text-anchor': anchor }, text))
  for (const k of [1, 5, 9, 13, 17, 21, 25]) below(x(k), bottom + 18, k)
  below(x(63), bottom + 18, 'whole', 'end')
  below(middle, bottom + 36, 'width of the window, pixels')
  const own = ownWidth(asked().t)
  box.append(svg('line', { class: 'own', x1: x(own), x2: x(own), y1: top, y2: bottom }))
  box.append(svg('polyline', { class: 'line', points: points.map(([k, v]) => `${x(k)},${y(v)}`).join(' ') }))
  const at = points.find(p => p[0] === width())
  for (const p of points)
    box.append(svg('circle', { class: p === at ? 'now' : '', cx: x(p[0]), cy: y(p[1]), r: p === at ? 6 : 3 }))
  const pixel = `(${Math.floor(state.pixel / 32)}, ${state.pixel % 32})`
  const many = at[1] < 100 ? at[1].toFixed(1) : Math.round(at[1]).toLocaleString('en')
  $('curve-says').textContent = `Candidates that count for pixel ${pixel} after ${asked().step} steps, by the `
    + `width of its window: ${many} at width ${width()}. `
    + 'Dashed: the width that a trained network was found to use here.'
}

// Flows at one width each: from where windows are small to where every pixel sees the whole image.
const GROWING = [3, 7, 11, 15, 21, 31, 63]
let grown = null
async function grow() {
  const mine = grown = {}, { images } = state
  pool.drop('gallery')
  $('grow').hidden = true
  const cells = GROWING.map(k => {
    const canvas = make('canvas', { width: 32, height: 32 }), text = make('span', {}, '…')
    const frame = make('div', { className: 'frame' }, canvas), name = make('b', {}, k === 63 ? 'whole' : `width ${k}`)
    return { k, canvas, text, box: make('div', {}, frame, name, text) }
  })
  $('gallery').replaceChildren(...cells.map(c => c.box))
  $('gallery-says').textContent = ''
  for (const { k, canvas, text } of cells.slice().reverse()) {
    let end
    for await (const s of run(images, 'gallery', 4, k)) {
      if (grown !== mine) return
      image(canvas, s.step < STEPS ? s.belief.mean : s.x, state.set)
      text.textContent = `${s.step} of ${STEPS}`
      end = s
    }
    if (grown !== mine || end?.step !== STEPS) return
    const near = nearest(end.x, images)
    text.textContent = near.distance < .05 ? `copies image ${near.image}` : `distance ${near.distance.toFixed(2)}`
    Object.assign(canvas.dataset, { k, distance: near.distance })
  }
  $('gallery-says').textContent = 'Distances: root mean square to the nearest training image; black to white is 2.'
}

// Grow by itself where that is quick and somebody looks; for ELS, which has all places to compare with at every width,
// on demand.
let visible = false
function offerGrowth() {
  if (!isDone() || state.machine === 'is') {
    grown = null
    pool.drop('gallery')
    $('gallery').replaceChildren()
    $('grow').hidden = true
    $('gallery-says').textContent = state.machine === 'is' ? NO_WINDOWS : ''
  } else if (state.machine === 'els') $('grow').hidden = Boolean(grown)
  else if (visible && !grown) grow()
}

function showWidth() {
  const slider = $('width'), now = asked()
  if (!now) return
  const k = width(), whole = state.machine === 'is'
  slider.disabled = whole
  if (!whole) slider.value = WIDTHS.indexOf(k)
  const own = state.width === null ? ', as calibrated on the network' : ''
  const text = whole ? 'the whole image' : k === 63 ? 'the whole image, from every place' : `${k} × ${k} pixels${own}`
  $('width-text').textContent = text
  slider.setAttribute('aria-valuetext', text)
  $('own-width').disabled = state.width === null
}

export function pixelScreen() {
  $('width').addEventListener('input', () => chooseWidth(WIDTHS[$('width').value]))
  $('own-width').addEventListener('click', () => chooseWidth(null))
  $('grow').addEventListener('click', grow)
  const looks = ([e]) => {
    visible = e.isIntersecting
    if (state.set) offerGrowth()
  }
  new IntersectionObserver(looks, { rootMargin: '200px' }).observe($('gallery').parentElement)
  const curve = calm(250, askCurve)
  let looked = null
  listen(changed => {
    if (!state.set) return
    const now = asked(), moved = now !== looked || changed.has('width')
    looked = now
    if (moved) believe()
    if (moved || changed.has('pixel')) { lookAt(); curve(); showWidth() }
    if (changed.has('flow')) {
      grown = null
      $('curve').replaceChildren()
      $('curve-says').textContent = 'Candidates that count for this pixel, by the width of its window.'
    }
    if (changed.has('flow') || changed.has('done')) offerGrowth()
  })
}

