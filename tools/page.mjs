// What a reader does on the page that computes in the browser, and what it must answer: tests/assets/page.json, which
// the Python package computed. Used by tools/browser.mjs --page.

const near = (what, ours, theirs, most) => {
  if (!(Math.abs(ours - theirs) <= most)) throw new Error(`${what} is ${ours}, the package says ${theirs}`)
}
const must = (what, holds) => { if (!holds) throw new Error(what) }

// Call a function inside the page with what its state.js exports.
const inside = (tab, f) =>
  tab.evaluate(`import(new URL('state.js', document.querySelector('script[src$="page.js"]').src)).then(${f})`)

// Play one tab of the page. `keep(name)` keeps a screenshot; `until(what, test)` waits. Returns waits by what was done.
// By touch, on a phone, everything is reached and shown, too; what takes bbELS long is the same there, and is compared
// by mouse alone.
export async function play(tab, expected, touch, until, keep) {
  const waits = {}, read = id => tab.locator(`#${id}`).evaluate(e => ({ ...e.dataset, text: e.textContent }))
  const timed = async (what, act, answered) => {
    const start = Date.now()
    await act()
    await until(what, answered)
    waits[what] = `${((Date.now() - start) / 1000).toFixed(1)} s`
  }
  const press = async target => touch ? target.tap() : target.click()
  // What is said of a finished flow names what it was made of: the text of the one before stands for one frame more.
  const isDone = async (of = {}) => {
    const says = await read('flow-says')
    const same = ([name, value]) => says[name] === String(value)
    return says.text.includes('sure of their source') && Object.entries(of).every(same)
  }
  const choose = (name, value) => press(
    tab.locator(`#noise [data-choice="${name}"] label`).filter({ has: tab.locator(`input[value="${value}"]`) }))
  const flowSays = async name => Number((await read('flow-says'))[name])
  const at = async (step, k, machine = 'bbels') => {
    const v = await read('neff')
    return Number(v.step) === step && Number(v.k) === k && v.machine === machine
  }

  await until('the first flow', () => isDone())
  const first = await read('flow-says')
  near('r with the network', Number(first.r), expected.r, 1e-3)
  near('the distance to the nearest image', Number(first.distance), expected.nearest, 1e-3)
  must(`it says ${(await read('engine')).text}`, /by (one|\d+) workers?\.$/.test((await read('engine')).text))
  must(`the text says ${first.text}`, first.text.includes(`r = ${expected.r.toFixed(3)}`))

  // any of the three sliders moves all
  await tab.locator('#step-2').fill('12')
  await until('step 12', () => at(12, expected.pixel[0].k))
  must('the sliders do not agree', await tab.locator('#step-1').inputValue() === '12')
  for (const [i, k] of [[0, expected.pixel[0].k], [7, 15]]) {
    if (i) await timed('a wider window', () => tab.locator('#width').fill(String(i)), () => at(12, k))
    const v = await read('neff'), want = expected.pixel.find(p => p.k === k)
    near(`N_eff at width ${k}`, Number(v.neff), want.n_eff, 1e-3 * want.n_eff)
    near(`the best weight at width ${k}`, Number(v.weight), want.weight, 1e-3)
    must(`the best image at width ${k} is ${v.image}`, Number(v.image) === want.image)
  }
  await until('the curve', async () => {
    const { text } = await read('curve-says')
    return text.includes('after 12 steps') && text.includes('at width 15')
  })
  await keep('pixel')
  await press(tab.locator('#own-width'))
  await until('the calibrated width', () => at(12, expected.pixel[0].k))

  // a pixel by pointer, and by keys
  const map = tab.locator('[data-map="expected"]'), box = await map.boundingBox()
  const position = { x: 10.5 / 32 * box.width, y: 20.5 / 32 * box.height }
  await timed('another pixel', () => touch ? map.tap({ position }) : map.click({ position }),
    async () => (await read('neff')).pixel === String(20 * 32 + 10))
  await tab.locator('[data-map="state"]').press('ArrowRight')
  await until('an arrow key', async () => (await read('neff')).pixel === String(20 * 32 + 11))

  // sources of the whole picture, and the cut
  await until('the sources', async () => (await read('sources')).step === '12')
  const sources = await read('sources')
  near('the largest share', Number(sources.share), expected.share, 1e-4)
  must(`the first source is ${sources.first}`, Number(sources.first) === expected.source)
  near('all shares together', Number(sources.total), 1, 1e-3)
  const leaveOut = async what => {
    await press(tab.locator('#sources button').first())
    await timed(what, () => press(tab.locator('[data-cut="out"]')),
      async () => (await read('cut-says')).text.includes('%'))
  }
  const putBack = async () => {
    await press(tab.locator('#uncut'))
    await until('putting it back', () => tab.locator('#cut-pictures').isHidden())
  }
  if (!touch) {
    await leaveOut('leaving one out')
    near('what leaving it out changes', Number((await read('cut-says')).rms), expected.cut, 1e-3)
    await keep('mosaic')
    await putBack()
  }

  // another machine, which is quick: its cuts, its flows at other widths, a painted noise, and another seed
  const isLS = () => isDone({ machine: 'ls', seed: 23, painted: false })
  const sameAgain = async () => near('r of LS with the network', await flowSays('r'), expected.ls.r, 1e-3)
  await timed('LS', () => choose('machine', 'ls'),
    async () => await isLS() && tab.locator('#pixel input[value="ls"]').isChecked())
  await sameAgain()
  const unpainted = await flowSays('distance')
  await until('the sources of LS', async () => await tab.locator('#sources button').count() > 0)
  await leaveOut('leaving one out of LS')
  if (touch) await keep('mosaic')
  await timed('mirroring it', () => press(tab.locator('[data-cut="mirror"]')),
    async () => (await read('cut-says')).how === 'mirror')
  await putBack()

  // windows that cover all remember
  await tab.locator('#gallery').scrollIntoViewIfNeeded()
  await until('wide windows', async () => await tab.locator('#gallery canvas[data-k="31"]').count() === 1)
  for (const k of [31, 63]) {
    const distance = await tab.locator(`#gallery canvas[data-k="${k}"]`).getAttribute('data-distance')
    near(`the distance to the nearest image at width ${k}`, Number(distance), 0, .05)
  }

  const paper = tab.locator('#paper')
  await paper.scrollIntoViewIfNeeded()
  await timed('a painted noise', async () => {
    if (touch) return paper.tap({ position: { x: 60, y: 60 } })
    const sheet = await paper.boundingBox()
    await tab.mouse.move(sheet.x + 40, sheet.y + 40)
    await tab.mouse.down()
    await tab.mouse.move(sheet.x + 160, sheet.y + 60, { steps: 8 })
    await tab.mouse.up()
  }, async () => (await tab.locator('#unpaint').isEnabled()) && await isDone({ painted: true }))
  must('a painted noise changes nothing', Math.abs(await flowSays('distance') - unpainted) > 1e-3)
  must('the network is shown for a painted noise', (await read('network-says')).text.includes('painted'))
  await keep('noise')
  await press(tab.locator('#unpaint'))
  await until('the noise as it was', isLS)
  await sameAgain()

  await press(tab.locator('#seed-more'))
  await until('the next seed', async () => (await tab.locator('#seed').inputValue()) === '24'
    && await isDone({ seed: 24 }) && (await read('network-says')).text.includes('stored for seeds'))
  await tab.locator('#seed').fill('23')
  await tab.locator('#seed').press('Enter')
  await until('the first seed', isLS)
  await sameAgain()

  // another set
  await tab.locator('#step-3').fill('12')
  await press(tab.locator('[data-map="state"]'))
  await timed('CIFAR-10', () => choose('set', 'cifar10'), () => isDone({ set: 'cifar10' }))
  await tab.locator('#seed').fill('5')
  await timed('a flow in colour', () => tab.locator('#seed').press('Enter'),
    () => isDone({ set: 'cifar10', machine: 'ls', seed: 5 }))
  near('the distance to the nearest image, CIFAR-10', await flowSays('distance'), expected.cifar10.nearest, 1e-3)
  near('r with the network, CIFAR-10', await flowSays('r'), expected.cifar10.r, 1e-3)
  if (!touch) {
    // a flow of bbELS takes long in colour: what one pixel believes after four steps of it
    const believed = () => inside(tab, ({ state }) => {
      const { belief } = state.machine === 'bbels' && state.steps[4] || {}
      return belief && [0, 1, 2].map(c => belief.mean[c * 1024 + 16 * 32 + 16])
    })
    await timed('four steps of bbELS in colour', () => choose('machine', 'bbels'), async () => !!await believed())
    const found = await believed()
    for (const c of [0, 1, 2]) near(`the belief of colour ${c}`, found[c], expected.cifar10.believed[c], 1e-3)
    await choose('machine', 'ls')
    await until('LS once more', () => isDone({ set: 'cifar10', machine: 'ls', seed: 5 }))
  }
  // what was shown while it played: at the beginning and at the end the page looks the same
  await inside(tab, ({ listen, state }) => {
    window.shown = new Set()
    listen(() => window.shown.add(state.step))
  })
  await press(tab.locator('#play'))
  await until('playing', async () => await tab.evaluate(() => window.shown.size) > 3
    && (await tab.locator('#step-1').inputValue()) === '20' && (await tab.locator('#play').textContent()) === 'Play')
  await keep('colour')

  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  must(`the page is ${wide} px wider than the screen`, wide <= 1)
  const nameless = await tab.evaluate(() => [...document.querySelectorAll('button, input, [role]')].filter(e =>
    !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.getAttribute('aria-labelledby')
      || e.closest('[hidden]') || ['status', 'alert'].includes(e.getAttribute('role')))).map(e => e.outerHTML))
  must(`without a name: ${nameless}`, !nameless.length)
  must(`a problem: ${(await read('problem')).text}`, !(await read('problem')).text)
  return waits
}

// Inside the page: the graphics card against the oracle's beliefs, and on the page's own images against the workers'
// code. Says the worst errors, and what was left to the workers.
async function compareCard({ data, queries }) {
  const address = new URL('.', document.querySelector('script[src$="page.js"]').src)
  const [gpu, machines, images, diffusion, plans, sums] = await Promise.all(
    ['webgpu', 'machines', 'data', 'diffusion', 'plan', 'sums'].map(name => import(new URL(`${name}.js`, address))))
  const card = await gpu.open(true)
  if (!card) return null
  await gpu.check(card, machines.partial)
  const taken = {}, left = {}, worst = {}, wrong = []
  const off = (u, v) => v.reduce((e, w, i) => Math.max(e, Number.isFinite(u[i]) ? Math.abs(u[i] - w) : Infinity), 0)
  const near = (what, name, error, most = 1e-4) => {
    worst[name] = Math.max(worst[name] ?? 0, error)
    if (!(error <= most)) wrong.push(`${what}: ${name} is off by ${error}`)
  }
  // two pieces, as the pool makes them
  const believe = async (by, set, machine, k, x, t, skip) => {
    const total = sums.emptySums(set.H * set.W, set.C), each = [], half = set.N >> 1
    for (const [first, count] of [[0, half], [half, set.N - half]]) {
      const part = await by(set, machine, k, x, t, first, count, skip, true)
      sums.merge(total, part.sums)
      each.push(...part.each)
    }
    const plan = machine === 'is' ? undefined : plans.plan(machine, set.H, set.W, k)
    return { ...sums.read(total, plan, set.N - (skip >= 0 ? 1 : 0)), total, each }
  }
  const byCard = card.partial.bind(card)
  const relative = v => Array.from(v, u => u / Math.max(1, Math.abs(u)))
  const compare = async (what, set, { machine, k, t, skip = -1 }, x, theirs, each) => {
    if (!gpu.takes(set, machine)) return
    const ours = await believe(byCard, set, machine, k, x, t, skip), P = set.H * set.W
    const doubt = gpu.doubt(set, machine, k, x, t, ours.total)
    // what the rule lets through must be right
    if (doubt > gpu.MOST_DOUBT) return void (left[machine] = (left[machine] ?? 0) + 1)
    taken[machine] = (taken[machine] ?? 0) + 1
    what = `${machine}, width ${k}, t = ${t}, ${what}`
    near(what, 'mean', off(ours.mean, theirs.mean))
    near(what, 'entropy', off(ours.entropy, theirs.entropy))
    near(what, 'weight', off(ours.weight, theirs.weight))
    near(what, 'N_eff, relative', off(Array.from(ours.nEff, (v, i) => v / theirs.nEff[i]), theirs.nEff.map(() => 1)))
    near(what, 'log evidence, relative', off(relative(ours.logEvidence), relative(theirs.logEvidence)), 1e-5)
    const moved = theirs.image && (off(ours.image, theirs.image) || off(ours.place, theirs.place))
    if (moved) wrong.push(`${what}: another source`)
    // every image's share of every pixel
    const share = (b, each, n, p) => Math.exp(each[n * P + p] - b.top[p]) / b.z[p]
    let error = 0
    for (let n = 0; n < set.N; n++) for (let p = 0; p < P; p++)
      error = Math.max(error, Math.abs(share(ours.total, ours.each, n, p) - share(each.total, each.each, n, p)))
    near(what, 'shares', error)
  }
  for (const { data: name, x, cases } of queries) {
    const { shape: [N, C, H, W], images } = data[name], set = { data: Float32Array.from(images), N, C, H, W }
    for (const c of cases) {
      const { mean, entropy, weight, n_eff: nEff, log_evidence: logEvidence, image, place } = c.oracle
      const own = await believe(machines.partial, set, c.machine, c.k, x, c.t, c.skip)
      await compare(name, set, c, x, { mean, entropy, weight, nEff, logEvidence, ...c.unique && { image, place } }, own)
    }
  }
  // all of the page's images: the machines that are quick without a card, and one image for one that is not
  for (const name of ['fashion_mnist', 'cifar10']) {
    const all = images.classOf(await images.load(name), 0), size = all.C * 1024
    const asked = [['ls', 3, all.N], ['ls', 7, all.N], ['ls', 63, all.N], ['is', 1, all.N], ['bbels', 15, 1]]
    for (const [machine, k, N] of asked)
      for (const t of machine === 'bbels' ? [.6] : [.05, .3, 1]) {
        const set = { ...all, N }, { a, sigma } = diffusion.levels(t), noise = diffusion.seedNoise(7, size)
        const x = Float64Array.from(noise, (v, i) => sigma * v + a * all.data[3 * size + i])
        const own = await believe(machines.partial, set, machine, k, x, t, N > 1 ? 2 : -1)
        await compare(name, set, { machine, k, t, skip: N > 1 ? 2 : -1 }, x, { ...own, image: undefined }, own)
      }
  }
  // far from all images nothing that is summed is small: that must not pass
  const far = images.classOf(await images.load('mnist'), 0)
  const x = Float64Array.from(diffusion.seedNoise(3, 1024), v => 9 * v)
  const found = await card.partial(far, 'ls', 15, x, .05, 0, far.N)
  const doubt = gpu.doubt(far, 'ls', 15, x, .05, found.sums)
  if (!(doubt > gpu.MOST_DOUBT)) wrong.push('an image far from all others is not doubted')
  // a card that is lost says so
  card.device.destroy()
  const lost = await card.partial(far, 'ls', 3, x, .5, 0, 2).then(() => false, () => true)
  if (!lost) wrong.push('a lost card answers')
  return { name: card.name, taken, left, worst, wrong }
}

// The page with the graphics card, or what stands in for one. Returns what is to be said of it.
export async function playCard(tab, beliefs, expected, until) {
  // not bbELS, which takes a card that is made of software very long
  await tab.locator('#noise input[value="ls"]').check({ force: true })
  const found = await tab.evaluate(compareCard, beliefs)
  if (!found) return 'skipped: no adapter'
  must(`the graphics card: ${found.wrong.slice(0, 5).join('; ')}`, !found.wrong.length)
  for (const machine of ['is', 'ls', 'bbels', 'els'])
    must(`the graphics card did nothing for ${machine}`, found.taken[machine] > 3)

  // flows of LS, which is quick without a card, too: with it, and when it is lost on the way
  const engine = () => tab.locator('#engine').getAttribute('data-engine')
  const flow = async (what, seed) => {
    await tab.locator('#seed').fill(String(seed))
    await tab.locator('#seed').press('Enter')
    await until(what, async () => {
      const says = await tab.locator('#flow-says').evaluate(e => ({ ...e.dataset, text: e.textContent }))
      return says.text && says.machine === 'ls' && Number(says.seed) === seed
    })
    return inside(tab, ({ state }) => Array.from(state.steps.at(-1).x))
  }
  await until('the graphics card', async () => await engine() === 'gpu')
  await flow('another flow', 24)
  const image = await flow('a flow by the card', 23)
  const r = await tab.locator('#flow-says').getAttribute('data-r')
  near('r of LS with the network, by the card', Number(r), expected.ls.r, 1e-3)
  const { card } = await inside(tab, ({ pool }) => pool.done)
  must(`of 40 beliefs the card gave ${card}`, card > 20)
  await tab.locator('#step-1').fill('12')
  await until('the sources', async () => await tab.locator('#sources').getAttribute('data-step') === '12')
  near('all shares together', Number(await tab.locator('#sources').getAttribute('data-total')), 1, 1e-3)
  await tab.locator('#seed-more').click()
  await inside(tab, ({ pool }) => pool.closeCard())
  await until('the workers', async () => await engine() === 'cpu')
  const again = await flow('a flow without the card', 23)
  const most = image.reduce((m, v, i) => Math.max(m, Math.abs(v - again[i])), 0)
  must(`the card's image is off by ${most}`, most < 1e-3)
  must('nothing was lost', await tab.locator('#problem').isHidden())
  const sum = v => Object.values(v).reduce((a, b) => a + b, 0)
  const worst = Object.entries({ ...found.worst, 'image of a flow': most })
  return `${found.name}: ${sum(found.taken)} beliefs, ${sum(found.left)} more left to the workers, worst errors `
    + worst.map(([name, v]) => `${name} ${v.toExponential(1)}`).join(', ')
}
