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

choice('set', [['fashion_mnist', 'Fashion-MNIST'], ['mnist', 'MNIST'], ['cifar10', 'CIFAR-10']], 'fashion_mnist', chooseSet)
choice('machine', Object.entries(titles).map(([m, words]) => [m, ...words]), state.machine, chooseMachine)
shareStep()
sharePixel()
noiseScreen()
pixelScreen()
mosaicScreen()

listen(changed => {
  if (!changed.has('images')) return
  const { set, classIndex } = state
  $('classes').hidden = set.classes.length < 2
  choice('class', set.classes.map((c, i) => [String(i), c.name]), String(classIndex), v => chooseClass(Number(v)))
  const all = set.classes.map(c => `${c.count} of ${c.name}`).join(', ')
  $('facts').textContent = `Here are ${all}, from ${set.title}; ${pool.workers.length === 1 ? 'one worker computes' : `${pool.workers.length} workers compute`}.`
})
addEventListener('error', e => problem(`Something went wrong: ${e.message}`))
chooseSet('fashion_mnist')
