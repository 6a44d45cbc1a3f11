// Which windows a machine compares: for each relative shift of query and training image, one rectangle of pixels.

// Along one axis of n pixels, for windows of width k: [shift, first pixel, end pixel].
const rules = {
  // LS: a place is compared with itself alone
  ls: n => [[0, 0, n]],
  // bbELS: a place inside meets every place inside; one whose window the border cuts meets itself alone
  bbels(n, k) {
    const r = k >> 1, m = Math.max(n - 2 * r - 1, 0), found = []
    for (let d = -m; d <= m; d++) found.push(d ? [d, Math.max(r, r - d), Math.min(n - r, n - r - d)] : [0, 0, n])
    return found
  },
  // ELS: every place meets every place of the circle
  els: n => Array.from({ length: n }, (_, d) => [d, 0, n]),
  // ELS as its authors released it: every place meets the places whose windows lie inside
  elsInside(n, k) {
    const r = k >> 1, found = []
    for (let d = r - n + 1; d < n - r; d++) found.push([d, Math.max(0, r - d), Math.min(n, n - r - d)])
    return found
  },
}

// How a row of n pixels goes on past its border: which pixel stands at −r … end+r−1, −1 where there is none.
function reach(n, r, end, circular) {
  return Int32Array.from({ length: end + 2 * r }, (_, i) => {
    const at = i - r
    if (circular) return (at % n + n) % n
    return at >= 0 && at < n ? at : -1
  })
}

const product = (rows, cols) => rows.flatMap(([dy, i0, i1]) => cols.map(([dx, u0, u1]) => [dy, dx, i0, i1, u0, u1]))

function makePlan(machine, H, W, k) {
  const circular = machine === 'els', wraps = circular || machine === 'elsInside', r = k >> 1
  const [rows, cols] = [H, W].map(n => rules[machine](n, k))
  const end = (n, axis) => Math.max(n, ...axis.map(([d, , last]) => d + last))
  const shifts = product(rows, cols).filter(([, , i0, i1, u0, u1]) => i1 > i0 && u1 > u0)
  const counts = new Float64Array(H * W)
  for (const [, , i0, i1, u0, u1] of shifts)
    for (let i = i0; i < i1; i++) for (let u = u0; u < u1; u++) counts[i * W + u]++
  return {
    machine, H, W, k, r, rows, cols, counts, shifts: Int32Array.from(shifts.flat()),
    xRows: reach(H, r, H, wraps), xCols: reach(W, r, W, wraps),
    dRows: reach(H, r, end(H, rows), circular), dCols: reach(W, r, end(W, cols), circular),
    pairs: counts.reduce((s, c) => s + c, 0),
  }
}

const made = new Map()

// The plan of a machine ('ls', 'bbels', 'els', 'elsInside') for H×W pixels and windows of width k; made once.
export function plan(machine, H, W, k) {
  if (k % 2 !== 1 || k < 1) throw new Error(`a window's width is odd and at least 1, got ${k}`)
  if (machine === 'elsInside' && k > Math.min(H, W)) throw new Error(`no window of width ${k} lies inside the image`)
  const name = `${machine} ${H} ${W} ${k}`
  if (!made.has(name)) made.set(name, makePlan(machine, H, W, k))
  return made.get(name)
}

// An image [C,H,W] continued past its border and multiplied by a factor: [C,rows,cols], 0 where there is none.
export function pad(x, from, C, H, W, rows, cols, factor, out) {
  let o = 0
  for (let c = 0; c < C; c++)
    for (const i of rows)
      for (const j of cols) out[o++] = i < 0 || j < 0 ? 0 : factor * x[from + (c * H + i) * W + j]
  return out
}
