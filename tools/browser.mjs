#!/usr/bin/env node
// Look at every page of the built site, _docs, in a real browser, at phone and desktop width.
//
//   node tools/browser.mjs                   check; a screenshot of every page with a fault goes to out/screens
//   node tools/browser.mjs --screens         the same, with a screenshot of every page
//   node tools/browser.mjs --explorer VOILA  serve the explorer's notebook with this program, use it, see that it
//                                            follows
//   node tools/browser.mjs --page PROGRAM    serve the page that computes in the browser with this program, play it,
//                                            compare its numbers
//   node tools/browser.mjs --lab LAB DIR     open a lesson in DIR in JupyterLab (this program), run all of it, see
//                                            that no cell fails
//   node tools/browser.mjs --install         get what is missing: Chromium (apt-get, as root), playwright-core and
//                                            KaTeX (npm)
//
// Fails on script errors, failed requests, equations KaTeX could not read or that were left as text, broken pictures,
// pages wider than the screen, links or anchors that lead nowhere, and a search that finds or shows nothing.
// CHROMIUM=/path/to/browser picks the browser.
import { execFileSync, spawn } from 'node:child_process'
import { createServer } from 'node:http'
import {
  accessSync, constants, copyFileSync, existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, statSync,
  writeFileSync,
} from 'node:fs'
import { createRequire } from 'node:module'
import { delimiter, dirname, extname, join, normalize, resolve } from 'node:path'
import { tmpdir } from 'node:os'
import { fileURLToPath } from 'node:url'
import { play, playCard } from './page.mjs'

const root = resolve(dirname(fileURLToPath(import.meta.url)), '..')
const site = join(root, '_docs'), cache = join(root, '.cache', 'browser'), screens = join(root, 'out', 'screens')
const packages = ['playwright-core@1.65.1', 'katex@0.16.11']
const widths = { phone: [390, 844], desktop: [1280, 900] }
const flags = ['--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
  '--disable-component-update', '--disable-sync']
// a graphics card made of software, for WebGPU
const softCard = ['--enable-unsafe-webgpu', '--use-webgpu-adapter=swiftshader']
const types = { '.html': 'text/html', '.css': 'text/css', '.js': 'text/javascript', '.json': 'application/json',
  '.png': 'image/png', '.svg': 'image/svg+xml', '.webp': 'image/webp', '.woff2': 'font/woff2', '.woff': 'font/woff' }

const args = process.argv.slice(2), screenshots = args[0] === '--screens'

const stop = message => { console.error(message); process.exit(1) }
const runs = file => { try { accessSync(file, constants.X_OK); return statSync(file).isFile() } catch { return false } }
const reason = e => `${e.stderr || e.stdout || e.message}`.trim().split('\n').pop()

function chromium() {
  const names = ['chromium', 'chromium-browser', 'google-chrome', 'google-chrome-stable', 'chrome']
  const found = (process.env.PATH || '').split(delimiter).flatMap(d => names.map(n => join(d, n)))
  const mac = '/Applications/Google Chrome.app/Contents/MacOS/Google Chrome'
  return process.env.CHROMIUM || [...found, mac].find(runs)
}

function install() {
  const quiet = { stdio: 'pipe', timeout: 600_000, env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' } }
  if (!chromium()) {
    if (process.getuid?.() !== 0) stop('no browser check: install Chromium or Chrome, or name one with CHROMIUM=/path')
    try {
      execFileSync('apt-get', ['update', '-q'], quiet)
      execFileSync('apt-get', ['install', '-q', '-y', '--no-install-recommends', 'chromium'], quiet)
    } catch (e) { stop(`no browser check: apt-get could not install Chromium (${reason(e)})`) }
  }
  if (packages.every(has)) return
  mkdirSync(cache, { recursive: true })
  const npm = ['install', '--prefix', cache, '--no-save', '--no-fund', '--no-audit', ...packages]
  try { execFileSync('npm', npm, quiet) }
  catch (e) { stop(`no browser check: npm could not install ${packages.join(' and ')} (${reason(e)})`) }
}

function has(name) {
  const at = name.lastIndexOf('@'), file = join(cache, 'node_modules', name.slice(0, at), 'package.json')
  return existsSync(file) && JSON.parse(readFileSync(file)).version === name.slice(at + 1)
}

function serve() {
  const server = createServer((req, res) => {
    const file = normalize(join(site, decodeURIComponent(new URL(req.url, 'http://x').pathname)))
    if (!file.startsWith(site) || !existsSync(file) || !statSync(file).isFile()) return res.writeHead(404).end()
    res.writeHead(200, { 'content-type': types[extname(file)] || 'application/octet-stream' }).end(readFileSync(file))
  })
  const address = () => `http://127.0.0.1:${server.address().port}/`
  return new Promise(ok => server.listen(0, '127.0.0.1', () => ok([server, address()])))
}

// Runs inside the page: what is wrong with it, which anchors it offers, where its links lead.
function inspect() {
  const wide = document.documentElement.scrollWidth - window.innerWidth
  const sticks = e => e.getBoundingClientRect().right > window.innerWidth + 1
  const name = e => `${e.tagName.toLowerCase()}${e.id && '#' + e.id}${[...e.classList].map(c => '.' + c).join('')}`
  const text = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
  const raw = [], isCode = n => n.parentElement.closest('pre, code, script, style, .katex')
  for (let n = text.nextNode(); n; n = text.nextNode())
    if (/\\\(|\\\[|\$\$/.test(n.data) && !isCode(n)) raw.push(n.data.trim())
  return {
    bad: [
      ...[...document.images].filter(i => !i.complete || !i.naturalWidth)
        .map(i => `broken picture ${i.src.slice(0, 90)}`),
      ...[...document.querySelectorAll('.katex-error')].map(e => `KaTeX: ${e.title || e.textContent}`),
      ...raw.map(s => `equation left as text: ${s.slice(0, 90)}`),
      ...(wide > 1 ? [`${wide} px wider than the screen: ${[...document.querySelectorAll('body *')].filter(sticks)
        .slice(0, 3).map(name).join(', ')}`] : []),
      ...(document.title ? [] : ['no title']),
      ...(document.querySelector('h1') ? [] : ['no heading']),
    ],
    math: document.querySelectorAll('.katex').length,
    ids: [...document.querySelectorAll('[id], a[name]')].map(e => e.id || e.name),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  }
}

// One tab for all pages: they share what it has cached.
async function openTab(browser, url) {
  const context = await browser.newContext({ deviceScaleFactor: 1 })
  const tab = await context.newPage(), errors = new Set()
  tab.on('console', m => m.type() === 'error' && errors.add(`console: ${m.text()} ${m.location().url || ''}`.trim()))
  tab.on('pageerror', e => errors.add(`script: ${e.message}`))
  tab.on('requestfailed', r => errors.add(`request failed: ${r.url()}`))
  await tab.route(u => !u.href.startsWith(url) && !u.protocol.startsWith('data'), r => r.abort())   // the site alone
  return { tab, errors }
}

// Look at a page at several widths, as a reader who turns the phone: it is loaded at the first of them.
async function look({ tab, errors }, address, sizes, shot) {
  const found = []
  errors.clear()
  for (const [name, [width, height]] of sizes) {
    await tab.setViewportSize({ width, height })
    if (!found.length) await tab.goto(address, { waitUntil: 'load' })
    await tab.waitForTimeout(50)
    const seen = await tab.evaluate(inspect), bad = [...errors, ...seen.bad]
    errors.clear()
    if (bad.length || screenshots) await tab.screenshot({ path: shot(name), fullPage: true })
    found.push({ ...seen, bad: bad.map(b => `(${name}): ${b}`) })
  }
  return { ...found[0], bad: found.flatMap(f => f.bad) }
}

// What a reader types into the search box, on a page inside a folder, and the page that must be among the results.
const questions = {
  'your own photos': 'library/data/own.html',
  'own images': 'library/data/own.html',
  'wrap your own network': 'library/networks/wrap.html',
  'own network': 'library/networks/wrap.html',
  'BBELSMachine': 'library/machines/windows.html',
}

// Runs inside the page: the least contrast between text and background, and what the results link to.
function readable() {
  const rgb = css => (css.match(/[\d.]+/g) || []).map(Number)
  const light = ([r, g, b]) => [.2126, .7152, .0722].reduce((sum, w, i) => {
    const v = [r, g, b][i] / 255
    return sum + w * (v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  }, 0)
  const behind = e => {
    for (; e; e = e.parentElement) {
      const c = rgb(getComputedStyle(e).backgroundColor)
      if (c.length === 3) return c
    }
    return [255, 255, 255]
  }
  const contrast = e => {
    const [a, b] = [light(rgb(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x)
    return (a + .05) / (b + .05)
  }
  const results = document.querySelector('.smalldocs-search-results')
  const hasText = e => [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim())
  const texts = [...results.querySelectorAll('*')].filter(hasText)
  return {
    contrast: Math.min(...[document.querySelector('.smalldocs-search input'), ...texts].map(contrast)),
    links: [...results.querySelectorAll('a')].map(a => a.href.split('#')[0]),
  }
}

async function find(browser, url) {
  const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } }), bad = []
  await tab.goto(`${url}library/metrics.html`, { waitUntil: 'load' })
  for (const [words, page] of Object.entries(questions)) {
    await tab.locator('.smalldocs-search input').fill(words)
    await tab.locator('.search-result').first().waitFor({ timeout: 5000 })
      .catch(() => bad.push(`search: nothing for "${words}"`))
    await tab.waitForTimeout(300)
    const { contrast, links } = await tab.evaluate(readable)
    if (contrast < 4.5) bad.push(`search: text of contrast ${contrast.toFixed(1)}, less than 4.5`)
    const led = links.map(l => l.slice(url.length)).join(' ')
    if (!links.includes(url + page)) bad.push(`search: "${words}" does not lead to ${page}, but to ${led}`)
  }
  await tab.screenshot({ path: join(screens, 'search.png') })
  await tab.close()
  return bad
}

function deadLinks(pages, url) {
  const ids = Object.fromEntries(Object.entries(pages).map(([p, v]) => [url + p, new Set(v.ids)]))
  const dead = link => {
    const [file, anchor] = link.replace(url + '#', url + 'index.html#').split('#')
    const path = join(site, decodeURIComponent(file.slice(url.length)) || 'index.html')
    return !existsSync(path) || (anchor && ids[file] && !ids[file].has(decodeURIComponent(anchor)))
  }
  return Object.entries(pages).flatMap(([p, v]) =>
    [...new Set(v.links)].filter(l => l.startsWith(url) && dead(l)).map(l => `${p}: dead link ${l.slice(url.length)}`))
}

function launch(extra = []) {
  if (!chromium() || !packages.every(has))
    stop('the browser or its driver is missing: run node tools/browser.mjs --install')
  const { chromium: engine } = createRequire(join(cache, 'x.js'))('playwright-core')
  const sandbox = process.getuid?.() === 0 ? ['--no-sandbox'] : []
  const common = flags.filter(f => !extra.length || f !== '--disable-gpu')
  mkdirSync(screens, { recursive: true })
  return engine.launch({ executablePath: chromium(), args: [...extra, ...common, ...sandbox] })
}

async function check() {
  if (!existsSync(join(site, 'index.html'))) stop('there is no site in _docs: run tools/docs.py first')
  const browser = await launch()
  const [server, url] = await serve()
  const problems = [], pages = {}, tab = await openTab(browser, url), sizes = Object.entries(widths)
  let math = 0
  for (const page of readdirSync(site, { recursive: true }).filter(f => f.endsWith('.html')).sort()) {
    const shot = name => join(screens, `${page.replace('.html', '').replaceAll('/', '-')}-${name}.png`)
    pages[page] = await look(tab, url + page, sizes, shot)
    problems.push(...pages[page].bad.map(b => `${page} ${b}`))
    math += pages[page].math
    sizes.reverse()   // half of the pages begin on a phone, half on a desk
  }
  problems.push(...deadLinks(pages, url), ...await find(browser, url))
  await browser.close()
  server.close()
  if (problems.length) stop(problems.join('\n'))
  console.log(`${Object.keys(pages).length} pages fine at ${Object.values(widths).map(w => w[0]).join(' and ')} px, ` +
    `${math} equations; the search finds and is readable`)
}

// The notebook as Voilà is to serve it, in a folder of its own: without the last cell, which would export the modules.
function notebook() {
  const folder = mkdtempSync(join(tmpdir(), 'explorer-'))
  const nb = JSON.parse(readFileSync(join(root, 'nbs', 'library', 'app', 'explorer.ipynb')))
  nb.cells = nb.cells.filter(c => !c.source.join('').includes('nbdev_export()'))
  writeFileSync(join(folder, 'explorer.ipynb'), JSON.stringify(nb))
  copyFileSync(join(root, 'nbs', 'library', 'app', 'explorer.png'), join(folder, 'explorer.png'))
  return folder
}

const freePort = () => new Promise(ok => {
  const server = createServer().listen(0, '127.0.0.1', () => {
    const { port } = server.address()
    server.close(() => ok(port))
  })
})

async function until(what, test, seconds = 30, errors = new Set()) {
  for (const end = Date.now() + seconds * 1000; Date.now() < end && !errors.size;) {
    if (await test().catch(() => false)) return
    await new Promise(ok => setTimeout(ok, 50))
  }
  throw new Error(`${what} did not answer${errors.size ? `: ${[...errors].join('; ')}` : ` within ${seconds} s`}`)
}

const told = waits => Object.entries(waits).map(([what, wait]) => `${what} ${wait}`).join(', ')

// What a reader does: move a slider by key, click a pixel, widen the window. `act` must change picture and text.
async function use(tab, errors) {
  const picture = tab.locator('.widget-image').last(), text = tab.locator('.widget-html-content').last(), waits = {}
  const state = async () => `${await picture.getAttribute('src')} ${await text.innerText()}`
  const act = async (name, words, how) => {
    const before = await state(), start = Date.now()
    await how()
    await until(name, async () => (await state()) !== before && words.test(await text.innerText()))
    waits[name] = `${((Date.now() - start) / 1000).toFixed(2)} s`
  }
  const slider = name => tab.locator('.widget-slider').filter({ has: tab.getByText(name, { exact: true }) }).last()
  const press = (name, key) => () => slider(name).locator('.noUi-handle').press(key)
  await until('the explorer', async () => /N_eff/.test(await text.innerText({ timeout: 1000 })), 180, errors)
  await act('step', /after step 11 of 20, t = 0\.45/, press('step', 'ArrowRight'))
  await picture.evaluate(e => e.scrollIntoView({ block: 'end' }))
  const { width } = await picture.boundingBox(), spot = p => (p * 7 + 3) * width / 1000
  const position = { x: 8 * width / 1000 + spot(10), y: 24 * width / 1000 + spot(18) }
  await act('click', /pixel \(18, 10\)/, () => picture.click({ position }))
  const few = Number((await text.innerText()).match(/N_eff = ([\d.]+)/)[1])
  await tab.locator('.widget-vbox').last().screenshot({ path: join(screens, 'explorer.png') })
  for (const k of [11, 13, 15])
    await act(`width ${k}`, new RegExp(`windows of ${k}×${k}`), press('width', 'ArrowRight'))
  const fewer = Number((await text.innerText()).match(/N_eff = ([\d.]+)/)[1])
  if (!(fewer < few)) throw new Error(`wider windows left N_eff at ${fewer}, it was ${few}`)
  return waits
}

// What Jupyter reads and writes lies in this folder alone.
const jupyterIn = folder => ({ ...process.env, OMP_NUM_THREADS: '1', JUPYTER_CONFIG_DIR: folder,
  JUPYTER_DATA_DIR: folder, JUPYTER_RUNTIME_DIR: folder, IPYTHONDIR: folder })

// Stop a server of Jupyter's, and wait until it has gone.
const ended = (server, signal) => {
  server.kill(signal)
  return new Promise(ok => {
    server.exitCode !== null ? ok() : server.on('exit', ok)
    setTimeout(() => server.kill('SIGKILL'), 5000).unref()
  })
}

async function explore(voila) {
  const folder = notebook(), port = await freePort(), errors = new Set(), url = `http://127.0.0.1:${port}/`
  const env = jupyterIn(folder)
  const server = spawn(voila, [join(folder, 'explorer.ipynb'), '--no-browser', `--port=${port}`, '--strip_sources=True',
    '--VoilaConfiguration.extension_denylist=jupyterlab-jupytext'], { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let log = '', failure = '', waits
  for (const out of [server.stdout, server.stderr]) out.on('data', d => { log = (log + d).slice(-4000) })
  server.on('error', e => { failure = `${voila} does not start: ${e.message}` })
  const browser = await launch()
  try {
    const tab = await browser.newPage({ viewport: { width: 1060, height: 900 } })
    const ours = address => !address || address.startsWith(url) || /^(data|blob):/.test(address)
    tab.on('console', m => {
      const { url = '' } = m.location()
      if (m.type() === 'error' && ours(url)) errors.add(`console: ${m.text()} ${url}`.trim())
    })
    tab.on('pageerror', e => errors.add(`script: ${e.message}`))
    tab.on('requestfailed', r => ours(r.url()) && errors.add(`request failed: ${r.url()}`))
    await tab.route(u => !ours(u.href), r => r.abort())
    await until('the server', async () => {
      if (failure) throw new Error(failure)
      return (await fetch(`${url}voila/static/`)).status > 0
    })
    await tab.goto(url, { waitUntil: 'commit' })
    waits = await use(tab, errors)
  } catch (e) { failure ||= `${e.message}\n${log}` } finally {
    await browser.close()
    await ended(server, 'SIGINT')
    rmSync(folder, { recursive: true, force: true })
  }
  if (failure || errors.size) stop(['explorer:', failure, ...errors].filter(Boolean).join('\n'))
  console.log(`the explorer follows: ${told(waits)}; screenshot in out/screens`)
}

// The page that computes, as `creativity explore` serves it, at both widths, and with WebGPU.
async function page(program) {
  const port = await freePort(), url = `http://127.0.0.1:${port}/`
  const expected = JSON.parse(readFileSync(join(root, 'tests', 'assets', 'page.json')))
  const server = spawn(program, ['explore', '--no-browser', `--port=${port}`], { stdio: ['ignore', 'pipe', 'pipe'] })
  let log = '', failure = ''
  for (const out of [server.stdout, server.stderr]) out.on('data', d => { log = (log + d).slice(-3000) })
  server.on('error', e => { failure = `${program} does not start: ${e.message}` })
  const browsers = [], said = []
  const open = async (extra, options, address, use) => {
    browsers.push(await launch(extra))
    const tab = await browsers.at(-1).newPage(options), errors = new Set()
    tab.on('console', m => m.type() === 'error' && errors.add(`console: ${m.text()}`))
    tab.on('pageerror', e => errors.add(`script: ${e.message}`))
    tab.on('requestfailed', r => errors.add(`request failed: ${r.url()}`))
    await tab.goto(address, { waitUntil: 'load' })
    await use(tab, (what, test) => until(what, test, 240, errors), browsers.at(-1))
    if (errors.size) throw new Error([...errors].join('\n'))
    await browsers.at(-1).close()
  }
  try {
    await until('the server', async () => { if (failure) throw new Error(failure); return (await fetch(url)).ok }, 60)
    for (const [name, [width, height]] of Object.entries(widths)) {
      const touch = name === 'phone'
      const options = { viewport: { width, height }, hasTouch: touch, reducedMotion: 'reduce' }
      await open([], options, url, async (tab, wait, browser) => {
        const keep = what => tab.screenshot({ path: join(screens, `page-${what}-${name}.png`), fullPage: true })
        await browser.startTracing(tab, { categories: ['toplevel'] })
        const waits = await play(tab, expected, touch, wait, keep)
        const longest = longestTask(await browser.stopTracing())
        if (longest > 50) throw new Error(`a task of the page's own thread takes ${longest.toFixed(0)} ms`)
        said.push(`${name}: ${told(waits)}; longest task ${longest.toFixed(0)} ms of processor time`)
      })
    }
    const beliefs = oracle(program)
    await open(softCard, {}, `${url}?engine=gpu`, async (tab, wait) =>
      said.push(`WebGPU: ${await playCard(tab, beliefs, expected, wait)}`))
  } catch (e) { failure ||= `${e.message}\n${log}` } finally {
    for (const browser of browsers) await browser.close()
    server.kill('SIGINT')
  }
  if (failure) stop(`the page: ${failure}`)
  console.log(`the page answers as the package does: ${said.join('; ')}; screenshots in out/screens`)
}

// The longest task of the thread that answers the reader, in ms of processor time: whatever else the machine is doing.
function longestTask(trace) {
  const { traceEvents } = JSON.parse(trace), thread = e => `${e.pid} ${e.tid}`
  const names = traceEvents.filter(e => e.name === 'thread_name' && e.args.name === 'CrRendererMain')
  const main = new Set(names.map(thread))
  const tasks = traceEvents.filter(e => e.name === 'ThreadControllerImpl::RunTask' && main.has(thread(e)) && e.tdur)
  if (!tasks.length) throw new Error('the trace has no tasks')
  return tasks.reduce((most, e) => Math.max(most, e.tdur / 1000), 0)
}

// What the oracle believes, for the graphics card to be compared with: tests/test_page.py says it.
function oracle(program) {
  const folder = mkdtempSync(join(tmpdir(), 'beliefs-')), file = join(folder, 'beliefs.json')
  try {
    // sums this small are faster on one thread: two of them wait for each other
    const env = { ...process.env, OMP_NUM_THREADS: '1' }, asked = [join(root, 'tests', 'test_page.py'), file]
    execFileSync(join(dirname(program), 'python'), asked, { stdio: 'pipe', env })
    return JSON.parse(readFileSync(file))
  } finally { rmSync(folder, { recursive: true, force: true }) }
}

// What a reader of the course does: open a lesson, Run > Run All Cells, and save it; the file tells what each cell
// gave.
async function lab(program, folder) {
  const lesson = readdirSync(folder).filter(f => /^\d+_ideal\.ipynb$/.test(f))[0]
  if (!lesson) stop(`no lesson on the ideal machine in ${folder}`)
  const port = await freePort(), url = `http://127.0.0.1:${port}/`, settings = mkdtempSync(join(tmpdir(), 'lab-'))
  const env = jupyterIn(settings)
  const options = ['--no-browser', '--allow-root', `--port=${port}`, '--IdentityProvider.token=',
    `--ServerApp.root_dir=${resolve(folder)}`, '--LabApp.news_url=',
    '--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate']
  const server = spawn(program, options, { env, stdio: ['ignore', 'pipe', 'pipe'] })
  let log = '', failure = '', cells = []
  for (const out of [server.stdout, server.stderr]) out.on('data', d => { log = (log + d).slice(-3000) })
  server.on('error', e => { failure = `${program} does not start: ${e.message}` })
  const saved = () => JSON.parse(readFileSync(join(folder, lesson))).cells.filter(c => c.cell_type === 'code')
  const browser = await launch(), start = Date.now()
  try {
    const tab = await browser.newPage({ viewport: { width: 1280, height: 900 } })
    await until('JupyterLab', async () => {
      if (failure) throw new Error(failure)
      return (await fetch(`${url}api`)).ok
    }, 60)
    await tab.goto(`${url}lab/tree/${lesson}`, { waitUntil: 'commit' })
    await tab.locator('.jp-Notebook .jp-CodeCell').first().waitFor({ timeout: 60_000 })
    await tab.getByText('Python 3 (ipykernel) | Idle').first().waitFor({ timeout: 60_000 })
    await tab.waitForTimeout(2000)
    await tab.locator('.lm-MenuBar-itemLabel', { hasText: /^Run$/ }).click()
    await tab.locator('.lm-Menu-itemLabel', { hasText: /^Run All Cells$/ }).click()
    await until('the lesson', async () => {
      await tab.waitForTimeout(2000)
      await tab.keyboard.press('Control+s')
      await tab.waitForTimeout(500)
      cells = saved()
      return cells.some(c => c.outputs.some(o => o.output_type === 'error')) || cells.every(c => c.execution_count)
    }, 150).finally(() => tab.screenshot({ path: join(screens, 'lab.png') }))
    const bad = cells.flatMap(c => c.outputs).find(o => o.output_type === 'error')
    if (bad) failure = `${lesson}: ${bad.ename}: ${bad.evalue}`
  } catch (e) { failure ||= `${e.message}\n${log}` } finally {
    await browser.close()
    await ended(server, 'SIGTERM')
    rmSync(settings, { recursive: true, force: true })
  }
  if (failure) stop(`JupyterLab: ${failure}`)
  const seconds = ((Date.now() - start) / 1000).toFixed(0)
  console.log(`${lesson} ran in JupyterLab: ${cells.length} cells in ${seconds} s; screenshot in out/screens`)
}

if (args.includes('--help') || args.includes('-h'))
  console.log(readFileSync(fileURLToPath(import.meta.url), 'utf8').split('\nimport ')[0]
    .split('\n').slice(1).map(s => s.slice(3)).join('\n'))
else if (args[0] === '--install') install()
else if (args[0] === '--explorer' && args[1]) await explore(args[1])
else if (args[0] === '--page' && args[1]) await page(args[1])
else if (args[0] === '--lab' && args[2]) await lab(args[1], args[2])
else if (args.length && !screenshots) stop(`unknown argument ${args[0]}; see --help`)
else await check()
