// The page: its choices and its three screens.
import { $, choice, sharePixel, shareStep } from './controls.js'
import { mosaicScreen } from './mosaic.js'
import { noiseScreen } from './noise.js'
import { pixelScreen } from './pixel.js'
import { chooseClass, chooseMachine, chooseSet, listen, pool, problem, state } from './state.js'

const titles = {
  is: ['IS', 'whole images'], ls: ['LS', 'windows at the same place'],
  bbels: ['bbELS', 'windows from all places, with the border'], els: ['ELS', 'windows from all places'],
}

const sets = [['fashion_mnist', 'Fashion-MNIST'], ['mnist', 'MNIST'], ['cifar10', 'CIFAR-10']]
choice('set', sets, 'fashion_mnist', chooseSet)
choice('machine', Object.entries(titles).map(([m, words]) => [m, ...words]), state.machine, chooseMachine)
shareStep()
sharePixel()
noiseScreen()
pixelScreen()
mosaicScreen()

listen(changed => {
  const { set, classIndex } = state
  if (set && changed.has('images')) {
    $('classes').hidden = set.classes.length < 2
    choice('class', set.classes.map((c, i) => [String(i), c.name]), String(classIndex), v => chooseClass(Number(v)))
    const all = set.classes.map(c => `${c.count} of ${c.name}`).join(', ')
    $('facts').textContent = `Here are ${all}, from ${set.title}.`
  }
  if (changed.has('images') || changed.has('engine')) sayEngine()
})

// Who computes.
function sayEngine() {
  const { card, workers } = pool, many = workers.length === 1 ? 'one worker' : `${workers.length} workers`
  $('engine').dataset.engine = card?.name ? 'gpu' : 'cpu'
  const both = `: by its graphics card (WebGPU, ${card?.name}) where that is exact enough, elsewhere by ${many}`
  const alone = `, by ${many}${engine === 'gpu' && !card ? '; there is no WebGPU here' : ''}`
  $('engine').textContent = `Computed on this device${card?.name ? both : alone}.`
}

addEventListener('error', e => problem(`Something went wrong: ${e.message}`))
// ?engine=cpu: without the graphics card; ?engine=gpu: with whatever WebGPU there is, made of software too
const engine = new URLSearchParams(location.search).get('engine')
if (engine !== 'cpu') pool.openCard(engine === 'gpu')
chooseSet('fashion_mnist')
