// From noise to image in so many steps of DDIM, with the belief at each.
import { ddim } from './diffusion.js'

// `believe(x, t)` promises what every pixel believes. Yields { step, t, x, belief } for step = 0 … steps; at the last
// one t = 0, x is the image, and the belief is that of the step before, which made it.
export async function* flow(noise, steps, believe) {
  let x = Float64Array.from(noise), belief
  for (let step = 0; step < steps; step++) {
    const t = (steps - step) / steps, s = (steps - step - 1) / steps
    belief = await believe(x, t)
    yield { step, t, x, belief }
    x = step === steps - 1 ? belief.mean : ddim(x, belief.mean, t, s)
  }
  yield { step: steps, t: 0, x, belief }
}
