// The page's arithmetic against the package's: tests/test_page.py writes what is compared into the folder FIXTURES and
// runs `node --test` on this file.
import assert from 'node:assert/strict'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { test } from 'node:test'

const page = new URL('../creativity/app/page/', import.meta.url)
const [data, diffusion, flows, kernels, machines, plans, sums, sweeps, wat, gpu] = await Promise.all(
  ['data', 'diffusion', 'flow', 'kernel', 'machines', 'plan', 'sums', 'sweep', 'wat', 'webgpu']
    .map(name => import(new URL(`${name}.js`, page))))
const read = name => JSON.parse(readFileSync(join(process.env.FIXTURES, `${name}.json`)))
const WORST = 1e-4 // of x̂₀, whose range is 2

const worst = {}
function near(what, ours, theirs, most = WORST) {
  assert.equal(ours.length, theirs.length, what)
  const error = theirs.reduce((e, v, i) => Math.max(e, Number.isFinite(ours[i]) ? Math.abs(ours[i] - v) : Infinity), 0)
  worst[what] = Math.max(worst[what] ?? 0, error)
  assert.ok(error <= most, `${what} is off by ${error}, more than ${most}`)
}
const relative = v => v.map(u => u / Math.max(1, Math.abs(u)))

const setOf = ({ shape: [N, C, H, W], images }) => ({ data: Float32Array.from(images), N, C, H, W })

// In pieces, as the workers do it.
function believe(set, machine, k, x, t, skip = -1, pieces = 3) {
  const total = sums.emptySums(set.H * set.W, set.C), each = []
  for (let i = 0; i < pieces; i++) {
    const first = Math.floor(i * set.N / pieces), end = Math.floor((i + 1) * set.N / pieces)
    const part = machines.partial(set, machine, k, x, t, first, end - first, skip, true)
    sums.merge(total, part.sums)
    each.push(...part.each)
  }
  const p = machine === 'is' ? undefined : plans.plan(machine, set.H, set.W, k)
  return { ...sums.read(total, p, set.N - (skip >= 0 ? 1 : 0)), each, total }
}

test('beliefs are those of the oracles', () => {
  for (const { data: name, x, cases } of read('beliefs').queries) {
    const set = setOf(read('beliefs').data[name])
    for (const { machine, k, t, skip, unique, oracle } of cases) {
      const what = `${machine} k=${k} t=${t} on ${name}${skip >= 0 ? ' without one' : ''}`
      const b = believe(set, machine, k, x, t, skip)
      near('mean', b.mean, oracle.mean)
      near('log evidence, relative', relative(Array.from(b.logEvidence)), relative(oracle.log_evidence), 1e-6)
      near('entropy', b.entropy, oracle.entropy)
      near('N_eff, relative', b.nEff.map((v, i) => v / oracle.n_eff[i]), oracle.n_eff.map(() => 1))
      near('weight', b.weight, oracle.weight)
      if (unique) {
        assert.deepEqual(Array.from(b.image), oracle.image, what)
        assert.deepEqual(Array.from(b.place), oracle.place, what)
      }
      // every image's own share of a pixel, from the logs of its sums
      const P = set.H * set.W, p = P >> 1, logZ = b.total.top[p] + Math.log(b.total.z[p])
      const share = Array.from({ length: set.N }, (_, n) => Math.exp(b.each[n * P + p] - logZ))
      const s = machines.sources(set, machine, k, x, t, p, 6, skip)
      near('shares', share, s.byImage)
      near('sources: mean', s.mean, Array.from({ length: set.C }, (_, c) => oracle.mean[c * P + p]))
      near('sources: weight', [s.top[0].weight], [oracle.weight[p]])
      near('sources: N_eff, relative', [s.nEff / oracle.n_eff[p]], [1])
      if (unique) assert.deepEqual([s.top[0].image, s.top[0].place], [oracle.image[p], oracle.place[p]], what)
    }
  }
})

test('with and without the vector unit', () => {
  assert.ok(kernels.kernel, 'node has a vector unit')
  const { data: sets, queries } = read('beliefs')
  for (const { data: name, x, cases } of queries) for (const { machine, k, t, skip, unique, oracle } of cases) {
    if (machine === 'is') continue
    const set = setOf(sets[name]), p = plans.plan(machine, set.H, set.W, k), { a, sigma } = diffusion.levels(t)
    const numbers = Array.from({ length: set.N }, (_, n) => n).filter(n => n !== skip)
    for (const sweep of [sweeps.sweepOneByOne, sweeps.sweepPairs]) {
      const found = sums.emptySums(set.H * set.W, set.C)
      sweep(x, set.data, numbers.slice(0, 3), set.C, p, a, sigma, found)
      sweep(x, set.data, numbers.slice(3), set.C, p, a, sigma, found)
      const b = sums.read(found, p, numbers.length), what = sweep.name
      near(`${what}: mean`, b.mean, oracle.mean)
      near(`${what}: entropy`, b.entropy, oracle.entropy)
      near(`${what}: weight`, b.weight, oracle.weight)
      if (unique) assert.deepEqual(Array.from(b.image), oracle.image, what)
    }
  }
})

test('the assembler refuses what it does not know', () => {
  const f = body => `(module (func (export "f") (param $a i32) ${body}))`
  const right = f('(local $b i32) (local.set $b (i32.add (local.get $a) (i32.const -70)))')
  assert.ok(WebAssembly.validate(wat.assemble(right)))
  assert.throws(() => wat.assemble(f('(i32.popcnt (local.get $a))')), /no instruction/)
  assert.throws(() => wat.assemble(f('(local.set $c (i32.const 1))')), /no local/)
})

test('real images: beliefs, sources and flows are those of the package', () => {
  for (const c of read('real')) {
    const set = { ...setOf(c), N: c.shape[0] }
    for (const { machine, k, t, x, mean, n_eff, pixel, weights, images, places } of c.beliefs) {
      const b = believe(set, machine, k, x, t)
      near('mean', b.mean, mean)
      near('N_eff, relative', b.nEff.map((v, i) => v / n_eff[i]), n_eff.map(() => 1))
      const s = machines.sources(set, machine, k, x, t, pixel, weights.length)
      near('sources: weight', s.top.map(v => v.weight), weights)
      assert.deepEqual(s.top.map(v => v.image), images)
      assert.deepEqual(s.top.map(v => v.place), places)
    }
  }
})

test('flows end in the same image', async () => {
  for (const c of read('real')) {
    const set = setOf(c), { machine, scales, steps, noise, image } = c.flow
    let last
    const denoise = async (x, t) => believe(set, machine, diffusion.widthAt(scales, t), x, t)
    for await (const s of flows.flow(noise, steps, denoise)) last = s
    near('image at the end of a flow', last.x, image)
  }
})

test('single precision is doubted where sums are large and rivals are close', () => {
  const set = { C: 1, H: 16, W: 16 }, P = 256
  const noise = Float64Array.from(diffusion.seedNoise(4, P)), far = noise.map(v => 20 * v)
  // all pixels believe that their best candidate is `d` away, and that `z` of them count
  const doubt = (x, d, z, t = .5, k = 7) =>
    gpu.doubt(set, 'bbels', k, x, t, { top: new Float64Array(P).fill(-d), z: new Float64Array(P).fill(z) })
  assert.ok(doubt(noise, 25, 3) < gpu.MOST_DOUBT)
  assert.ok(doubt(far, 4e4, 3) > gpu.MOST_DOUBT)
  assert.ok(doubt(far, 4e4, 1) < 1e-3 * doubt(far, 4e4, 3), 'what has no rivals does not move')
  assert.ok(doubt(noise, 25, 3, .05) > doubt(noise, 25, 3), 'little noise makes all numbers large')
  // errors of equal pixels do not average out
  const flat = noise.map((v, p) => p < 128 ? .5 : v)
  assert.ok(doubt(flat, 25, 3) > 1.5 * doubt(noise, 25, 3))
  assert.ok(gpu.takes(set, 'ls') && !gpu.takes(set, 'elsInside') && !gpu.takes({ C: 1, H: 64, W: 64 }, 'ls'))
})

test('noise is that of the package', () => {
  for (const { seed, noise } of read('noise')) near('noise', diffusion.seedNoise(seed, noise.length), noise, 5e-6)
})

test('schedule and widths are those of the package', () => {
  const { t, a, sigma, scales, width } = read('schedule')
  near('signal', t.map(v => diffusion.levels(v).a), a, 1e-12)
  near('noise level', t.map(v => diffusion.levels(v).sigma), sigma, 1e-12)
  assert.deepEqual(t.map(v => diffusion.widthAt(scales, v)), width)
})

test('the stored sets are read as the package reads them', async () => {
  for (const { name, classes, seeds, first, last, drawn } of read('sets')) {
    const raw = readFileSync(new URL(`data/${name}.bin`, page))
    const buffer = raw.buffer.slice(raw.byteOffset, raw.byteOffset + raw.length)
    const set = data.parse(await data.unpack(buffer)), c = data.classOf(set, classes - 1), size = set.C * set.H * set.W
    assert.equal(set.classes.length, classes)
    near('first image', data.classOf(set, 0).data.subarray(0, size), first, 0)
    near('last image', c.data.subarray((c.N - 1) * size), last, 0)
    near('network', data.drawnBy(set, classes - 1, seeds - 1), drawn, 0)
    assert.equal(data.drawnBy(set, 0, set.network.seeds), undefined)
  }
})

test('widths that make no sense are refused', () => {
  for (const [machine, k] of [['bbels', 4], ['ls', -1], ['elsInside', 9]])
    assert.throws(() => plans.plan(machine, 8, 8, k), /width/)
})

test('the worst errors, for whoever reads this', t => {
  for (const [what, error] of Object.entries(worst)) t.diagnostic(`${what}: ${error.toExponential(1)}`)
  assert.ok(existsSync(page))
})
