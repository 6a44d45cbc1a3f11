// The third screen: the mosaic, its sources, and what the picture would be without one of them.
import { $, $$, calm, make, percent, place as putOver } from './controls.js'
import { bitmap, difference, image, mosaic, pale, shine, tints } from './draw.js'
import { sideBySide, strongest } from './measure.js'
import { Dropped } from './pool.js'
import { asked, dropCut, isAsked, isDone, listen, ownWidth, pool, startCut, state, STEPS } from './state.js'
import { numbersOf } from './data.js'

const quiet = e => { if (!(e instanceof Dropped)) throw e }
let shares = null // of the step that is looked at: { step, share [N], weights [N][P] }
let listed = [] // the sources that are offered

const own = n => {
  const { data, C, H, W } = state.images
  return data.subarray(n * C * H * W, (n + 1) * C * H * W)
}
const chosen = () => state.source >= 0 ? state.source : asked()?.belief.image[state.pixel] ?? -1

function drawMosaic() {
  const now = asked()
  if (!now) return
  const { set, pixel } = state, ranked = strongest(now.belief).slice(0, 8), together = sideBySide(now.belief, set)
  const behind = now.belief.image[pixel], place = now.belief.place[pixel]
  const [row, column] = [Math.floor(place / set.W), place % set.W]
  const canvas = $$('[data-map="forming"] canvas')[0]
  mosaic(canvas, now.belief, set, ranked)
  $('together').textContent = `Of all pairs of neighbouring pixels ${percent(together)} come from neighbouring places of one training image.`
  const n = chosen()
  image($('behind'), own(n), set)
  $('behind').setAttribute('aria-label', `Training image ${n}`)
  $('behind-point').hidden = behind !== n
  if (behind === n) putOver($('behind-point'), [row, row], [column, column])
  $('behind-says').textContent = behind === n
    ? `Here the chosen pixel’s strongest source has its centre: at ${row}, ${column}.`
    : `Chosen below. Behind the chosen pixel stands image ${behind}.`
  for (const text of $$('[data-out="source"]')) text.textContent = n
  drawWeight()
}

function drawWeight() {
  const now = asked(), n = chosen()
  if (!now || !shares || shares.of !== now) return
  shine($('weight-canvas'), now.belief.mean, state.set, shares.weights[n], tints[0])
  $('weight-canvas').setAttribute('aria-label', `The weight of image ${n} at each pixel`)
  $('weight-says').textContent = percent(shares.share[n])
}

// Every image's share of all belief at this step; one more step's work, so it waits until nobody moves.
const askShares = calm(150, () => {
  const now = asked(), { images, machine } = state
  pool.drop('shares')
  if (!now || (shares && shares.of === now)) return
  const query = { machine, k: ownWidth(now.t), x: now.x, t: now.t, each: true }
  pool.believe(images, query, 'shares', 2).then(({ share, weights }) => {
    if (!isAsked(now)) return
    shares = { share, weights, of: now }
    list()
    drawWeight()
  }).catch(quiet)
})

function list() {
  const { share } = shares, ranked = strongest(shares.of.belief).slice(0, 8)
  listed = Array.from(share.keys()).sort((a, b) => share[b] - share[a]).slice(0, 8)
  const focus = document.activeElement?.dataset?.source
  $('sources').replaceChildren(...listed.map(n => {
    const canvas = make('canvas'), frame = make('div', { className: 'frame' }, canvas)
    image(canvas, own(n), state.set)
    const rank = ranked.indexOf(n)
    frame.style.setProperty('--tint', `rgb(${(rank < 0 ? pale(n) : tints[rank]).join(' ')})`)
    const much = percent(share[n]), radio = { type: 'button', role: 'radio', 'aria-checked': n === chosen() }
    const name = { 'data-source': n, 'aria-label': `image ${n}, ${much}` }
    const button = make('button', { ...radio, ...name }, frame, `${n}: `, make('b', {}, much))
    button.addEventListener('click', () => choose(n))
    return button
  }))
  const [first] = listed, total = share.reduce((a, b) => a + b)
  Object.assign($('sources').dataset, { step: shares.of.step, first, share: share[first], total })
  if (focus !== undefined) $$('#sources button').find(b => b.dataset.source === focus)?.focus()
  mark()
}

// A new flow: nothing of the old one stays.
function forget() {
  Object.assign(state, { source: -1 })
  shares = null
  listed = []
  $('sources').replaceChildren()
  bitmap($('weight-canvas'), 32, 32, () => [24, 24, 24])
  $('weight-says').textContent = '…'
}

function mark() {
  const n = chosen(), buttons = $$('#sources button'), at = listed.indexOf(n)
  buttons.forEach((b, i) => {
    b.setAttribute('aria-checked', i === at)
    b.tabIndex = i === Math.max(at, 0) ? 0 : -1
  })
}

function choose(n) {
  state.source = n
  drawMosaic()
  mark()
}

// An image of another class to put in, or of the same set where there is but one class.
const strange = () => state.set.classes[(state.classIndex + 1) % state.set.classes.length]
function stranger() {
  const { first, count } = strange(), n = strange() === state.set.classes[state.classIndex] ? (chosen() + 1) % count : 0
  return numbersOf(state.set, first + n, 1)
}

function drawCut() {
  const { cut, steps, set } = state
  $('cut-pictures').hidden = !cut
  $('uncut').disabled = !cut
  for (const button of $$('[data-cut]')) {
    button.disabled = !isDone()
    button.setAttribute('aria-pressed', cut?.how === button.dataset.cut)
  }
  if (!cut) return void ($('cut-says').textContent = '')
  const last = cut.steps.at(-1), done = last?.step === STEPS, before = steps[STEPS].x
  const other = `With another (${strange().name}) in its place`
  const how = { out: 'Without it', mirror: 'With it mirrored', other }[cut.how]
  image($('before'), before, set)
  $('before').setAttribute('aria-label', 'The picture with it')
  $('after-says').textContent = done ? `${how}.` : `${how}: step ${last?.step ?? 0} of ${STEPS} …`
  if (!last) return void ($('cut-says').textContent = '')
  const after = last.step < STEPS ? last.belief.mean : last.x
  image($('after'), after, set)
  difference($('changed'), before, after, set)
  $('after').setAttribute('aria-label', how)
  $('changed').setAttribute('aria-label', 'The change')
  if (done) sayCut(cut, before, after, how)
}

function sayCut(cut, before, after, how) {
  const { C, H, W } = state.set, P = H * W
  let touched = 0, d2 = 0
  for (let p = 0; p < P; p++) {
    let most = 0
    for (let i = p; i < C * P; i += P) {
      most = Math.max(most, Math.abs(after[i] - before[i]))
      d2 += (after[i] - before[i]) ** 2
    }
    touched += most > .1
  }
  const rms = Math.sqrt(d2 / (C * P))
  Object.assign($('cut-says').dataset, { rms, how: cut.how, image: cut.image })
  $('cut-says').textContent = touched ? `${how}: ${percent(touched / P)} of the pixels change by more than 0.1 `
    + `(black to white is 2); root mean square ${rms.toFixed(3)}.`
    : `${how}: no pixel changes by more than 0.1. This picture does not depend on it.`
}

export function mosaicScreen() {
  for (const button of $$('[data-cut]')) button.addEventListener('click', () => {
    if (isDone()) startCut(button.dataset.cut, chosen(), button.dataset.cut === 'other' ? stranger() : undefined)
  })
  $('uncut').addEventListener('click', dropCut)
  $('sources').addEventListener('keydown', e => {
    const by = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[e.key]
    if (!by || !listed.length) return
    e.preventDefault()
    const at = (Math.max(0, listed.indexOf(chosen())) + by + listed.length) % listed.length
    choose(listed[at])
    $$('#sources button')[at].focus()
  })
  listen(changed => {
    if (!state.set) return
    if (changed.has('flow')) forget()
    if (changed.has('pixel')) state.source = -1
    if (['pixel', 'step', 'steps', 'flow'].some(v => changed.has(v))) { drawMosaic(); mark(); askShares() }
    if (['cut', 'done', 'flow'].some(v => changed.has(v))) drawCut()
  })
}
