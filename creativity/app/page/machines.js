// The machines: which windows, which weights. Every one is the posterior mean over a dictionary of training images.
import { levels } from './diffusion.js'
import { plan } from './plan.js'
import { emptySums } from './sums.js'
import { sweep } from './sweep.js'

// A set of training images: { data: Float32Array [N,C,H,W], N, C, H, W }. `skip` is the number of one that is left out,
// −1 for none; it is only a range of images that a worker is given, so leaving one out needs no copy.

// Sums over images first … first+count−1 for the query x [C,H,W] at time t, and with `each` the logs of every
// image's own sums [count,P] (P = 1 for IS: one belief for all pixels).
export function partial(set, machine, k, x, t, first, count, skip = -1, wantEach = false) {
  const { a, sigma } = levels(t), P = set.H * set.W
  const sums = emptySums(P, set.C), each = wantEach ? new Float64Array(count * P).fill(-Infinity) : undefined
  const whole = machine === 'is', p = whole ? undefined : plan(machine, set.H, set.W, k)
  const own = n => each?.subarray((n - first) * P, (n - first + 1) * P)
  const numbers = range(first, count).filter(n => n !== skip)
  if (whole) for (const n of numbers) addWhole(set, x, n, a, sigma, sums, own(n))
  else sweep(x, set.data, numbers, set.C, p, a, sigma, sums, own)
  return { sums, each }
}

// IS: one image more; its window is the whole image, so that all pixels share one weight.
function addWhole({ data, C, H, W }, x, n, a, sigma, sums, own) {
  const P = H * W, from = n * C * P
  let d = 0
  for (let i = 0; i < C * P; i++) d += (x[i] - a * data[from + i]) ** 2
  const logit = -d / (2 * sigma * sigma)
  own?.fill(logit)
  const seen = sums.z[0] > 0, top = seen ? Math.max(sums.top[0], logit) : logit, drop = seen ? sums.top[0] - top : 0
  const f = seen ? Math.exp(drop) : 0, g = Math.exp(logit - top), logg = logit - top
  if (!seen || logit > sums.top[0]) {
    sums.image.fill(n)
    sums.shift.fill(0)
  }
  sums.wlogw.fill(f * (sums.wlogw[0] + drop * sums.z[0]) + g * logg)
  sums.w2.fill(f * f * sums.w2[0] + g * g)
  for (let i = 0; i < C * P; i++) sums.num[i] = f * sums.num[i] + g * data[from + i]
  sums.z.fill(f * sums.z[0] + g)
  sums.top.fill(top)
}

// What a pixel sees and compares: rows and columns of its window, and the shifts that lead to its candidates.
export function around(set, machine, k, pixel) {
  const { H, W } = set, i = Math.floor(pixel / W), j = pixel % W
  if (machine === 'is') return { rows: range(-i, H), cols: range(-j, W), down: [0], right: [0] }
  const p = plan(machine, H, W, k)
  const there = (axis, at) => axis.filter(([, lo, end]) => lo <= at && at < end).map(s => s[0])
  const kept = (reach, at) => range(-p.r, k).filter(d => reach[at + d + p.r] >= 0)
  return { rows: kept(p.xRows, i), cols: kept(p.xCols, j), down: there(p.rows, i), right: there(p.cols, j) }
}
const range = (from, n) => Array.from({ length: n }, (_, i) => from + i)

// Every candidate of one pixel, exactly, one by one: { logits, images, places }, and its window's rows and columns.
export function candidates(set, machine, k, x, t, pixel, skip = -1) {
  const { a, sigma } = levels(t), { data, N, C, H, W } = set, P = H * W
  const { rows, cols, down, right } = around(set, machine, k, pixel), i = Math.floor(pixel / W), j = pixel % W
  const per = down.length * right.length, total = per * (N - (skip >= 0 && skip < N ? 1 : 0))
  const logits = new Float64Array(total), images = new Int32Array(total), places = new Int32Array(total)
  const wrap = (v, n) => (v % n + n) % n
  let m = 0
  for (let n = 0; n < N; n++) {
    if (n === skip) continue
    for (const dy of down) {
      const y = rows.map(d => wrap(i + dy + d, H) * W), xi = rows.map(d => wrap(i + d, H) * W)
      for (const dx of right) {
        let d2 = 0
        for (let c = 0; c < C; c++) {
          const from = (n * C + c) * P, xc = c * P
          for (let e = 0; e < rows.length; e++)
            for (let f = 0; f < cols.length; f++) {
              const v = x[xc + xi[e] + wrap(j + cols[f], W)] - a * data[from + y[e] + wrap(j + dx + cols[f], W)]
              d2 += v * v
            }
        }
        logits[m] = -d2 / (2 * sigma * sigma)
        images[m] = n
        places[m++] = wrap(i + dy, H) * W + wrap(j + dx, W)
      }
    }
  }
  return { logits, images, places, rows, cols }
}

// The belief of one pixel: its mean, its strongest candidates and how many count.
export function sources(set, machine, k, x, t, pixel, top = 6, skip = -1) {
  const { logits, images, places, rows, cols } = candidates(set, machine, k, x, t, pixel, skip), P = set.H * set.W
  let best = -Infinity, z = 0, wlogw = 0, w2 = 0
  for (const v of logits) if (v > best) best = v
  const mean = new Float64Array(set.C), byImage = new Float64Array(set.N)
  for (let m = 0; m < logits.length; m++) {
    const v = logits[m] - best, w = Math.exp(v)
    z += w
    if (w > 0) wlogw += w * v
    w2 += w * w
    byImage[images[m]] += w
    for (let c = 0; c < set.C; c++) mean[c] += w * set.data[(images[m] * set.C + c) * P + places[m]]
  }
  const order = strongest(logits, top)
  return {
    nEff: Math.exp(Math.log(z) - wlogw / z), participation: z * z / w2, count: logits.length,
    mean: Array.from(mean, v => v / z), byImage: byImage.map(w => w / z), rows, cols,
    top: order.map(m => ({ weight: Math.exp(logits[m] - best) / z, image: images[m], place: places[m] })),
  }
}

// The indices of the largest `n` numbers, largest first; of equal ones the earlier.
function strongest(values, n) {
  const kept = []
  for (let m = 0; m < values.length; m++) {
    if (kept.length === n && values[m] <= values[kept[n - 1]]) continue
    let at = kept.length
    while (at && values[kept[at - 1]] < values[m]) at--
    kept.splice(at, 0, m)
    if (kept.length > n) kept.pop()
  }
  return kept
}
