// From an image to noise and back: the schedule, the sampler, and the package's noise by seed.

// The cosine schedule of the paper: the angle grows in proportion to t; signal and noise are its cosine and sine.
export const levels = t => {
  const angle = t / 1.008 * Math.PI / 2
  return { a: Math.cos(angle), sigma: Math.sin(angle) }
}

// One step of DDIM, from time t to s, with the clean image that a denoiser predicts.
export function ddim(x, x0, t, s) {
  const from = levels(t), to = levels(s), next = new Float64Array(x.length)
  for (let i = 0; i < x.length; i++) next[i] = to.a * x0[i] + to.sigma * (x[i] - from.a * x0[i]) / from.sigma
  return next
}

// Of n widths, lowest noise first, entry i−1 serves t in ((i−1)/n, i/n].
export const widthAt = (scales, t) => {
  const n = scales.length
  return scales[Math.min(Math.max(Math.ceil(t * n - 1e-9), 1), n) - 1]
}

// The Mersenne Twister (MT19937), the generator of torch on a CPU: 32 random bits at each call.
export function twister(seed) {
  const state = new Uint32Array(624)
  state[0] = seed
  for (let i = 1; i < 624; i++) state[i] = Math.imul(state[i - 1] ^ (state[i - 1] >>> 30), 1812433253) + i
  let at = 624
  const renew = () => {
    for (let i = 0; i < 624; i++) {
      const y = (state[i] & 0x80000000) | (state[(i + 1) % 624] & 0x7fffffff)
      state[i] = state[(i + 397) % 624] ^ (y >>> 1) ^ (y & 1 ? 0x9908b0df : 0)
    }
    at = 0
  }
  return () => {
    if (at === 624) renew()
    let y = state[at++]
    y ^= y >>> 11
    y ^= (y << 7) & 0x9d2c5680
    y ^= (y << 15) & 0xefc60000
    return (y ^ (y >>> 18)) >>> 0
  }
}

// The noise image of a seed: the numbers that torch.randn gives for it, to float32's last digits. Torch turns 16
// uniform numbers at a time into 16 normal ones (Box and Muller); n must be a multiple of 16.
export function seedNoise(seed, n) {
  if (n % 16) throw new Error(`noise comes in sixteens, not ${n}`)
  const next = twister(seed), noise = new Float32Array(n)
  for (let i = 0; i < n; i++) noise[i] = (next() & 0xffffff) / 0x1000000
  for (let i = 0; i < n; i += 16)
    for (let j = i; j < i + 8; j++) {
      const radius = Math.sqrt(-2 * Math.log(1 - noise[j])), angle = 2 * Math.PI * noise[j + 8]
      noise[j] = radius * Math.cos(angle)
      noise[j + 8] = radius * Math.sin(angle)
    }
  return noise
}
