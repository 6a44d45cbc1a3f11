// Pictures: an image, a map, a window, each as pixels of a canvas that the style sheet makes large.

// The bytes of n pixels.
export function fill(bytes, n, colour) {
  for (let p = 0, at = 0; p < n; p++) {
    const rgb = colour(p)
    bytes[at++] = rgb[0]
    bytes[at++] = rgb[1]
    bytes[at++] = rgb[2]
    bytes[at++] = 255
  }
}

export function bitmap(canvas, W, H, colour) {
  if (canvas.width !== W || canvas.height !== H) Object.assign(canvas, { width: W, height: H })
  const context = canvas.getContext('2d'), picture = context.createImageData(W, H)
  fill(picture.data, W * H, colour)
  context.putImageData(picture, 0, 0)
}

// A function pixel -> colour of an image [C,H,W] in which −limit is black and limit is white.
export const colours = (x, C, P, limit = 1) => {
  const byte = v => 127.5 + 127.5 * v / limit
  return C === 1 ? p => [byte(x[p]), byte(x[p]), byte(x[p])] : p => [byte(x[p]), byte(x[P + p]), byte(x[2 * P + p])]
}

export const image = (canvas, x, { C, H, W }, limit = 1) => bitmap(canvas, W, H, colours(x, C, H * W, limit))

// What is beyond this is black or white in the picture of a noisy image.
export const limitAt = ({ a, sigma }) => a + 1.6 * sigma

// A window: rows and columns relative to a centre, on the circle.
export function cut(canvas, x, { C, H, W }, centre, rows, cols, limit = 1) {
  const of = colours(x, C, H * W, limit), i = Math.floor(centre / W), j = centre % W, wrap = (v, n) => (v % n + n) % n
  bitmap(canvas, cols.length, rows.length, p =>
    of(wrap(i + rows[Math.floor(p / cols.length)], H) * W + wrap(j + cols[p % cols.length], W)))
}

// From dark blue by green to yellow, for a number in [0,1].
const stops = [[31, 23, 78], [45, 79, 140], [33, 138, 141], [92, 190, 98], [250, 226, 60]]
export function scale(v) {
  const at = Math.max(0, Math.min(1, v)) * (stops.length - 1)
  const i = Math.min(Math.floor(at), stops.length - 2), f = at - i
  return stops[i].map((c, n) => c + f * (stops[i + 1][n] - c))
}

export const map = (canvas, values, { H, W }) => bitmap(canvas, W, H, p => scale(values[p]))

// The colours of the strongest sources; all others have pale ones.
export const tints = [
  [230, 126, 0], [64, 156, 255], [0, 158, 115], [222, 98, 170],
  [240, 228, 66], [150, 105, 235], [200, 70, 50], [0, 190, 200],
]

// A pale colour by number: neighbours differ, and numbers far apart may look alike.
export const pale = n => [0, 2, 4].map(c => 140 + 45 * Math.cos(2.4 * n + c * Math.PI / 3))

// The mosaic: each pixel in the colour of its strongest source, the stronger the surer it is, and as light as the image
// is there.
export function mosaic(canvas, { mean, image, weight }, set, ranked) {
  const tint = new Map(ranked.map((n, i) => [n, tints[i]])), grey = [120, 120, 120]
  const of = colours(mean, set.C, set.H * set.W)
  bitmap(canvas, set.W, set.H, p => {
    const [r, g, b] = of(p), light = .22 + .78 * Math.min(1, Math.max(0, (r + g + b) / 765)), sure = weight[p] ** .25
    const c = (tint.get(image[p]) ?? pale(image[p])).map((v, i) => v * sure + grey[i] * (1 - sure))
    return c.map(v => v * light + 32 * (1 - light))
  })
}

// How much one image weighs at each pixel, over the picture.
export function shine(canvas, x, set, weights, colour) {
  const of = colours(x, set.C, set.H * set.W)
  bitmap(canvas, set.W, set.H, p => of(p).map((v, c) => .45 * v * (1 - weights[p]) + colour[c] * weights[p]))
}

// The difference of two images: blue where it became darker, orange where lighter.
export function difference(canvas, x, y, { C, H, W }) {
  const P = H * W
  bitmap(canvas, W, H, p => {
    let d = 0
    for (let i = p; i < C * P; i += P) d += (y[i] - x[i]) / C
    const v = Math.max(-1, Math.min(1, d)), end = v < 0 ? [64, 156, 255] : [255, 150, 30], f = Math.sqrt(Math.abs(v))
    return end.map(c => 24 + f * (c - 24))
  })
}
