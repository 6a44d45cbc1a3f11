"What somebody brings along: ranges, files and their names, options that say nothing about them, schedules, weights that were not loaded."
import json
import warnings
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from creativity.app.cli import app
from creativity.data.disk import open_dictionary
from creativity.data.find import load, make_dictionary
from creativity.data.images import Images
from creativity.data.own import load_arrays, load_folder
from creativity.diffusion import (
    BetaSchedule,
    CosineSchedule,
    EDMSchedule,
    FlowSchedule,
    add_noise,
    sample,
    seed_noise,
)
from creativity.errors import CreativityError
from creativity.files import read_json
from creativity.machines.rivals import PCAMachine, WienerMachine
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine, ELSMachine, LSMachine
from creativity.measure.calibrate import calibrate
from creativity.measure.compare import compare
from creativity.measure.copies import copies
from creativity.measure.provenance import explain, flow_sources
from creativity.networks.architectures import UNet
from creativity.networks.card import load_network
from creativity.networks.wrap import Along, along, check_denoiser, from_noise, from_x0

DATA = torch.rand(14, 1, 8, 7, generator=torch.Generator().manual_seed(0))*2 - 1
X = seed_noise([3, 4], DATA.shape[1:])


def photos(folder, n=6, classes=('cat', 'dog')):
    "Image files of random pixels in a folder for each class."
    draw = np.random.default_rng(0)
    for i in range(n):
        place = folder/classes[i % len(classes)]
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(draw.integers(0, 256, (8, 8), dtype=np.uint8)).save(place/f'{i}.png')
    return folder


def one_line(capsys, *words):
    "Of a command that is refused: its error, which is one line."
    with pytest.raises(SystemExit) as e: app(list(words))
    assert e.value.code == 2
    told = capsys.readouterr().err.strip()
    assert told.count('\n') == 0, told
    return told


# ---- file names ----

def test_images_keep_the_files_they_are_from(tmp_path):
    folder = photos(tmp_path/'pets')
    with zipfile.ZipFile(tmp_path/'pets.zip', 'w') as z:
        for p in sorted(folder.rglob('*.png')): z.write(p, p.relative_to(folder).as_posix())
    names = ['cat/0.png', 'cat/2.png', 'cat/4.png', 'dog/1.png', 'dog/3.png', 'dog/5.png']
    for source in (folder, tmp_path/'pets.zip'):
        d = load(source, size=8)
        assert d.files == names
        assert d[2:4].files == names[2:4]
        assert d[d.y == 1].files == names[3:]
        assert d[torch.tensor([5, 0])].files == [names[5], names[0]]
        assert load(source, size=8, label='dog').files == names[3:]
        assert load(source, size=8, n=3).files == ['cat/0.png', 'dog/1.png', 'cat/2.png']
        for x, name in zip(d.x, d.files, strict=True):
            own = np.asarray(Image.open(folder/name), np.float64)/127.5 - 1
            assert np.abs(x[0].numpy() - own).max() < 1e-6
    assert load('mnist', n=2).files is None
    with pytest.raises(CreativityError, match='1 files were named for 14 images'): Images(DATA, files=['a'])


def test_a_dictionary_keeps_them_too(tmp_path):
    folder = photos(tmp_path/'pets')
    d = make_dictionary(tmp_path/'a', folder, size=8, grey=True)
    assert d.files == load(folder, size=8).files == open_dictionary(tmp_path/'a').files
    assert d[1:3].files == d.files[1:3]
    assert load(tmp_path/'a', label='dog').files == d.files[3:]
    chosen = load(tmp_path/'a', n=3)
    for one in (chosen, chosen[1:], make_dictionary(tmp_path/'b', chosen), make_dictionary(tmp_path/'c', load(folder, size=8))):
        for i, name in enumerate(one.files):
            own = np.asarray(Image.open(folder/name), np.float64)/127.5 - 1
            assert np.abs(one[i][0].numpy() - own).max() < 1e-6
    # what an older version wrote says nothing of files
    facts = read_json(tmp_path/'a'/'dictionary.json')
    del facts['files']
    (tmp_path/'a'/'dictionary.json').write_text(json.dumps(facts))
    assert open_dictionary(tmp_path/'a').files is None
    (tmp_path/'a'/'dictionary.json').write_text(json.dumps(facts | dict(files=['one'])))
    with pytest.raises(CreativityError, match='does not fit the 6 images'): open_dictionary(tmp_path/'a')


def test_what_is_found_is_named_by_its_file(tmp_path):
    folder = photos(tmp_path/'pets')
    d = load(folder, size=8)
    for data in (d, make_dictionary(tmp_path/'a', folder, size=8, grey=True)):
        m = BBELSMachine(data, scales=3)
        e = explain(d.x[4], m)
        assert f'a copy of training image 4 ({d.files[4]})' in str(e)
        assert e.facts['nearest_file'] == d.files[4]
        assert all(e.facts['source_files'][i] == d.files[i] for i in e.facts['source_pixels'])
        for s in (m.sources(d.x[4], .1), m.sources(d.x[4], .1, pixel=(3, 3)), PCAMachine(data).sources(d.x[4], .1)):
            assert s.files == [d.files[i] for i in s.image.tolist()]
        flow = flow_sources(m, 0, 2, progress=False)
        assert flow.files == d.files
        assert d.files[flow.top(1)[0][0]] in repr(flow)
    held = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))*2 - 1
    assert f'training image 4 ({d.files[4]})' in copies(d.x[4:5], d, held, level=.2, progress=False).verdict(0)
    assert BBELSMachine(DATA, scales=3).sources(DATA[0], .2).files is None


def test_the_command_names_the_file(tmp_path, capsys):
    folder = photos(tmp_path/'pets')
    with pytest.raises(SystemExit) as e:
        app(['explain', str(folder/'dog'/'3.png'), '--data', str(folder), '--size', '8', '--null', '0', '--k', '3', '--out', str(tmp_path/'out')])
    assert e.value.code in (0, None)
    assert 'training image 4 (dog/3.png)' in capsys.readouterr().out


# ---- one image of a dictionary ----

def test_one_image_of_a_dictionary(tmp_path):
    x = (DATA*127.5 + 127.5).round().to(torch.uint8)
    d = make_dictionary(tmp_path/'d', x.numpy())
    images = d.x
    for i in (0, 5, -1, np.int64(3)): assert torch.equal(d[i], images[i])
    part = load(tmp_path/'d', n=4)
    assert torch.equal(part[2], images[2])
    for bad in ([1, 2], torch.tensor([True]*14), 'a', 1.5, None):
        with pytest.raises(CreativityError, match=r'gives d\[3\] or d\[10:20\]'): d[bad]
    with pytest.raises(CreativityError, match='consecutive rows'): d[::2]
    with pytest.raises(IndexError, match='no image 14'): d[14]


# ---- [0,1] that is taken for [-1,1] ----

@pytest.mark.parametrize('take', [ISMachine, WienerMachine, load, lambda x: ISMachine(x.numpy())])
def test_images_from_zero_to_one_are_said(take):
    with pytest.warns(UserWarning, match=r'range=\(0, 1\)'): take((DATA + 1)/2)
    with pytest.warns(UserWarning, match=r'range=\(0, 1\)'): take((DATA > 0).float())


def test_no_false_alarm_of_a_range():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for name in ('mnist', 'fashion_mnist', 'cifar10'):
            d = load(name, n=10)
            ISMachine(d.x), ISMachine(d), ISMachine(d.x[:1]), load(d.x)
        for x in (torch.ones(3, 1, 4, 4), torch.zeros(3, 1, 4, 4), -torch.ones(3, 1, 4, 4), .5 + DATA.abs()/4): ISMachine(x)
        ISMachine((DATA + 1)/2, range=None), ISMachine((DATA + 1)/2, range=(0, 1)), ISMachine(Images((DATA + 1)/2))
        load((DATA + 1)/2, range=(-1, 1)), load_arrays((DATA + 1)/2, range=(0, 1))


# ---- options ----

def test_range_and_unreadable_files_on_the_command_line(tmp_path, capsys):
    folder = photos(tmp_path/'pets')
    (folder/'cat'/'9.png').write_bytes(b'no image')
    np.save(tmp_path/'a.npy', ((DATA + 1)/2).numpy())
    few = ['--seeds', '1', '--steps', '1', '--k', '3', '--out', str(tmp_path/'out')]
    with pytest.raises(SystemExit): app(['sample', '--data', str(tmp_path/'a.npy'), '--range', '0,1', *few])
    made = np.load(tmp_path/'out'/'samples.npz')['images']
    want = sample(BBELSMachine(DATA, scales=3), 1, 1)
    assert np.abs(made - want.numpy()).max() < 1e-4
    assert '--skip-unreadable' in one_line(capsys, 'sample', '--data', str(folder), '--size', '8', *few)
    with pytest.raises(SystemExit) as e: app(['sample', '--data', str(folder), '--size', '8', '--skip-unreadable', *few])
    assert e.value.code in (0, None)
    assert 'warning: 1 of 7 files' in capsys.readouterr().err
    out = ['--out', str(tmp_path/'d')]
    with pytest.raises(SystemExit): app(['dictionary', str(tmp_path/'a.npy'), '--range', '0,1', *out])
    assert (open_dictionary(tmp_path/'d').x - DATA).abs().max() <= 1/255 + 1e-6
    for bad, said in (('1', 'must be LO,HI'), ('a,b', 'must be LO,HI'), ('0,1,2', 'must be LO,HI'), ('', 'is empty')):
        assert f'--range {said}' in one_line(capsys, 'sample', '--data', str(tmp_path/'a.npy'), '--range', bad, *few)


def test_every_command_with_images_says_range_and_unreadable():
    import typer
    program = typer.main.get_command(app)
    found = {name: {flag for p in c.params for flag in p.opts} for name, c in program.commands.items()}
    with_data = {n for n, flags in found.items() if '--data' in flags} | {'dictionary'}
    assert {'sample', 'explain', 'audit', 'compare', 'calibrate', 'train', 'table1', 'dictionary'} <= with_data
    for name in with_data: assert {'--range', '--skip-unreadable'} <= found[name], name


NET, OWN = '--network fashion_mnist-resnet', '--data mnist'
SILENT = [ # a command, and the option that would be passed over
    (f'sample {NET} --machine is', '--machine'), (f'sample {NET} {OWN}', '--data'), (f'sample {NET} --range 0,1', '--range'),
    (f'sample {NET} --skip-unreadable', '--skip-unreadable'), (f'sample {NET} --ranks 2', '--ranks'),
    ('sample --shards 2', '--shards'), ('sample --machine is --k 3', '--k'), ('sample --k 3 --scales 3,5', '--scales'),
    ('sample --data mnist --range 0,1', 'range'), ('sample --data mnist --skip-unreadable', 'skip'),
    ('dictionary mnist --background red', 'background'), ('dictionary mnist --grey', 'grey'),
    ('dictionary mnist --skip-unreadable', 'skip'), ('dictionary FILE --grey', 'grey'), ('dictionary FILE --background red', 'background'),
    ('dictionary FOLDER --range 0,1', 'range'), ('dictionary FOLDER --versions 2', 'versions'),
    ('data --mirror http://localhost', '--mirror'), ('data --retries 1', '--retries'),
    ('bench --quick --repeats 2', '--repeats'), (f'train {OWN} --minutes 1 --warmup 10', '--warmup'),
    (f'compare {NET} --machines is --scales 3,5', '--scales'), ('table1 --steps 5', '--steps'), ('table1 --network-steps 5', '--network-steps'),
    ('table1 --recompute mnist-resnet --range 0,1', '--range'), ('table1 --quick --recompute mnist-resnet', '--quick'),
    ('explain IMAGE --index 2', '--index'), ('explain IMAGE --machine is --k 3', '--k'),
]


@pytest.mark.parametrize(('line', 'option'), SILENT, ids=[s for s, _ in SILENT])
def test_no_option_is_passed_over_in_silence(line, option, tmp_path, capsys):
    folder = photos(tmp_path/'pets')
    np.save(tmp_path/'a.npy', (DATA*127.5 + 127.5).to(torch.uint8).numpy())
    for word, path in dict(FOLDER=folder, FILE=tmp_path/'a.npy', IMAGE=folder/'cat'/'0.png').items(): line = line.replace(word, str(path))
    words = line.split()
    if words[0] != 'data': words += ['--out', str(tmp_path/'out')]
    assert option in one_line(capsys, *words)


def test_options_of_load_that_say_nothing(tmp_path):
    folder, d = photos(tmp_path/'pets'), load('mnist', n=4)
    for source, given in ((d, dict(skip=True)), (d, dict(range=(0, 1))), (d.x, dict(resize='pad')), (d.x, dict(split='test')),
                          ('mnist', dict(range=None)), ('mnist', dict(background='red')), (folder, dict(range=None))):
        with pytest.raises(CreativityError, match=f'^{next(iter(given))} is for'):
            load(source, **given)
    np.save(tmp_path/'a.npy', np.zeros((3, 8, 8), np.uint8))
    with pytest.raises(CreativityError, match=r'^skip is for folders'): load(tmp_path/'a.npy', skip=True)


def test_options_of_compare_that_say_nothing():
    m, n = ISMachine(DATA), from_x0(lambda x, t, label: 0*x, CosineSchedule(), shape=(1, 8, 7))
    few = dict(seeds=2, progress=False)
    with pytest.raises(CreativityError, match='null_data= is for nulls=True'): compare(n, m, null_data=DATA, **few)
    with pytest.raises(CreativityError, match='none of those compared is one'): compare(n, {'a': n}, nulls=True, null_data=DATA, **few)
    with pytest.raises(CreativityError, match="times= are for"): compare(n, m, times=[.5], **few)
    with pytest.raises(CreativityError, match='steps= are for'): compare(n, m, steps=3, protocol='one-step', images=DATA, **few)


# ---- along another forward process ----

SCHEDULES = [CosineSchedule(), EDMSchedule(), FlowSchedule(), BetaSchedule(), CosineSchedule(.008)]


@pytest.mark.parametrize('kind', [ISMachine, LSMachine, ELSMachine, BBELSMachine, WienerMachine])
@pytest.mark.parametrize('schedule', SCHEDULES)
def test_a_machine_along_a_schedule_is_the_one_made_with_it(kind, schedule):
    widths = dict(scales=5) if kind.windowed else {}
    made, other = kind(DATA, schedule=schedule, **widths), along(kind(DATA, **widths), schedule)
    assert type(other) is kind
    for t in (.02, .4, .97): assert torch.equal(made.denoise(X, t), other.denoise(X, t))


def test_widths_along_a_schedule_keep_their_noise_level():
    d = load('fashion_mnist', n=9)
    for schedule in SCHEDULES:
        made = LSMachine(d, schedule=schedule, scales='fashion_mnist-resnet')
        other = along(LSMachine(d, scales='fashion_mnist-resnet'), schedule)
        assert [made.width(i/20) for i in range(1, 21)] == [other.width(i/20) for i in range(1, 21)]


@pytest.mark.parametrize('schedule', SCHEDULES)
@pytest.mark.parametrize('own', SCHEDULES)
def test_a_wrapped_denoiser_along_a_schedule(own, schedule):
    m = ISMachine(DATA.double(), schedule=own)
    net = along(from_x0(m.denoise, own, shape=m.shape), schedule)
    assert isinstance(net, Along)
    want = ISMachine(DATA.double(), schedule=schedule)
    for t in (.1, .5, torch.tensor([.3, .8])):
        x = add_noise(DATA[:2].double(), X.double(), t, schedule)
        assert (net.denoise(x, t) - want.denoise(x, t)).abs().max() < 1e-9
    assert net.denoise(X, 0.).isfinite().all()
    assert net.denoise(X, 1.).isfinite().all()


def test_networks_of_two_schedules_are_compared():
    a = from_x0(ISMachine(DATA).denoise, CosineSchedule(), shape=(1, 8, 7))
    b = from_x0(ISMachine(DATA, schedule=FlowSchedule()).denoise, FlowSchedule(), shape=(1, 8, 7))
    few = dict(seeds=3, steps=12, network_steps=12, progress=False)
    with pytest.raises(CreativityError, match=r'along\(other, network.schedule\) asks it'): compare(a, {'other': b}, **few)
    c = compare(a, {'other': along(b, a.schedule)}, **few)
    assert min(c.values['r']['other']) > .9999
    assert c.facts['denoisers']['other']['of']['schedule']['name'] == 'FlowSchedule'


# ---- weights that were not loaded ----

def test_weights_that_were_not_loaded_are_named():
    d = load('fashion_mnist', n=16)
    torch.manual_seed(0)
    fresh = UNet(widths=(16, 24)).eval()
    with pytest.warns(UserWarning, match=r'no relation to image or noise.*were the weights of the network loaded'):
        check_denoiser(from_noise(lambda x, t, label: fresh(x, t), CosineSchedule(), shape=(1, 32, 32)), d)
    with pytest.warns(UserWarning, match=r'all zeros.*were the weights of the network loaded'):
        check_denoiser(from_noise(lambda x, t, label: 0*x, CosineSchedule(), shape=(1, 32, 32)), d)


def test_a_trained_network_is_not_said_to_have_no_weights():
    net, d = load_network('fashion_mnist-resnet'), load('fashion_mnist', n=16)
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert check_denoiser(net, d).ok
    f = lambda x, t, label: net.noise(x, t, label)
    for wrong in (dict(clip=True), dict(clip=False)):
        look = check_denoiser(from_noise(f, CosineSchedule(), classes=net.num_classes, **wrong), d)
        assert look.cause is None or 'loaded' not in look.cause
    with pytest.warns(UserWarning, match='predicts noise'): check_denoiser(from_x0(f, CosineSchedule(), classes=net.num_classes), d)


# ---- a calibration of Python, on file ----

def test_calibrate_writes_what_scales_read(tmp_path):
    m = LSMachine(DATA, scales=5)
    widths = calibrate(m, LSMachine(DATA), [3, 5, 7], 2, 4, out=tmp_path, progress=False)
    path, = tmp_path.glob('*-scales.json')
    assert LSMachine(DATA, scales=path).scales == widths == LSMachine(DATA, scales=str(path)).scales


# ---- shares of some pixels ----

@pytest.mark.parametrize('kind', [LSMachine, ELSMachine, BBELSMachine, PCAMachine, ISMachine])
def test_sources_of_some_pixels(kind):
    m = kind(DATA, **(dict(scales=3) if kind in (LSMachine, ELSMachine, BBELSMachine) else {}))
    mask = torch.zeros(8, 7, dtype=torch.bool)
    mask[2, 3] = mask[6, 0] = mask[7, 6] = True
    found, want = m.sources(X[0], .4, mask=mask, top=14), torch.zeros(14, dtype=torch.float64)
    for i, j in mask.nonzero().tolist():
        s = m.sources(X[0], .4, pixel=(i, j), top=10**6)
        want.index_add_(0, s.image, s.weight/3)
    torch.testing.assert_close(found.weight, want[found.image], atol=2e-6, rtol=1e-4)
    for bad in (mask.float(), mask[:3], ~mask & mask, 'all'):
        with pytest.raises((CreativityError, TypeError), match=r'mask|new'): m.sources(X[0], .4, mask=bad)
    with pytest.raises(CreativityError, match='leave pixel= out'): m.sources(X[0], .4, pixel=(1, 1), mask=mask)




# ---- values that are none ----

BAD = [None, 'a', '', -1, 0, 1.5, float('nan'), True, 10**20, [], {}, (1, 2, 3), object(), b'x', torch.zeros(0), np.zeros(3), torch.ones(2)]


def model(**given): return from_noise(lambda x, t, label: .1*x, CosineSchedule(), **given).denoise(X, .5)
def pair(**given): return compare(from_noise(lambda x, t, label: .1*x, CosineSchedule(), shape=(1, 8, 7)), ISMachine(DATA), **(QUICK | given))


QUICK = dict(seeds=1, steps=1, network_steps=1, progress=False)
ASKED = {'load': (lambda **g: load(DATA, **g), ['size', 'n', 'label', 'range']), 'a set': (lambda **g: load('mnist', **g), ['size', 'n', 'label']),
         'load_folder': (lambda **g: load_folder(**g), ['path']), 'Images': (lambda **g: Images(**(dict(x=DATA) | g)), ['x', 'y', 'range']),
         'load_arrays': (lambda **g: load_arrays(np.zeros((4, 8, 8), np.uint8), **g), ['range', 'size', 'n', 'label', 'labels', 'key']),
         'from_noise': (model, ['shape', 'classes', 'clip', 'to_time', 'images']), 'compare': (pair, ['seeds', 'steps', 'network_steps', 'protocol']),
         'calibrate': (lambda **g: calibrate(LSMachine(DATA, scales=3), LSMachine(DATA), **(dict(widths=[3], seeds=1, steps=1, progress=False) | g)),
                       ['widths', 'seeds', 'steps']),
         'explain': (lambda **g: explain(**(dict(image=DATA[0], machine=BBELSMachine(DATA, scales=3)) | g)), ['image', 'machine', 'null', 'noise', 'k'])}


@pytest.mark.parametrize(('name', 'option'), [(n, o) for n, (_, options) in ASKED.items() for o in options])
def test_what_is_no_value_is_refused_in_words(name, option, tmp_path, monkeypatch):
    "A value is taken, or refused as a `CreativityError` of one line; nothing else."
    monkeypatch.chdir(tmp_path)     # '' is the folder where one is
    call, refused = ASKED[name][0], 0
    for value in BAD:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')
            told = ''
            try: call(**{option: value})
            except (CreativityError, FileNotFoundError) as e: told = str(e)
        refused += bool(told)
        assert '\n' not in told
    assert refused > 5


def test_a_conditional_network_that_is_asked_for_no_class_says_so():
    table = torch.nn.Embedding(3, 1)
    f = lambda x, t, label: table(label)[:, :, None, None].expand_as(x).detach()
    with pytest.raises(CreativityError, match='wants a class: wrap it with classes='): from_noise(f, CosineSchedule()).denoise(X, .5)
    with pytest.raises(CreativityError, match='conditional: give a label from 0 to 2'): from_noise(f, CosineSchedule(), classes=3).denoise(X, .5)
    assert from_noise(f, CosineSchedule(), classes=3).denoise(X, .5, 1).isfinite().all()
    with pytest.raises(CreativityError, match='raised ZeroDivisionError: division by zero'): from_noise(lambda x, t, label: 1/0, CosineSchedule()).denoise(X, .5)
