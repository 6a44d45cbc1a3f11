"What fits together: one machine over images wherever they lie, labels by name, anything as either side of a comparison."
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from creativity.app.explorer import Explorer
from creativity.data.disk import Dictionary, open_dictionary
from creativity.data.find import load, make_dictionary
from creativity.data.images import Images, from_uint8
from creativity.data.store import Store, TensorStore
from creativity.diffusion import CosineSchedule, sample
from creativity.errors import CreativityError
from creativity.machines.shared import share
from creativity.machines.whole import ISMachine
from creativity.machines.widths import published_scales
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure.calibrate import calibration
from creativity.measure.compare import compare
from creativity.measure.provenance import explain
from creativity.networks.wrap import from_x0

G = torch.Generator().manual_seed(0)
N, NAMES = 18, ['cat', 'dog', 'emu']
Y = torch.arange(N)//6
PIXELS = torch.randint(0, 256, (N, 1, 12, 12), generator=G, dtype=torch.uint8)
DATA = Images(from_uint8(PIXELS), Y, 'pets', NAMES)
X = torch.rand(1, 12, 12, generator=G)*2 - 1
NET = from_x0(lambda x, t, label: x*.5, CosineSchedule(), shape=(1, 12, 12), classes=3)
SETTINGS = dict(seeds=2, steps=2, progress=False)
pytestmark = pytest.mark.filterwarnings('ignore:it is worse than the mean image')         # NET is no trained network


# The same results, wherever the images lie

def belief(m):
    b = m.belief(X[None], .4, label='dog')
    return dict(mean=b.mean, n_eff=b.n_eff, image=b.image, place=b.place)


def sources_of_a_pixel(m):
    s = m.sources(X, .4, label='emu', pixel=(2, 11))
    return dict(weight=s.weight, image=s.image, place=s.place, window=s.window, mean=s.mean, candidates=s.candidates)


def sources_of_all_pixels(m): return vars(m.sources(X, .4, top=4))


def explanation(m):
    e = explain(X, m, label='dog', null=2)
    return e.facts | dict(nearest=e.nearest, gap=e.found.gap, rms=e.found.windows.rms, value=e.found.windows.value)


def comparison(m):
    c = compare(NET, m, **SETTINGS, network_steps=2, nulls=True)
    return c.images | dict(values=c.values, labels=c.labels, wins=c.wins, facts=c.facts['denoisers'])


def calibrated(m):
    if isinstance(m, ISMachine): return {}
    c = calibration(NET, m, (3, 5), **SETTINGS)
    return dict(scales=c.scales, cosines=torch.from_numpy(c.cosines), digest=c.facts['images_sha256'])


def explored(m):
    ex = Explorer(m, steps=3)
    ex.choose(label='emu', row=3, col=4, step=2)
    return dict(text=ex.text.value, seen=ex.seen.mean, image=ex.seen.image, picture=ex.image.value)


def same(a, b, path=''):
    "Equal to rounding; the checksums of images, too."
    assert type(a) is type(b), path
    if isinstance(a, dict):
        assert a.keys() == b.keys(), path
        for k in a: same(a[k], b[k], f'{path}.{k}')
    elif isinstance(a, list):
        assert len(a) == len(b), path
        for i, (v, w) in enumerate(zip(a, b, strict=True)): same(v, w, f'{path}[{i}]')
    elif isinstance(a, torch.Tensor):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4, msg=lambda m: f'{path}: {m}')
    else: assert a == (pytest.approx(b, abs=1e-4) if isinstance(a, float) else b), path


@pytest.fixture(scope='module')
def written(tmp_path_factory): return make_dictionary(tmp_path_factory.mktemp('compose')/'pets', DATA)


def stores(written):
    "The dictionary on disk in pieces of five images, and the same shared by one process; in memory whole and in parts."
    disk = replace(open_dictionary(written.folder), piece_bytes=5*144*4)
    return dict(disk=disk, shared=share(disk, None), parts=TensorStore(DATA.x, Y, NAMES, most=4))


@pytest.mark.parametrize('kind', [BBELSMachine, LSMachine, ELSMachine, ISMachine])
@pytest.mark.parametrize('ask', [belief, sources_of_a_pixel, sources_of_all_pixels, explanation, comparison, calibrated, explored])
def test_a_machine_is_a_machine_wherever_its_images_lie(written, monkeypatch, kind, ask):
    widths = dict(scales=[3, 5]) if kind.windowed else {}
    want, read = ask(kind(DATA, **widths)), Dictionary.read
    # checksums of images, which comparisons and calibrations keep, go in pieces of thousands
    most = N if ask in (comparison, calibrated) else 6

    def refuse(*args): raise AssertionError('a dictionary was read whole')
    def few(self, first, end): return read(self, first, end) if end - first <= most else refuse()
    monkeypatch.setattr(Store, 'images', refuse)
    monkeypatch.setattr(Dictionary, 'read', few)
    for place, store in stores(written).items(): same(ask(kind(store, **widths)), want, place)


def test_the_images_matter():
    "The comparison above can fail: one byte of one image shows in all that reads all images."
    pixels = PIXELS.clone()
    pixels[3, 0, 5, 5] ^= 255
    a, b = (BBELSMachine(Images(from_uint8(p), Y, 'pets', NAMES), scales=3) for p in (PIXELS, pixels))
    for ask in (comparison, calibrated):
        with pytest.raises(AssertionError): same(ask(a), ask(b))


def test_a_share_of_one_is_the_store(written):
    alone = share(DATA, None)
    assert (len(alone), alone.share(slice(3, 9)), alone.class_names) == (N, slice(3, 9), NAMES)
    assert alone.digest() == written.digest() == TensorStore(DATA.x, Y).digest()
    with pytest.raises(CreativityError, match='cuts must rise'): share(DATA, None, [0, 4, N])


def test_an_explorer_takes_what_load_takes(written):
    shown = [Explorer(d, steps=2) for d in (DATA, written.folder, written, TensorStore(DATA.x, Y, NAMES))]
    for ex in shown:
        assert ex.controls['label'].options == ('all', *NAMES)
        ex.choose(label='dog', machine='ls', step=1)
        assert ': 6 training images; LSMachine after step 1 of 2' in ex.text.value
    names = [ex.controls['data'].value for ex in shown]
    assert names == ['pets', 'pets', 'pets', 'images']
    for ex in shown[1:]: torch.testing.assert_close(ex.seen.mean, shown[0].seen.mean)
    with pytest.raises(CreativityError, match="label cannot be 'cow'"): shown[0].choose(label='cow')


# Names

def test_a_machine_of_two_names():
    m = BBELSMachine('mnist', scales='published:mnist-resnet')
    assert m.scales == published_scales('mnist-resnet')
    assert m.class_names == load('mnist').class_names
    assert m.store.digest() == TensorStore(*(lambda d: (d.x, d.y))(load('mnist'))).digest()


@pytest.mark.parametrize('label', ['dog', 'DOG', '1', 1, np.int64(1), torch.tensor(1)])
def test_a_label_is_a_name_or_a_number(label):
    m = BBELSMachine(DATA, scales=3)
    assert torch.equal(m.denoise(X[None], .4, label), m.denoise(X[None], .4, 1))
    assert torch.equal(sample(m, 2, 2, label, progress=False), sample(m, 2, 2, 1, progress=False))
    assert m.sources(X, .4, label, pixel=(0, 0)).candidates == 6
    assert set(explain(X, m, label=label).facts['source_pixels']) <= set(range(6, 12))
    assert explain(X, m, label=label).facts['training_images'] == 6
    assert compare(NET, m, **SETTINGS, network_steps=2, label=label).labels == [1, 1]
    assert calibration(NET, m, (3,), **SETTINGS, label=label).labels == [1, 1]


@pytest.mark.parametrize('label', ['cow', 3, '3', 1.5, True])
def test_a_label_that_is_none_is_refused_everywhere(label):
    m = BBELSMachine(DATA, scales=3)
    for ask in (lambda: m.denoise(X[None], .4, label), lambda: sample(m, 2, 2, label, progress=False), lambda: m.sources(X, .4, label),
                lambda: explain(X, m, label=label), lambda: compare(NET, m, **SETTINGS, label=label),
                lambda: calibration(NET, m, (3,), **SETTINGS, label=label)):
        with pytest.raises(CreativityError, match=r'label|class') as e: ask()
        assert '\n' not in str(e.value)


# The command line reads what it writes

def test_a_written_dictionary_is_read_by_every_command(run, brief_look):
    code, _, err = run('dictionary fashion_mnist --n 20 --out d')
    assert code == 0, err
    assert run('train --data d --preset compact --batch 4 --steps 1 --out net')[0] == 0
    made = {}
    for label in ('3', 'dress'):
        code, _, err = run(f'sample --data d --label {label} --k 3 --seeds 1 --steps 2 --out s')
        assert code == 0, err
        with np.load('s/samples.npz') as z: made[label] = z['images']
    assert (made['3'] == made['dress']).all()
    assert "no class 'cow'" in run('sample --data d --label cow --k 3 --seeds 1 --steps 2 --out s')[2]
    d = load('d')
    want = sample(BBELSMachine(d, scales=3), [0], 2, 3, progress=False)
    np.testing.assert_allclose(made['3'], want.numpy(), atol=1e-4)
    code, _, err = run('explain s/samples.npz --data d --label Dress --k 3 --null 1 --out e')
    assert code == 0, err
    assert json.loads(Path('e/explain.json').read_text())['training_images'] == 2
    small = '--network net/network.safetensors --data d --label dress --seeds 2 --steps 2'
    code, _, err = run(f'calibrate {small} --widths 3,5 --out c')
    assert code == 0, err
    assert json.loads(Path('c/network-scales.json').read_text())['labels'] == [3, 3]
    code, _, err = run(f'compare {small} --network-steps 2 --scales c/network-scales.json --out t')
    assert code == 0, err
    assert json.loads(Path('t/table.json').read_text())['labels'] == [3, 3]
