// The innermost loop for the graphics card, by WebGPU: what `sweep.js` and `sums.js` do, in single precision, one
// training image to a group of threads. It gives what a worker gives, and says where that would not be exact enough.
import { levels, seedNoise } from './diffusion.js'
import { plan } from './plan.js'
import { emptySums, merge } from './sums.js'

const THREADS = 256
const MOST = 1024 // pixels of an image
const EACH = 5 // numbers that are found for a pixel, before its channels

// A squared difference of noise alone is 1/2 on average, in units of 2σ². With that taken from each one, sums stay
// small, and so do their rounding errors; it is the same for all candidates of a pixel, and is put back in double
// precision.
const shader = `
override channels: i32 = 1;
struct Query { H: i32, W: i32, k: i32, circular: i32, shifts: i32, scale: f32 }
@group(0) @binding(0) var<uniform> query: Query;
@group(0) @binding(1) var<storage, read> images: array<f32>;
@group(0) @binding(2) var<storage, read> x: array<f32>;
@group(0) @binding(3) var<storage, read> shifts: array<i32>;
@group(0) @binding(4) var<storage, read> numbers: array<i32>;
@group(0) @binding(5) var<storage, read_write> found: array<f32>;

var<workgroup> square: array<f32, ${MOST}>; // of each pixel of the query, less what noise alone makes it
var<workgroup> line: array<f32, ${MOST}>; // summed along the rows of windows

struct Sums { best: f32, shift: i32, z: f32, wlogw: f32, w2: f32, num: vec4f }

// The sum of the k entries around number 'at' of n, on the circle, or cut at the ends: of a row, and of a column.
fn sum_squares(start: i32, at: i32, n: i32) -> f32 {
  let r = query.k / 2;
  var sum = 0f;
  if (query.circular == 1) {
    var j = ((at - r) % n + n) % n;
    for (var e = 0; e < query.k; e++) {
      sum += square[start + j];
      j++;
      if (j == n) { j = 0; }
    }
  } else {
    for (var j = max(at - r, 0); j < min(at + r + 1, n); j++) { sum += square[start + j]; }
  }
  return sum;
}
fn sum_lines(column: i32, at: i32, n: i32, stride: i32) -> f32 {
  let r = query.k / 2;
  var sum = 0f;
  if (query.circular == 1) {
    var i = ((at - r) % n + n) % n;
    for (var e = 0; e < query.k; e++) {
      sum += line[column + i * stride];
      i++;
      if (i == n) { i = 0; }
    }
  } else {
    for (var i = max(at - r, 0); i < min(at + r + 1, n); i++) { sum += line[column + i * stride]; }
  }
  return sum;
}

@compute @workgroup_size(${THREADS})
fn sweep(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
  let H = query.H; let W = query.W; let P = H * W; let r = query.k / 2; let me = i32(thread);
  let first = numbers[group.x] * channels * P;
  var sums: array<Sums, ${MOST / THREADS}>;
  for (var q = 0; q < ${MOST / THREADS}; q++) { sums[q] = Sums(1e30, 0, 0, 0, 0, vec4f(0)); }
  for (var s = 0; s < query.shifts; s++) {
    let dy = shifts[6 * s]; let dx = shifts[6 * s + 1];
    let i0 = shifts[6 * s + 2]; let i1 = shifts[6 * s + 3]; let u0 = shifts[6 * s + 4]; let u1 = shifts[6 * s + 5];
    // the pixels that are in windows
    let top = max(i0 - r, 0); let rows = min(i1 + r, H) - top;
    let left = max(u0 - r, 0); let wide = min(u1 + r, W) - left;
    for (var e = me; e < rows * wide; e += ${THREADS}) {
      let i = top + e / wide; let u = left + e % wide;
      let at = i * W + u; let key = (i + dy + H) % H * W + (u + dx + W) % W;
      var sum = -.5 * f32(channels);
      for (var c = 0; c < channels; c++) {
        let v = x[c * P + at] - query.scale * images[first + c * P + key];
        sum += v * v;
      }
      square[at] = sum;
    }
    workgroupBarrier();
    let w = u1 - u0;
    for (var e = me; e < rows * w; e += ${THREADS}) {
      let i = top + e / w; let u = u0 + e % w;
      line[i * W + u] = sum_squares(i * W, u, W);
    }
    workgroupBarrier();
    for (var q = 0; q < ${MOST / THREADS}; q++) {
      let p = me + q * ${THREADS}; let i = p / W; let u = p % W;
      if (i < i0 || i >= i1 || u < u0 || u >= u1) { continue; }
      let d = sum_lines(u, i, H, W);
      var own = sums[q];
      var gap = d - own.best;
      if (gap >= 30) { continue; }
      if (gap < 0) {
        let drop = max(gap, -80f); let f = exp(drop);
        own.wlogw = f * (own.wlogw + drop * own.z);
        own.z *= f;
        own.w2 *= f * f;
        own.num *= f;
        own.best = d;
        own.shift = s;
        gap = 0;
      }
      let weight = exp(-gap); let key = first + (i + dy + H) % H * W + (u + dx + W) % W;
      own.z += weight;
      own.wlogw -= weight * gap;
      own.w2 += weight * weight;
      for (var c = 0; c < channels; c++) { own.num[c] += weight * images[key + c * P]; }
      sums[q] = own;
    }
  }
  let size = ${EACH} + channels;
  for (var q = 0; q < ${MOST / THREADS}; q++) {
    let p = me + q * ${THREADS};
    if (p >= P) { continue; }
    let at = i32(group.x) * size * P + p;
    found[at] = sums[q].best;
    found[at + P] = f32(sums[q].shift);
    found[at + 2 * P] = sums[q].z;
    found[at + 3 * P] = sums[q].wlogw;
    found[at + 4 * P] = sums[q].w2;
    for (var c = 0; c < channels; c++) { found[at + (${EACH} + c) * P] = sums[q].num[c]; }
  }
}`

// How the card looks at a machine: IS is LS with windows that cover the image from every place.
const asWindows = (machine, H, W, k) => machine === 'is' ? ['ls', H, W, 2 * Math.max(H, W) - 1] : [machine, H, W, k]

// Can it take this work?
export const takes = ({ H, W }, machine) => H * W <= MOST && ['is', 'ls', 'bbels', 'els'].includes(machine)

// How many pixels there are in each window.
function windowSizes({ machine, H, W, k, r }) {
  if (machine === 'els') return new Float64Array(H * W).fill(k * k)
  const along = (i, n) => Math.min(i + r, n - 1) - Math.max(i - r, 0) + 1
  return Float64Array.from({ length: H * W }, (_, p) => along(Math.floor(p / W), H) * along(p % W, W))
}

// How far single precision may have moved a posterior mean, at the worst pixel: the rule of the package's
// `needs_float64`. Rounding changes a logit in proportion to what was summed; that matters where candidates are close
// rivals.
export function doubt({ C, H, W }, machine, k, x, t, { top, z }) {
  const p = plan(...asWindows(machine, H, W, k)), sizes = windowSizes(p), { a, sigma } = levels(t)
  const largest = (x.reduce((m, v) => Math.max(m, Math.abs(v)), 0) + a) / (Math.SQRT2 * sigma)
  const flat = repeats(x, C, p, sigma)
  let worst = 0
  for (let at = 0; at < H * W; at++) {
    const n = C * sizes[at], d = Math.max(0, -top[at]), grown = Math.abs(d - n / 2) + Math.sqrt(n)
    // the second part comes from rounding query and images, before any difference
    const chance = 2 ** -23 * (grown + largest * Math.sqrt(d))
    const systematic = 2 ** -24 * (d * (p.k + C + 3) + 2 * largest * Math.sqrt(d * n))
    const rivals = 1 - 1 / Math.max(z[at], 1) + 2 ** -24
    const moved = (error, average) => error * Math.min(1, rivals * Math.exp(2 * error)) / average
    // errors of many candidates partly average out if they are independent
    worst = Math.max(worst, moved(chance, Math.min(2, z[at] ** .25)) + moved(flat[at] * systematic, 1))
  }
  return worst
}

// The share of each window's pixels that repeat a neighbour in all channels: their errors do not average out.
function repeats(x, C, { H, W, k, xRows, xCols }, sigma) {
  const P = H * W, same = new Float64Array(P), rows = new Float64Array(P), share = new Float64Array(P)
  for (let p = 0; p < P; p++)
    for (const [dy, dx] of [[0, 1], [1, 0], [0, W - 1], [H - 1, 0]]) {
      const other = (Math.floor(p / W) + dy) % H * W + (p + dx) % W
      let all = 1
      for (let c = 0; c < C; c++) if (Math.abs(x[c * P + p] - x[c * P + other]) > 1e-3 * sigma) all = 0
      if (all) same[p] = 1
    }
  for (let p = 0; p < P; p++)
    for (let e = 0, j = p % W; e < k; e++) if (xCols[j + e] >= 0) rows[p] += same[p - j + xCols[j + e]]
  for (let p = 0; p < P; p++)
    for (let e = 0, i = Math.floor(p / W); e < k; e++)
      if (xRows[i + e] >= 0) share[p] += rows[xRows[i + e] * W + p % W] / k ** 2
  return share
}

// A larger doubt is for the workers, who compute in double precision.
export const MOST_DOUBT = 4e-5

// The card, opened; undefined where there is none. `any`: one that is made of software, too.
export async function open(any = false) {
  const adapter = await navigator.gpu?.requestAdapter()
  const soft = adapter?.info?.isFallbackAdapter ?? adapter?.isFallbackAdapter
  return adapter && (any || !soft) ? new Card(adapter.info, await adapter.requestDevice()) : undefined
}

// Images of noise and one more, to be tried on.
const noise = (N, side) =>
  [{ data: seedNoise(1, N * side ** 2), N, C: 1, H: side, W: side }, Float64Array.from(seedNoise(2, side ** 2))]

// An error if the card is not as exact as it should be.
export async function check(card, partial) {
  const [set, x] = noise(4, 12), query = ['bbels', 5, x, .5, 0, 4]
  const { sums: ours } = await card.partial(set, ...query), { num, z } = partial(set, ...query).sums
  const worst = num.reduce((m, v, p) => Math.max(m, Math.abs(v / z[p] - ours.num[p] / ours.z[p])), 0)
  if (!(worst < 1e-4)) throw new Error(`the graphics card is off by ${worst}`)
}

// How many times as fast as one worker it is.
export async function speed(card, partial) {
  const [set, x] = noise(8, 32)
  const timed = async f => {
    const start = performance.now()
    await f(set, 'bbels', 7, x, .5, 0, 8)
    return performance.now() - start
  }
  const worker = await timed(partial)
  return worker / await timed(card.partial.bind(card))
}

class Card {
  constructor({ vendor, architecture, description } = {}, device) {
    this.name = description || [vendor, architecture].filter(Boolean).join(' ') || 'WebGPU'
    Object.assign(this, { device, sets: new Map(), pipelines: new Map(), rooms: new Map(), wrong: '' })
    device.addEventListener('uncapturederror', e => {
      e.preventDefault()
      this.wrong = e.error.message
    })
    device.lost.then(({ message }) => { this.wrong = message || 'the device is lost' })
  }

  pipeline(C) {
    if (!this.pipelines.has(C)) {
      const module = this.device.createShaderModule({ code: shader })
      this.pipelines.set(C, this.device.createComputePipelineAsync(
        { layout: 'auto', compute: { module, entryPoint: 'sweep', constants: { channels: C } } }))
    }
    return this.pipelines.get(C)
  }

  // A buffer of at least so many bytes, kept by name.
  room(name, bytes, usage) {
    const old = this.rooms.get(name)
    if (old?.size >= bytes) return old
    old?.destroy()
    const made = this.device.createBuffer({ size: bytes, usage })
    this.rooms.set(name, made)
    return made
  }

  fill(name, values, usage = GPUBufferUsage.STORAGE) {
    const buffer = this.room(name, Math.max(32, values.byteLength), usage | GPUBufferUsage.COPY_DST)
    this.device.queue.writeBuffer(buffer, 0, values)
    return buffer
  }

  imagesOf(set) {
    if (!this.sets.has(set)) {
      for (const [old, buffer] of this.sets) if (this.sets.size > 7) { buffer.destroy(); this.sets.delete(old) }
      const usage = GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_DST
      const buffer = this.device.createBuffer({ size: set.data.byteLength, usage })
      this.device.queue.writeBuffer(buffer, 0, set.data)
      this.sets.set(set, buffer)
    }
    return this.sets.get(set)
  }

  // What `partial` of machines.js gives: sums over images first … first+count−1, and the logs of each one's own.
  async partial(set, machine, k, x, t, first, count, skip = -1, wantEach = false) {
    const { C, H, W } = set, P = H * W, { a, sigma } = levels(t), scale = 1 / (Math.SQRT2 * sigma)
    const p = plan(...asWindows(machine, H, W, k))
    const numbers = Array.from({ length: count }, (_, i) => first + i).filter(n => n !== skip)
    const sums = emptySums(P, C), each = wantEach ? new Float64Array(count * P).fill(-Infinity) : undefined
    if (!numbers.length) return { sums, each }
    const found = await this.run(set, p, a * scale, Float32Array.from(x, v => v * scale), Int32Array.from(numbers))
    const sizes = windowSizes(p), size = EACH + C
    numbers.forEach((n, i) => {
      const part = j => found.subarray((i * size + j) * P, (i * size + j + 1) * P)
      const top = Float64Array.from(part(0), (d, at) => -(d + C / 2 * sizes[at])), z = part(2)
      const num = found.subarray((i * size + EACH) * P, (i + 1) * size * P), image = new Int32Array(P).fill(n)
      merge(sums, { top, z, wlogw: part(3), w2: part(4), num, image, shift: part(1) })
      if (wantEach) for (let at = 0; at < P; at++) each[(n - first) * P + at] = Math.log(z[at]) + top[at]
    })
    return { sums, each }
  }

  // [images][best, shift, z, w·log w, w², channels …][P]
  async run(set, p, scale, x, numbers) {
    const { C, H, W } = set, { device } = this, bytes = 4 * numbers.length * (EACH + C) * H * W
    const { STORAGE, UNIFORM, COPY_SRC, COPY_DST, MAP_READ } = GPUBufferUsage
    const query = new ArrayBuffer(32)
    new Int32Array(query).set([H, W, p.k, p.machine === 'els' ? 1 : 0, p.shifts.length / 6])
    new Float32Array(query)[5] = scale
    const pipeline = await this.pipeline(C)
    const found = this.room('found', bytes, STORAGE | COPY_SRC)
    const answer = this.room('answer', bytes, COPY_DST | MAP_READ)
    const buffers = [this.fill('query', query, UNIFORM), this.imagesOf(set), this.fill('x', x),
      this.fill('shifts', p.shifts), this.fill('numbers', numbers), found]
    const encoder = device.createCommandEncoder(), pass = encoder.beginComputePass()
    pass.setPipeline(pipeline)
    const entries = buffers.map((buffer, binding) => ({ binding, resource: { buffer } }))
    pass.setBindGroup(0, device.createBindGroup({ layout: pipeline.getBindGroupLayout(0), entries }))
    pass.dispatchWorkgroups(numbers.length)
    pass.end()
    encoder.copyBufferToBuffer(found, 0, answer, 0, bytes)
    device.queue.submit([encoder.finish()])
    await answer.mapAsync(GPUMapMode.READ, 0, bytes)
    const numbersFound = new Float32Array(answer.getMappedRange(0, bytes).slice(0))
    answer.unmap()
    if (this.wrong) throw new Error(this.wrong)
    return numbersFound
  }
}
