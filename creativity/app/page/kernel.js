// The innermost loop for the vector unit, two training images at a time, in WebAssembly's text format. It does what
// `sweepImage` does in sweep.js, where it is easier to read; both are in double precision.
import { assemble } from './wat.js'

const get = v => `(local.get ${v})`
const f = (op, ...args) => `(f64x2.${op} ${args.join(' ')})`
const number = v => `(f64x2.const ${v})`
const channels = C => [...Array(C).keys()]

// exp(−v) for v in [0,80]: 2 to the whole part, by the bits of the exponent, times a polynomial for the rest (7e-8).
const parts = [-0.0009387876505143888, 0.009188609960999183, -0.0552797209694007,
  0.24017218864134215, -0.6931422525113684, 0.9999999250616821]
const polynomial = y => parts.map(number).reduce((sum, c) => f('add', f('mul', sum, y), c))
const power = whole => `(i64x2.shl
    (i64x2.sub (i64x2.const 1023 1023) (i64x2.extend_low_i32x4_u ${whole})) (i32.const 52))`
const exp = v => `
  (local.set $y ${f('mul', v, number(Math.LOG2E))})
  (local.set $whole (i32x4.trunc_sat_f64x2_u_zero ${get('$y')}))
  (local.set $y ${f('sub', get('$y'), `(f64x2.convert_low_i32x4_u ${get('$whole')})`)})
  (local.set $e ${f('mul', polynomial(get('$y')), power(get('$whole')))})`

// The squared difference of a pixel of the query and the two images, summed over C channels; `q` and `d` go on.
const apart = c => f('sub',
  `(v128.load64_splat offset=${8 * c} ${get('$q')})`, `(v128.load offset=${16 * c} ${get('$d')})`)
const square = C => `
  (local.set $v ${apart(0)})
  (local.set $sq ${f('mul', get('$v'), get('$v'))})
  ${channels(C).slice(1).map(c => `
  (local.set $v ${apart(c)})
  (local.set $sq ${f('add', get('$sq'), f('mul', get('$v'), get('$v')))})`).join('')}
  (local.set $q (i32.add ${get('$q')} (i32.const ${8 * C})))
  (local.set $d (i32.add ${get('$d')} (i32.const ${16 * C})))`

// Of a pixel, 16 bytes each: 0 reference distance, 1 shift, 2 Σ w, 3 Σ w·gap, 4 Σ w², 5 … Σ w·centre.
const load = i => `(v128.load offset=${16 * i} ${get('$o')})`
const centre = c => `(v128.load offset=${16 * c} ${get('$key')})`
const store = (i, v) => `(v128.store offset=${16 * i} ${get('$o')} ${v})`
const clamp = v => f('pmin', v, number(80))

// Two windows' distance `total` at the pixel whose sums are at `o`, and their centres at `key`.
const take = C => `
  (local.set $gap ${f('sub', get('$total'), load(0))})
  (if (v128.any_true ${f('lt', get('$gap'), number(30))}) (then
    (if (v128.any_true ${f('lt', get('$gap'), number(0))}) (then
      ${store(1, `(v128.bitselect ${get('$shift')} ${load(1)} ${f('lt', get('$gap'), number(0))})`)}
      (local.set $v ${f('pmin', load(0), get('$total'))})
      (local.set $drop ${clamp(f('sub', load(0), get('$v')))})
      ${store(0, get('$v'))}
      ${exp(get('$drop'))}
      ${store(3, f('mul', get('$e'), f('add', load(3), f('mul', get('$drop'), load(2)))))}
      ${store(2, f('mul', get('$e'), load(2)))}
      ${store(4, f('mul', f('mul', get('$e'), get('$e')), load(4)))}
      ${channels(C).map(c => store(5 + c, f('mul', get('$e'), load(5 + c)))).join(' ')}
      (local.set $gap ${f('sub', get('$total'), get('$v'))})
    ))
    (local.set $gap ${clamp(get('$gap'))})
    ${exp(get('$gap'))}
    ${store(2, f('add', load(2), get('$e')))}
    ${store(3, f('add', load(3), f('mul', get('$e'), get('$gap'))))}
    ${store(4, f('add', load(4), f('mul', get('$e'), get('$e'))))}
    ${channels(C).map(c => store(5 + c, f('add', load(5 + c), f('mul', get('$e'), centre(c))))).join(' ')}
  ))`

const add = (...v) => v.reduce((a, b) => `(i32.add ${a} ${b})`)
const times = (a, b) => `(i32.mul ${a} ${b})`
const int = v => `(i32.const ${v})`
const less = (v, than = 0) => `(i32.sub (i32.const ${than}) ${v})`
// Where a number stands: in row i of a table J wide that begins at `base`, in the column that the last ones add up to.
const at = (base, size, i, J, ...column) => add(base, times(add(times(i, J), ...column), int(size)))
const step = (name, by) => `(local.set ${name} ${add(get(name), int(by))})`

// A function for C channels. All addresses are in bytes; query [I,J,C] numbers, keys [Id,Jd,C] pairs.
const sweepFor = C => `(func (export "sweep${C}")
  (param $query i32) (param $keys i32) (param $shifts i32) (param $count i32)
  (param $J i32) (param $Jd i32) (param $W i32) (param $k i32) (param $r i32)
  (param $line i32) (param $ring i32) (param $column i32) (param $sums i32)
  (local $s i32) (local $dy i32) (local $dx i32) (local $i0 i32) (local $i1 i32) (local $u0 i32) (local $w i32)
  (local $i i32) (local $slot i32) (local $q i32) (local $d i32) (local $u i32) (local $at i32) (local $from i32)
  (local $o i32) (local $key i32) (local $col i32) (local $old i32) (local $full i32) (local $ready i32)
  (local $v v128) (local $sq v128) (local $sum v128) (local $total v128) (local $gap v128) (local $drop v128)
  (local $y v128) (local $whole v128) (local $e v128) (local $shift v128)
  (block $done (loop $next
    (br_if $done (i32.ge_s ${get('$s')} ${get('$count')}))
    (local.set $shift (f64x2.convert_low_i32x4_u ${`(v128.load ${add(get('$shifts'), int(24))})`}))
    (local.set $dy (i32.load ${get('$shifts')})) (local.set $dx (i32.load offset=4 ${get('$shifts')}))
    (local.set $i0 (i32.load offset=8 ${get('$shifts')})) (local.set $i1 (i32.load offset=12 ${get('$shifts')}))
    (local.set $u0 (i32.load offset=16 ${get('$shifts')}))
    (local.set $w (i32.sub (i32.load offset=20 ${get('$shifts')}) ${get('$u0')}))
    ;; no column has been summed yet
    (local.set $u (i32.const 0))
    (block $clear (loop $more
      (br_if $clear (i32.ge_s ${get('$u')} ${get('$w')}))
      (v128.store ${add(get('$column'), times(get('$u'), int(16)))} ${number(0)})
      ${step('$u', 1)} (br $more)))
    (local.set $i ${get('$i0')}) (local.set $slot (i32.const 0))
    (block $rows (loop $row
      (br_if $rows (i32.ge_s ${get('$i')} (i32.sub ${add(get('$i1'), get('$k'))} (i32.const 1))))
      (local.set $q ${at(get('$query'), 8 * C, get('$i'), get('$J'), get('$u0'))})
      (local.set $d ${at(get('$keys'), 16 * C, add(get('$i'), get('$dy')), get('$Jd'), get('$u0'), get('$dx'))})
      (local.set $sum ${number(0)}) (local.set $at ${get('$line')}) (local.set $u (i32.const 1))
      (block $first (loop $more
        (br_if $first (i32.ge_s ${get('$u')} ${get('$k')}))
        ${square(C)}
        (v128.store ${get('$at')} ${get('$sq')})
        (local.set $sum ${f('add', get('$sum'), get('$sq'))})
        ${step('$at', 16)} ${step('$u', 1)} (br $more)))
      (local.set $full (i32.ge_s (i32.sub ${get('$i')} ${get('$i0')}) ${get('$k')}))
      (local.set $ready (i32.ge_s ${add(get('$i'), int(1))} ${add(get('$i0'), get('$k'))}))
      (local.set $from ${get('$line')}) (local.set $col ${get('$column')})
      (local.set $old ${add(get('$ring'), times(times(get('$slot'), get('$W')), int(16)))})
      (local.set $o ${
        at(get('$sums'), 16 * (C + 5), add(get('$i'), less(get('$k'), 1)), get('$W'), get('$u0'))})
      (local.set $key ${
        at(get('$keys'), 16 * C, add(get('$i'), get('$dy'), less(get('$r'))), get('$Jd'),
          get('$u0'), get('$dx'), get('$r'))})
      (local.set $u (i32.const 0))
      (block $all (loop $more
        (br_if $all (i32.ge_s ${get('$u')} ${get('$w')}))
        ${square(C)}
        (v128.store ${get('$at')} ${get('$sq')})
        (local.set $sum ${f('add', get('$sum'), get('$sq'))})
        (local.set $total ${f('add', `(v128.load ${get('$col')})`, get('$sum'))})
        (if ${get('$full')} (then (local.set $total ${f('sub', get('$total'), `(v128.load ${get('$old')})`)})))
        (v128.store ${get('$col')} ${get('$total')})
        (v128.store ${get('$old')} ${get('$sum')})
        (local.set $sum ${f('sub', get('$sum'), `(v128.load ${get('$from')})`)})
        (if ${get('$ready')} (then ${take(C)}))
        ${step('$at', 16)} ${step('$from', 16)} ${step('$col', 16)} ${step('$old', 16)}
        ${step('$o', 16 * (C + 5))} ${step('$key', 16 * C)} ${step('$u', 1)} (br $more)))
      ${step('$i', 1)} ${step('$slot', 1)}
      (if (i32.eq ${get('$slot')} ${get('$k')}) (then (local.set $slot (i32.const 0))))
      (br $row)))
    ${step('$s', 1)} ${step('$shifts', 32)} (br $next)))
)`

// The functions and their memory; undefined where there is no vector unit to be had.
function start() {
  try {
    const memory = new WebAssembly.Memory({ initial: 1 })
    const module = new WebAssembly.Module(assemble(`(module ${sweepFor(1)} ${sweepFor(3)})`))
    const { sweep1, sweep3 } = new WebAssembly.Instance(module, { env: { memory } }).exports
    return { memory, run: { 1: sweep1, 3: sweep3 } }
  } catch { return undefined }
}

export const kernel = start()

// Room in its memory for so many numbers each: addresses in bytes.
export function layOut(sizes) {
  const at = []
  let end = 16
  for (const n of sizes) {
    at.push(end)
    end += 16 * Math.ceil(n / 2)
  }
  const pages = Math.ceil(end / 65536) - kernel.memory.buffer.byteLength / 65536
  if (pages > 0) kernel.memory.grow(pages)
  return at
}
