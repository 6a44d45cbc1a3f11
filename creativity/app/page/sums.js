// Softmax sums over some of the candidates of every pixel, in pieces that merge exactly.

// Sums over no candidate yet, for P pixels and C channels. A weight is exp(logit − top).
export const emptySums = (P, C) => ({
  top: new Float64Array(P).fill(-Infinity), // the largest logit
  z: new Float64Array(P), // Σ w
  num: new Float64Array(C * P), // Σ w · centre
  wlogw: new Float64Array(P), // Σ w · log w
  w2: new Float64Array(P), // Σ w²
  image: new Int32Array(P), // whose the largest logit is
  shift: new Int32Array(P), // and at which shift
})

// Take the sums over other candidates into `sums`.
export function merge(sums, other) {
  const P = sums.top.length, C = sums.num.length / P
  for (let p = 0; p < P; p++) {
    if (!other.z[p]) continue
    const top = Math.max(sums.top[p], other.top[p])
    const d = sums.z[p] ? sums.top[p] - top : 0, e = other.top[p] - top
    const f = sums.z[p] ? Math.exp(d) : 0, g = Math.exp(e)
    sums.wlogw[p] = f * (sums.wlogw[p] + d * sums.z[p]) + g * (other.wlogw[p] + e * other.z[p])
    sums.w2[p] = f * f * sums.w2[p] + g * g * other.w2[p]
    for (let i = p; i < C * P; i += P) sums.num[i] = f * sums.num[i] + g * other.num[i]
    sums.z[p] = f * sums.z[p] + g * other.z[p]
    // of two that are equal the earlier image, whichever worker is done first
    if (other.top[p] > sums.top[p] || (other.top[p] === sums.top[p] && other.image[p] < sums.image[p])) {
      sums.image[p] = other.image[p]
      sums.shift[p] = other.shift[p]
    }
    sums.top[p] = top
  }
  return sums
}

// What every pixel believes. `plan` says where a shift leads; without one (IS) a pixel's source is at its own place.
export function read(sums, plan, images) {
  const P = sums.top.length, C = sums.num.length / P
  const belief = {
    mean: new Float64Array(C * P), logEvidence: new Float64Array(P), entropy: new Float64Array(P),
    nEff: new Float64Array(P), weight: new Float64Array(P),
    image: Int32Array.from(sums.image), place: new Int32Array(P),
  }
  for (let p = 0; p < P; p++) {
    const logZ = Math.log(sums.z[p])
    for (let i = p; i < C * P; i += P) belief.mean[i] = sums.num[i] / sums.z[p]
    belief.entropy[p] = Math.max(logZ - sums.wlogw[p] / sums.z[p], 0)
    belief.nEff[p] = Math.exp(belief.entropy[p])
    belief.weight[p] = 1 / sums.z[p]
    belief.logEvidence[p] = sums.top[p] + logZ - Math.log(images * (plan ? plan.counts[p] : 1))
    belief.place[p] = plan ? moved(plan, p, sums.shift[p]) : p
  }
  return belief
}

// The pixel that a shift leads to, on the circle.
export function moved({ H, W, shifts }, p, shift) {
  const i = Math.floor(p / W) + shifts[6 * shift], j = p % W + shifts[6 * shift + 1]
  return ((i + H) % H) * W + (j + W) % W
}
