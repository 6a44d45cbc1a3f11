// The innermost loop: one relative shift at a time, squared differences, box sums, softmax sums. A pair of a pixel and
// a candidate costs the same whatever the width of the windows is.
import { kernel, layOut } from './kernel.js'
import { pad } from './plan.js'

// exp(−v) for v in [0, LEAST): a table of PARTS steps a unit, and three terms of the series for what is left (error
// 4e-8).
const LEAST = 30, PARTS = 32
const table = Float64Array.from({ length: LEAST * PARTS + 1 }, (_, i) => Math.exp(-i / PARTS))

const room = new Map() // arrays for intermediate results, by name
function scratch(name, length) {
  if (!room.has(name) || room.get(name).length < length) room.set(name, new Float64Array(length))
  return room.get(name)
}

// Take some training images, by number, into `sums`: x [C,H,W] is at signal level a and noise level sigma. `own(n)` is
// where the logs of image n's own sums [H,W] are written, if it is anywhere.
export const sweep = (...query) => (kernel ? sweepPairs : sweepOneByOne)(...query)

export function sweepOneByOne(x, images, numbers, C, plan, a, sigma, sums, own = () => undefined) {
  const { H, W } = plan, P = H * W, J = plan.xCols.length, Jd = plan.dCols.length
  const query = scratch('query', C * plan.xRows.length * J), keys = scratch('keys', C * plan.dRows.length * Jd)
  const scale = 1 / (Math.SQRT2 * sigma)
  pad(x, 0, C, H, W, plan.xRows, plan.xCols, scale, query)
  // distances to the best candidate so far, and sums of (w, w·log w, w², w·centre …) of this image
  const best = scratch('best', P), found = scratch('found', P * (C + 3))
  for (let p = 0; p < P; p++) best[p] = sums.z[p] ? -sums.top[p] : Infinity
  for (const n of numbers) {
    pad(images, n * C * P, C, H, W, plan.dRows, plan.dCols, a * scale, keys)
    found.fill(0, 0, P * (C + 3))
    sweepImage(query, keys, C, J, Jd, plan, best, found, sums, n)
    addImage(found, sums, P, C, 1 / (a * scale), own(n), best)
  }
  for (let p = 0; p < P; p++) sums.top[p] = -best[p]
}

// The same by the vector unit, two images at a time; each has its own reference, which starts at the best of those
// before.
export function sweepPairs(x, images, numbers, C, plan, a, sigma, sums, own = () => undefined) {
  const { H, W, k, r, shifts } = plan, P = H * W, count = shifts.length / 6
  const I = plan.xRows.length, J = plan.xCols.length, Jd = plan.dCols.length
  const area = plan.dRows.length * Jd, each = 2 * (C + 5), scale = 1 / (Math.SQRT2 * sigma)
  const [query, keys, moves, line, ring, column, at] = layOut([
    C * plan.xRows.length * J, 2 * C * area, 4 * count + 2, 2 * (Math.max(J, Jd) + k), 2 * k * W, 2 * W, each * P])
  const numbersAt = new Float64Array(kernel.memory.buffer), whole = new Int32Array(kernel.memory.buffer)
  const padded = pad(x, 0, C, H, W, plan.xRows, plan.xCols, scale, scratch('query', C * I * J))
  interleave(padded, I * J, C, numbersAt, query / 8, 1, 0)
  for (let s = 0; s < count; s++) {
    for (let i = 0; i < 6; i++) whole[moves / 4 + 8 * s + i] = shifts[6 * s + i]
    whole[moves / 4 + 8 * s + 6] = whole[moves / 4 + 8 * s + 7] = s
  }
  for (let i = 0; i < numbers.length; i += 2) {
    const pair = numbers.slice(i, i + 2), image = scratch('keys', C * area), from = at / 8
    for (const lane of [0, 1]) {
      // an odd one out is compared with itself, and that is not counted
      const start = (pair[lane] ?? pair[0]) * C * P
      pad(images, start, C, H, W, plan.dRows, plan.dCols, a * scale, image)
      interleave(image, area, C, numbersAt, keys / 8, 2, lane)
    }
    numbersAt.fill(0, from, from + each * P)
    for (let p = 0; p < P; p++) numbersAt.fill(sums.z[p] ? -sums.top[p] : 1e300, from + each * p, from + each * p + 2)
    kernel.run[C](query, keys, moves, count, J, Jd, W, k, r, line, ring, column, at)
    pair.forEach((n, lane) => addLane(numbersAt, from + lane, each, sums, P, C, 1 / (a * scale), n, own(n)))
  }
}

// An image [C,n] as [n,C,lanes], in one of the lanes.
function interleave(x, n, C, out, from, lanes, lane) {
  const size = lanes * C
  for (let c = 0; c < C; c++) for (let p = 0, o = from + lanes * c + lane; p < n; p++, o += size) out[o] = x[c * n + p]
}

// Take the sums of one image, as the vector unit leaves them, into all.
function addLane(v, from, each, sums, P, C, unscale, image, own) {
  for (let p = 0; p < P; p++) {
    const o = from + each * p, z = v[o + 4], top = -v[o]
    if (own) own[p] = z ? Math.log(z) + top : -Infinity
    if (!z) continue
    const seen = sums.z[p] > 0, rise = seen && top > sums.top[p], d = seen ? sums.top[p] - top : 0
    // one of the two is the reference of the sum
    const f = rise ? Math.exp(d) : 1, low = seen && !rise ? -d : 0, g = low < 0 ? Math.exp(low) : 1
    sums.wlogw[p] = (rise ? f * (sums.wlogw[p] + d * sums.z[p]) : sums.wlogw[p]) + g * (low * z - v[o + 6])
    sums.w2[p] = f * f * sums.w2[p] + g * g * v[o + 8]
    sums.z[p] = f * sums.z[p] + g * z
    for (let c = 0; c < C; c++) sums.num[c * P + p] = f * sums.num[c * P + p] + g * unscale * v[o + 10 + 2 * c]
    if (!seen || rise) {
      sums.top[p] = top
      sums.image[p] = image
      sums.shift[p] = v[o + 2]
    }
  }
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
function addImage(found, sums, P, C, unscale, own, best) {
  const stride = C + 3
  for (let p = 0; p < P; p++) {
    const o = p * stride
    sums.z[p] += found[o]
    sums.wlogw[p] += found[o + 1]
    sums.w2[p] += found[o + 2]
    for (let c = 0; c < C; c++) sums.num[c * P + p] += found[o + 3 + c] * unscale
    if (own) own[p] = Math.log(found[o]) - best[p]
  }
}
