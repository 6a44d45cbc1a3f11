// What a reader does on the page that computes in the browser, and what it must answer: tests/assets/page.json, which the
// Python package computed. Used by tools/browser.mjs --page.

const near = (what, ours, theirs, most) => {
  if (!(Math.abs(ours - theirs) <= most)) throw new Error(`${what} is ${ours}, the package says ${theirs}`)
}
const must = (what, holds) => { if (!holds) throw new Error(what) }

// Play one tab of the page. `keep(name)` keeps a screenshot; `until(what, test)` waits. Returns waits by what was done.
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
    return says.text.includes('sure of their source') && Object.entries(of).every(([name, value]) => says[name] === String(value))
  }
  const choose = (name, value) => press(tab.locator(`#noise [data-choice="${name}"] label`).filter({ has: tab.locator(`input[value="${value}"]`) }))
  const at = async (step, k, machine = 'bbels') => {
    const v = await read('neff')
    return Number(v.step) === step && Number(v.k) === k && v.machine === machine
  }

  await until('the first flow', () => isDone())
  const first = await read('flow-says')
  near('r with the network', Number(first.r), expected.r, 1e-3)
  near('the distance to the nearest image', Number(first.distance), expected.nearest, 1e-3)
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
  await tab.waitForTimeout(1500)
  await keep('pixel')
  await press(tab.locator('#own-width'))
  await until('the calibrated width', () => at(12, expected.pixel[0].k))

  // a pixel by pointer, and by keys
  const map = tab.locator('[data-map="expected"]'), box = await map.boundingBox()
  const position = { x: 10.5 / 32 * box.width, y: 20.5 / 32 * box.height }
  await timed('another pixel', () => touch ? map.tap({ position }) : map.click({ position }), async () => (await read('neff')).pixel === String(20 * 32 + 10))
  await tab.locator('[data-map="state"]').press('ArrowRight')
  await until('an arrow key', async () => (await read('neff')).pixel === String(20 * 32 + 11))

  // sources of the whole picture, and the cut
  await until('the sources', async () => (await read('sources')).step === '12')
  const sources = await read('sources')
  near('the largest share', Number(sources.share), expected.share, 1e-4)
  must(`the first source is ${sources.first}`, Number(sources.first) === expected.source)
  near('all shares together', Number(sources.total), 1, 1e-3)
  await press(tab.locator('#sources button').first())
  await timed('leaving one out', () => press(tab.locator('[data-cut="out"]')), async () => (await read('cut-says')).text.includes('%'))
  const cut = await read('cut-says')
  near('what leaving it out changes', Number(cut.rms), expected.cut, 1e-3)
  await keep('mosaic')
  await timed('mirroring it', () => press(tab.locator('[data-cut="mirror"]')), async () => (await read('cut-says')).how === 'mirror')
  await press(tab.locator('#uncut'))
  await until('putting it back', () => tab.locator('#cut-pictures').isHidden())

  // windows that cover all remember
  await tab.locator('#gallery').scrollIntoViewIfNeeded()
  await until('wide windows', async () => await tab.locator('#gallery canvas[data-k="31"]').count() === 1)
  for (const k of [31, 63])
    near(`the distance to the nearest image at width ${k}`, Number(await tab.locator(`#gallery canvas[data-k="${k}"]`).getAttribute('data-distance')), 0, .05)

  // paint, and take it back
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
  must('a painted noise changes nothing', Math.abs(Number((await read('flow-says')).distance) - expected.nearest) > 1e-3)
  must('the network is shown for a painted noise', (await read('network-says')).text.includes('painted'))
  await keep('noise')
  await press(tab.locator('#unpaint'))
  await until('the noise as it was', async () => await isDone({ painted: false }) && Math.abs(Number((await read('flow-says')).r) - expected.r) < 1e-3)

  // another seed, another machine, another set
  await press(tab.locator('#seed-more'))
  await until('the next seed', async () => (await tab.locator('#seed').inputValue()) === '24' && (await read('network-says')).text.includes('stored for seeds'))
  await tab.locator('#seed').fill('23')
  await tab.locator('#seed').press('Enter')
  await timed('LS', () => choose('machine', 'ls'), async () => await isDone({ machine: 'ls', seed: 23 }) && tab.locator('#pixel input[value="ls"]').isChecked())
  near('r of LS with the network', Number((await read('flow-says')).r), expected.ls.r, 1e-3)
  await tab.locator('#step-3').fill('12')
  await press(tab.locator('[data-map="state"]'))
  await timed('CIFAR-10', () => choose('set', 'cifar10'), () => isDone({ set: 'cifar10' }))
  await choose('machine', 'bbels')
  await tab.locator('#seed').fill('5')
  await timed('a flow in colour', () => tab.locator('#seed').press('Enter'),
    () => isDone({ set: 'cifar10', machine: 'bbels', seed: 5 }))
  near('the distance to the nearest image, CIFAR-10', Number((await read('flow-says')).distance), expected.cifar10.nearest, 1e-3)
  near('r with the network, CIFAR-10', Number((await read('flow-says')).r), expected.cifar10.r, 1e-3)
  await press(tab.locator('#play'))
  await until('playing', async () => (await tab.locator('#step-1').inputValue()) === '20' && (await tab.locator('#play').textContent()) === 'Play')
  await keep('colour')

  const wide = await tab.evaluate(() => document.documentElement.scrollWidth - window.innerWidth)
  must(`the page is ${wide} px wider than the screen`, wide <= 1)
  const nameless = await tab.evaluate(() => [...document.querySelectorAll('button, input, [role]')].filter(e =>
    !(e.textContent.trim() || e.getAttribute('aria-label') || e.labels?.length || e.getAttribute('aria-labelledby') || e.closest('[hidden]') || e.getAttribute('role') === 'status' || e.getAttribute('role') === 'alert')).map(e => e.outerHTML))
  must(`without a name: ${nameless}`, !nameless.length)
  must(`a problem: ${(await read('problem')).text}`, !(await read('problem')).text)
  return waits
}
