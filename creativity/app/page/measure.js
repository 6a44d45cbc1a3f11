// Numbers about images.

// Pearson's correlation of two images.
export function correlation(x, y) {
  const mean = v => v.reduce((s, u) => s + u, 0) / v.length, mx = mean(x), my = mean(y)
  let xy = 0, xx = 0, yy = 0
  for (let i = 0; i < x.length; i++) {
    xy += (x[i] - mx) * (y[i] - my)
    xx += (x[i] - mx) ** 2
    yy += (y[i] - my) ** 2
  }
  return xy / Math.sqrt(xx * yy)
}

// The root of the mean squared difference, of x and image n of a set.
export function distance(x, set, n) {
  const size = x.length
  let d = 0
  for (let i = 0; i < size; i++) d += (x[i] - set.data[n * size + i]) ** 2
  return Math.sqrt(d / size)
}

// The nearest training image: { image, distance }.
export function nearest(x, set) {
  let best = { image: -1, distance: Infinity }
  for (let n = 0; n < set.N; n++) {
    const d = distance(x, set, n)
    if (d < best.distance) best = { image: n, distance: d }
  }
  return best
}

// The images behind the pixels' strongest candidates, by how much weight these have: the most first.
export function strongest({ image, weight }) {
  const sums = new Map()
  image.forEach((n, p) => sums.set(n, (sums.get(n) ?? 0) + weight[p]))
  return [...sums].sort((a, b) => b[1] - a[1] || a[0] - b[0]).map(s => s[0])
}

// Of horizontal and vertical neighbours, the share that are neighbours in the same training image too.
export function sideBySide({ image, place }, { H, W }) {
  let together = 0
  for (let i = 0; i < H; i++)
    for (let j = 0; j < W; j++) {
      const p = i * W + j
      for (const [inside, by] of [[j + 1 < W, 1], [i + 1 < H, W]])
        if (inside && image[p] === image[p + by] && place[p + by] - place[p] === by) together++
    }
  return together / (H * (W - 1) + W * (H - 1))
}

// The pixels that are sure of their source, with more than half of their weight on one window: { share, images }.
export function settled({ image, weight }) {
  const sure = Array.from(image).filter((_, p) => weight[p] > .5)
  return { share: sure.length / image.length, images: new Set(sure).size }
}
