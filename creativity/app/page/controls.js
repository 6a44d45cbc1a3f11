// The controls that several screens share: choices, the step, a pixel.
import { choosePixel, goTo, levelsAt, listen, state, STEPS } from './state.js'

export const $ = id => document.getElementById(id)
export const $$ = (selector, root = document) => [...root.querySelectorAll(selector)]

// Make an element with properties and children.
export function make(tag, properties = {}, ...children) {
  const e = document.createElement(tag)
  for (const [name, v] of Object.entries(properties))
    if (name.includes('-') || name === 'role') e.setAttribute(name, v)
    else e[name] = v
  e.append(...children)
  return e
}

let groups = 0

// Radio buttons in every place that is marked for them. `options` is [[value, text, title], …].
export function choice(name, options, current, choose) {
  for (const place of $$(`[data-choice="${name}"]`)) {
    const group = `choice-${++groups}`, box = make('div', { className: 'choices' })
    for (const [value, text, title = ''] of options) {
      const input = make('input', { type: 'radio', name: group, value, checked: value === current })
      input.addEventListener('change', () => {
        for (const other of $$(`[data-choice="${name}"] input[value="${value}"]`)) other.checked = true
        choose(value)
      })
      box.append(make('label', { title }, input, text))
    }
    place.querySelector('.choices')?.remove()
    place.append(box)
  }
}

// All sliders of the step, and the texts that say which one it is.
export function shareStep() {
  for (const slider of $$('[data-range="step"]')) slider.addEventListener('input', () => goTo(Number(slider.value)))
  listen(changed => {
    if (!changed.has('step') && !changed.has('flow')) return
    const { a, sigma } = levelsAt(state.step), made = state.step < state.steps.length || !state.step
    for (const slider of $$('[data-range="step"]')) {
      slider.value = state.step
      const noise = Math.round(100 * sigma ** 2)
      slider.setAttribute('aria-valuetext', `${state.step} of ${STEPS} steps, ${noise} percent noise`)
    }
    for (const text of $$('[data-out="step"]')) text.textContent = state.step
    for (const text of $$('[data-out="asked"]')) text.textContent = Math.min(state.step, STEPS - 1)
    for (const text of $$('[data-out="step-text"]'))
      text.textContent = made
        ? `${state.step} of ${STEPS} · signal ${a.toFixed(2)} · noise σ ${sigma.toFixed(2)}` : ''
  })
}

// Let the pictures choose a pixel, by pointer and by arrow keys.
export function sharePixel() {
  const { W, H } = { W: 32, H: 32 }
  const pick = (frame, e) => {
    const box = frame.getBoundingClientRect(), at = (v, n) => Math.max(0, Math.min(n - 1, Math.floor(v * n)))
    choosePixel(at((e.clientY - box.top) / box.height, H) * W + at((e.clientX - box.left) / box.width, W))
  }
  for (const frame of $$('.pick')) {
    frame.addEventListener('pointerdown', e => {
      pick(frame, e)
      if (e.pointerType === 'mouse') frame.setPointerCapture(e.pointerId)
    })
    frame.addEventListener('pointermove', e => { if (e.buttons && e.pointerType === 'mouse') pick(frame, e) })
    frame.addEventListener('keydown', e => {
      const move = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] }[e.key]
      if (!move) return
      e.preventDefault()
      const row = Math.floor(state.pixel / W) + move[0], column = state.pixel % W + move[1]
      choosePixel(Math.max(0, Math.min(H - 1, row)) * W + Math.max(0, Math.min(W - 1, column)))
    })
  }
}

// Put a box over a picture of n×n pixels: rows and columns from … to, inclusive.
export function place(box, [top, bottom], [left, right], n = 32) {
  const [y, x, height, width] = [top, left, bottom - top + 1, right - left + 1].map(v => `${100 * v / n}%`)
  Object.assign(box.style, { top: y, left: x, height, width })
}

export const percent = v => v >= .995 ? '100 %' : v >= .0995 ? `${Math.round(100 * v)} %`
  : v >= .001 ? `${(100 * v).toFixed(1)} %` : '< 0.1 %'

// Call `f` when nothing has been asked for during `wait` milliseconds.
export function calm(wait, f) {
  let timer
  return () => {
    clearTimeout(timer)
    timer = setTimeout(f, wait)
  }
}

