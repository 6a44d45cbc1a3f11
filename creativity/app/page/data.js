// The images that come with the page, and those that the trained networks made.

// The bytes of a set's file, which is compressed unless the server has unpacked it.
export async function unpack(buffer) {
  const bytes = new Uint8Array(buffer)
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return buffer
  return new Response(new Blob([buffer]).stream().pipeThrough(new DecompressionStream('gzip'))).arrayBuffer()
}

// What is in a set's file: its header, and the bytes of its training images and of the network's.
export function parse(buffer) {
  const length = new DataView(buffer).getUint32(0, true), bytes = new Uint8Array(buffer)
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(4, 4 + length)))
  const [C, H, W] = header.shape, n = header.classes.reduce((s, c) => s + c.count, 0)
  const pixels = pixelsFrom(bytes.subarray(4 + length), C, H, W), size = C * H * W
  // what the network drew is kept in 64 tones
  return { ...header, C, H, W, images: pixels.subarray(0, n * size), drawn: pixels.subarray(n * size).map(v => 4 * v + 2) }
}

// A pixel is stored as its difference from the median of its left and upper neighbours and of the plane through the three
// that are known (JPEG-LS), modulo 256; red and blue as theirs from green.
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

// Bytes as numbers in [−1,1], in float32 as the package has them.
export const toNumbers = bytes => Float32Array.from(bytes, v => (2 * v - 255) / 255)

// The images of one class as a machine needs them.
export function classOf(set, index) {
  const { first, count } = set.classes[index], { C, H, W } = set, size = C * H * W
  return { data: toNumbers(set.images.subarray(first * size, (first + count) * size)), N: count, C, H, W }
}

// What the network makes of a seed, or nothing if that is not stored.
export function drawnBy(set, index, seed) {
  const size = set.C * set.H * set.W, { seeds } = set.network
  if (seed >= seeds) return undefined
  const at = (index * seeds + seed) * size
  return toNumbers(set.drawn.subarray(at, at + size))
}
