// The images that come with the page, and those that the trained networks made.

// The bytes of a set's file, which is compressed unless the server has unpacked it.
export async function unpack(buffer) {
  const bytes = new Uint8Array(buffer)
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return buffer
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

// What is in a set's file: its header, and the stored bytes of its training images and of the network's.
export function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true), bytes = new Uint8Array(buffer)
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)))
  const [C, H, W] = header.shape, n = header.classes.reduce((s, c) => s + c.count, 0), end = 4 + length + n * C * H * W
  return { ...header, C, H, W, images: bytes.subarray(4 + length, end), drawn: bytes.subarray(end) }
}

// A pixel is stored as its difference from the median of its left and upper neighbours and of the plane through the
// three that are known (JPEG-LS), modulo 256; red and blue as theirs from green.
function pixelsFrom(stored, C, H, W) {
  const out = new Uint8Array(stored.length), P = H * W
  for (let from = 0; from < out.length; from += P)
    for (let p = 0; p < P; p++) {
      const at = from + p, left = p % W ? out[at - 1] : 0, up = p >= W ? out[at - W] : 0
      const plane = left + up - (p % W && p >= W ? out[at - W - 1] : 0)
      out[at] = stored[at] + Math.max(Math.min(left, up), Math.min(Math.max(left, up), plane))
    }
  if (C === 3) for (let from = 0; from < out.length; from += 3 * P)
    for (let p = from; p < from + P; p++) {
      out[p] += out[p + P]
      out[p + 2 * P] += out[p + P]
    }
  return out
}

const loaded = new Map()

// A set by name, read once.
export function load(name) {
  if (!loaded.has(name)) {
    loaded.set(name, (async () => {
      const answer = await fetch(new URL(`data/${name}.bin`, import.meta.url))
      if (!answer.ok) throw new Error(`${answer.url}: ${answer.status}`)
      return parse(await unpack(await answer.arrayBuffer()))
    })())
    loaded.get(name).catch(() => loaded.delete(name))
  }
  return loaded.get(name)
}

// A byte as a number in [−1,1]; the arrays are float32, as the package has them.
const toNumber = v => (2 * v - 255) / 255

// So many of the training images.
export function numbersOf(set, first, count) {
  const { C, H, W } = set, size = C * H * W
  const bytes = pixelsFrom(set.images.subarray(first * size, (first + count) * size), C, H, W)
  const numbers = new Float32Array(bytes.length)
  for (let i = 0; i < numbers.length; i++) numbers[i] = toNumber(bytes[i])
  return numbers
}

// The images of one class as a machine needs them.
export function classOf(set, index) {
  const { first, count } = set.classes[index], { C, H, W } = set
  return { data: numbersOf(set, first, count), N: count, C, H, W }
}

// What the network makes of a seed, or nothing if that is not stored. It is kept in 64 tones.
export function drawnBy(set, index, seed) {
  const { C, H, W } = set, size = C * H * W, { seeds } = set.network
  if (seed >= seeds) return undefined
  const at = (index * seeds + seed) * size
  return Float32Array.from(pixelsFrom(set.drawn.subarray(at, at + size), C, H, W), v => toNumber(4 * v + 2))
}
