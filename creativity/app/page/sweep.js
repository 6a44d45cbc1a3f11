// The innermost loop: one relative shift at a time, squared differences, box sums, softmax sums. A pair of a pixel and
// a candidate costs the same whatever the width of the windows is.
import { pad } from './plan.js'

// exp(−v) for v in [0, LEAST): a table of PARTS steps a unit, and three terms of the series for what is left (error 4e-8).
const LEAST = 30, PARTS = 32
const table = Float64Array.from({ length: LEAST * PARTS + 1 }, (_, i) => Math.exp(-i / PARTS))

const room = new Map() // arrays for intermediate results, by name
function scratch(name, length) {
  if (!room.has(name) || room.get(name).length < length) room.set(name, new Float64Array(length))
  return room.get(name)
}

// Take `count` training images (uint8 codes or numbers, from number `first` on) into `sums`: x [C,H,W] is at signal level a
// and noise level sigma. With `each` [count,H,W] the logs of every image's own sums are written there.
export function sweep(x, images, first, count, C, plan, a, sigma, sums, each) {
  const { H, W } = plan, P = H * W, J = plan.xCols.length, Jd = plan.dCols.length
  const query = scratch('query', C * plan.xRows.length * J), keys = scratch('keys', C * plan.dRows.length * Jd)
  const scale = 1 / (Math.SQRT2 * sigma), size = C * P
  pad(x, 0, C, H, W, plan.xRows, plan.xCols, scale, query)
  // distances to the best candidate so far, and sums of (w, w·log w, w², w·centre …) of this image and of all
  const best = scratch('best', P), own = scratch('own', P * (C + 3))
  for (let p = 0; p < P; p++) best[p] = sums.z[p] ? -sums.top[p] : Infinity
  for (let n = 0; n < count; n++) {
    pad(images, (first + n) * size, C, H, W, plan.dRows, plan.dCols, a * scale, keys)
    own.fill(0, 0, P * (C + 3))
    sweepImage(query, keys, C, J, Jd, plan, best, own, sums, first + n)
    addImage(own, sums, P, C, 1 / (a * scale), each, n, best)
  }
  for (let p = 0; p < P; p++) sums.top[p] = -best[p]
}

function sweepImage(query, keys, C, J, Jd, plan, best, own, sums, image) {
  const { W, k, r, shifts } = plan, I = plan.xRows.length, Id = plan.dRows.length, stride = C + 3
  const line = scratch('line', plan.dCols.length + k), ring = scratch('ring', k * W), column = scratch('column', W)
  for (let s = 0; s < shifts.length; s += 6) {
    const dy = shifts[s], dx = shifts[s + 1], i0 = shifts[s + 2], i1 = shifts[s + 3], u0 = shifts[s + 4]
    const w = shifts[s + 5] - u0, wide = w + k - 1, end = i1 + k - 1
    column.fill(0, 0, w)
    for (let i = i0, slot = 0; i < end; i++, slot = slot + 1 === k ? 0 : slot + 1) {
      let q = i * J + u0, d = (i + dy) * Jd + u0 + dx
      for (let u = 0; u < wide; u++) {
        const v = query[q + u] - keys[d + u]
        line[u] = v * v
      }
      for (let c = 1; c < C; c++) {
        q += I * J
        d += Id * Jd
        for (let u = 0; u < wide; u++) {
          const v = query[q + u] - keys[d + u]
          line[u] += v * v
        }
      }
      let sum = 0
      for (let u = 0; u < k - 1; u++) sum += line[u]
      const old = slot * W, full = i - i0 >= k, ready = i - i0 >= k - 1
      let p = (i - k + 1) * W + u0, key = (i + dy - r) * Jd + u0 + dx + r
      for (let u = 0; u < w; u++, p++, key++) {
        sum += line[u + k - 1]
        const total = column[u] + (full ? sum - ring[old + u] : sum)
        column[u] = total
        ring[old + u] = sum
        sum -= line[u]
        if (!ready) continue
        let gap = total - best[p]
        if (gap >= LEAST) continue
        if (gap < 0) {
          improve(own, sums, p, stride, best, total, image, s / 6)
          gap = 0
        }
        const step = gap * PARTS | 0, f = gap - step / PARTS
        const weight = table[step] * (1 - f * (1 - f * (.5 - f * .16666666666666666)))
        const o = p * stride
        own[o] += weight
        own[o + 1] -= weight * gap
        own[o + 2] += weight * weight
        own[o + 3] += weight * keys[key]
        if (C === 3) {
          own[o + 4] += weight * keys[key + Id * Jd]
          own[o + 5] += weight * keys[key + 2 * Id * Jd]
        }
      }
    }
  }
}

// A nearer candidate of a pixel becomes the reference of all its sums.
function improve(own, sums, p, stride, best, d, image, shift) {
  const P = sums.top.length, C = stride - 3, o = p * stride
  if (best[p] < Infinity) {
    const drop = d - best[p], f = Math.exp(drop)
    own[o + 1] = f * (own[o + 1] + drop * own[o])
    own[o + 2] *= f * f
    own[o] *= f
    for (let c = 0; c < C; c++) own[o + 3 + c] *= f
    sums.wlogw[p] = f * (sums.wlogw[p] + drop * sums.z[p])
    sums.w2[p] *= f * f
    sums.z[p] *= f
    for (let i = p; i < C * P; i += P) sums.num[i] *= f
  }
  best[p] = d
  sums.image[p] = image
  sums.shift[p] = shift
}

// Take one image's sums into all, and write their logs where they are asked for.
function addImage(own, sums, P, C, unscale, each, n, best) {
  const stride = C + 3
  for (let p = 0; p < P; p++) {
    const o = p * stride
    sums.z[p] += own[o]
    sums.wlogw[p] += own[o + 1]
    sums.w2[p] += own[o + 2]
    for (let c = 0; c < C; c++) sums.num[c * P + p] += own[o + 3 + c] * unscale
    if (each) each[n * P + p] = Math.log(own[o]) - best[p]
  }
}
