// The second screen: what one pixel believes, where that comes from, and what the width of its window does.
import { $, $$, calm, make, percent, place } from './controls.js'
import { cut, image, limitAt, map, mosaic } from './draw.js'
import { nearest, strongest } from './measure.js'
import { Dropped } from './pool.js'
import { asked, chooseWidth, isDone, levelsAt, listen, ownWidth, pool, run, state, STEPS, WIDTHS } from './state.js'

const quiet = e => { if (!(e instanceof Dropped)) throw e }
const width = () => state.width ?? ownWidth(asked().t)

// What all pixels believe at the step and width that are looked at: known from the flow, or asked for.

function believe() {
  const now = asked()
  pool.drop('belief')
  if (!now) return
  if (state.width === null || state.machine === 'is') return showBelief(now.belief)
  const { images, machine, width: k } = state
  pool.believe(images, { machine, k, x: now.x, t: now.t }, 'belief', 1).then(showBelief).catch(quiet)
}

function showBelief(belief) {
  const { set, images, machine } = state, [seen, expected, count, sources] = ['state', 'expected', 'count', 'sources'].map(
    name => $$(`#looks [data-map="${name}"] canvas`)[0]), now = asked()
  const places = machine === 'is' || machine === 'ls' ? 1 : set.H * set.W, most = images.N * places
  image(seen, now.x, set, limitAt(levelsAt(now.step)))
  image(expected, belief.mean, set)
  map(count, Array.from(belief.nEff, v => Math.log(v) / Math.log(most)), set)
  mosaic(sources, belief, set, strongest(belief).slice(0, 8))
  $('most').textContent = most.toLocaleString('en')
  expected.setAttribute('aria-label', 'The image that is expected')
  count.setAttribute('aria-label', `How many candidates count: between ${Math.min(...belief.nEff).toFixed(1)} and ${Math.max(...belief.nEff).toFixed(1)}`)
  sources.setAttribute('aria-label', `The strongest source of each pixel: ${strongest(belief).length} images`)
}

// One pixel, asked for anew: it is always quick.
function lookAt() {
  const now = asked(), { images, machine, pixel } = state, k = now && width()
  pool.drop('pixel')
  if (!now) return
  pool.ask('sources', images, { machine, k, x: now.x, t: now.t, pixel, top: 6, skip: -1 }, 'pixel', 0)
    .then(found => showPixel(found, now, k)).catch(quiet)
}

const tone = ([r, g = r, b = r]) => `rgb(${[r, g, b].map(v => Math.round(127.5 + 127.5 * Math.max(-1, Math.min(1, v)))).join(' ')})`
const swatch = values => { const s = make('span', { className: 'swatch' }); s.style.background = tone(values); return s }
const number = v => v.toFixed(2).replace('-', '−')
const light = v => v < -.8 ? 'black' : v < -.3 ? 'dark' : v < .3 ? 'grey' : v < .8 ? 'light' : 'white'

function showPixel(found, now, k) {
  const { set, images, pixel, machine } = state, { rows, cols } = found, W = set.W, size = set.C * set.H * W, P = set.H * W
  const row = Math.floor(pixel / W), column = pixel % W
  $('row').textContent = row
  $('column').textContent = column
  for (const box of $$('#looks .window')) {
    place(box, [Math.max(0, row + rows[0]), Math.min(31, row + rows.at(-1))], [Math.max(0, column + cols[0]), Math.min(31, column + cols.at(-1))])
  }
  for (const point of $$('.pick .point')) place(point, [row, row], [column, column])
  $('candidates').textContent = found.count.toLocaleString('en')
  $('neff').textContent = found.nEff < 100 ? found.nEff.toFixed(2) : Math.round(found.nEff).toLocaleString('en')
  Object.assign($('neff').dataset, { neff: found.nEff, weight: found.top[0].weight, image: found.top[0].image, place: found.top[0].place, step: now.step, k: k ?? '', machine, pixel })
  $('value').replaceChildren(swatch(found.mean), ` ${found.mean.map(number).join(', ')}`)
  const [first] = found.top, together = found.top.reduce((s, c) => s + c.weight, 0), mean = found.mean.reduce((a, b) => a + b) / set.C
  const most = first.weight > .9 ? `it is nearly certain that its window is a copy of one in image ${first.image} (${percent(first.weight)})`
    : first.weight > .3 ? `${percent(first.weight)} of its belief lies on one window, in image ${first.image}`
      : together > .5 ? `the six windows beside this text hold ${percent(together)} of its belief`
        : `no window stands out: the best one has ${percent(first.weight)}, and it takes the mean of many`
  $('why').textContent = `It expects to be ${light(mean)}, for ${most}.`
  const centre = n => Array.from({ length: set.C }, (_, c) => images.data[n.image * size + c * P + n.place])
  const own = patch(now.x, pixel, rows, cols, limitAt(levelsAt(now.step)))
  const items = [make('li', {}, own, make('b', {}, 'its window'), make('div', {}, 'noisy, as it is'))]
  for (const c of found.top) {
    const training = images.data.subarray(c.image * size, (c.image + 1) * size), bar = make('i')
    bar.style.width = `${100 * c.weight}%`
    const whole = make('div', { className: 'frame' }, make('canvas'), make('div', { className: 'window' }), make('div', { className: 'point' }))
    image(whole.querySelector('canvas'), training, set)
    const [i, j] = [Math.floor(c.place / W), c.place % W]
    place(whole.querySelector('.window'), [Math.max(0, i + rows[0]), Math.min(31, i + rows.at(-1))], [Math.max(0, j + cols[0]), Math.min(31, j + cols.at(-1))])
    place(whole.querySelector('.point'), [i, i], [j, j])
    items.push(make('li', {}, patch(training, c.place, rows, cols, 1), make('b', {}, percent(c.weight)), make('div', { className: 'bar' }, bar),
      whole, make('div', {}, `image ${c.image}, at ${i}, ${j}: `, swatch(centre(c)))))
  }
  $('top').replaceChildren(...items)
}

// A window as a picture, as large as it is among windows.
function patch(x, centre, rows, cols, limit) {
  const canvas = make('canvas'), share = Math.max(40, 100 * Math.min(1, Math.max(rows.length, cols.length) / 11))
  cut(canvas, x, state.set, centre, rows, cols, limit)
  canvas.style.width = `${share * cols.length / Math.max(rows.length, cols.length)}%`
  canvas.style.height = `${share * rows.length / Math.max(rows.length, cols.length)}%`
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
  if (state.machine === 'is') return box.append(svg('text', { x: 60, y: 90 }, 'IS has no windows: choose another machine.'))
  points.sort((a, b) => a[0] - b[0])
  const most = Math.max(10, ...points.map(p => p[1])), up = Math.ceil(Math.log10(most))
  const x = k => left + WIDTHS.indexOf(k) / (WIDTHS.length - 1) * (right - left), y = v => bottom - Math.log10(Math.max(1, v)) / up * (bottom - top)
  for (let e = 0; e <= up; e++) {
    box.append(svg('line', { class: 'axis', x1: left, x2: right, y1: y(10 ** e), y2: y(10 ** e) }))
    box.append(svg('text', { x: left - 8, y: y(10 ** e) + 4, 'text-anchor': 'end' }, (10 ** e).toLocaleString('en')))
  }
  for (const k of [1, 5, 9, 13, 17, 21, 25, 63])
    box.append(svg('text', { x: x(k), y: bottom + 18, 'text-anchor': k === 63 ? 'end' : 'middle' }, k === 63 ? 'whole' : k))
  box.append(svg('text', { x: (left + right) / 2, y: bottom + 36, 'text-anchor': 'middle' }, 'width of the window, pixels'))
  const own = ownWidth(asked().t)
  box.append(svg('line', { class: 'own', x1: x(own), x2: x(own), y1: top, y2: bottom }))
  box.append(svg('polyline', { class: 'line', points: points.map(([k, v]) => `${x(k)},${y(v)}`).join(' ') }))
  for (const [k, v] of points) box.append(svg('circle', { class: k === width() ? 'now' : '', cx: x(k), cy: y(v), r: k === width() ? 6 : 3 }))
  const here = points.find(p => p[0] === width())
  $('curve-says').textContent = `Candidates that count (N_eff) for pixel (${Math.floor(state.pixel / 32)}, ${state.pixel % 32}) after ${asked().step} steps, by the width `
    + `of its window: ${here[1] < 100 ? here[1].toFixed(1) : Math.round(here[1]).toLocaleString('en')} at width ${width()}. Dashed: the width that a trained network was found to use here.`
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
    return { k, canvas, text, box: make('div', {}, make('div', { className: 'frame' }, canvas), make('b', {}, k === 63 ? 'whole' : `width ${k}`), text) }
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

// Grow by itself where that is quick and somebody looks; for ELS, which has all places to compare with at every width, on demand.
let visible = false
function offerGrowth() {
  if (!isDone() || state.machine === 'is') {
    grown = null
    pool.drop('gallery')
    $('gallery').replaceChildren()
    $('grow').hidden = true
    $('gallery-says').textContent = state.machine === 'is' ? 'IS has no windows: choose another machine.' : ''
  } else if (state.machine === 'els') $('grow').hidden = Boolean(grown)
  else if (visible && !grown) grow()
}

function showWidth() {
  const slider = $('width'), now = asked()
  if (!now) return
  const k = width(), whole = state.machine === 'is'
  slider.disabled = whole
  if (!whole) slider.value = WIDTHS.indexOf(k)
  const text = whole ? 'the whole image' : k === 63 ? 'the whole image, from every place' : `${k} × ${k} pixels${state.width === null ? ', as calibrated on the network' : ''}`
  $('width-text').textContent = text
  slider.setAttribute('aria-valuetext', text)
  $('own-width').disabled = state.width === null
}

export function pixelScreen() {
  $('width').addEventListener('input', () => chooseWidth(WIDTHS[$('width').value]))
  $('own-width').addEventListener('click', () => chooseWidth(null))
  $('grow').addEventListener('click', grow)
  new IntersectionObserver(([e]) => { visible = e.isIntersecting; if (state.set) offerGrowth() }, { rootMargin: '200px' }).observe($('gallery').parentElement)
  const curve = calm(250, askCurve)
  let looked = null
  listen(changed => {
    if (!state.set) return
    const now = asked(), moved = now !== looked || changed.has('width')
    looked = now
    if (moved) believe()
    if (moved || changed.has('pixel')) { lookAt(); curve(); showWidth() }
    if (changed.has('flow')) { grown = null; $('curve').replaceChildren() }
    if (changed.has('flow') || changed.has('done')) offerGrowth()
  })
}

