"The referee's table: cells, calibration, and going on with what was stopped."
import json
import math

import numpy as np
import pytest
import torch

import creativity as c
from creativity.machines.mix import ByNoise, Hotter, Refined, Tempered
from creativity.machines.rivals import EquivariantWienerMachine, protocols
from creativity.studies import referee as R
from creativity.theory.rivals import own_response, weighed_mean

NAME = 'fashion_mnist-resnet'


@pytest.fixture(scope='module')
def j(): return R.Judged(NAME, images=3)


def test_seeds_that_are_judged_are_not_calibrated_on():
    assert max(R.CALIBRATED_ON) < R.FIRST
    assert np.array(c.machines.widths.read_calibration(NAME)['best']).shape[0] <= R.FIRST
    with pytest.raises(c.CreativityError, match='no protocol'): R.run_study(protocol='mine')
    with pytest.raises(c.CreativityError, match='no cell'): R.run_study(recompute='mine/LS')


def test_who_is_judged():
    for circular in (False, True):
        for labelled in (False, True):
            names = [n for group in R.denoisers_of(circular, labelled) for n in group]
            assert len(set(names)) == len(names)
            theory = 'ELS' if circular else 'bbELS'
            assert theory in names
            assert ('network, other label' in names) == labelled
            assert all(n in R.NULLS or n in R.MIXED or n.partition(', ')[0] in R.KINDS for n in names)


def test_the_median_of_the_best_is_chosen():
    cosines = np.zeros((4, 2, 3))
    for s, (a, b) in enumerate([(0, 2), (2, 2), (1, 0), (1, 2)]): cosines[s, 0, a] = cosines[s, 1, b] = 1
    assert R.choose(cosines, [[3, 3], [5, 5], [7, 9]]) == [5, 9]


@pytest.mark.parametrize('protocol', list(protocols))
def test_times_of_a_protocol_have_its_noise_levels(protocol):
    p, schedule = protocols[protocol], c.CosineSchedule()
    times = R.protocol_times(protocol, schedule)
    assert times[-1] == 0
    assert sorted(times, reverse=True) == list(times)
    assert len(times) == len(p.times) + 1
    want = p.schedule.angle(torch.tensor(p.times, dtype=torch.float64))
    most = schedule.angle(torch.tensor(1.))
    assert torch.allclose(schedule.angle(torch.tensor(times[:-1])), want.clamp(max=float(most)), atol=1e-9)


@pytest.mark.parametrize(('kind', 'settings'), [
    ('LS', dict(widths=[3]*5 + [7]*5)), ('bbELS', dict(widths=[3]*10, T=[1.]*5 + [2.]*5)),
    ('PCA-locality', dict(tau=[.05]*5 + [.2]*5, T=[1.]*9 + [4.])), ('Wiener', dict(T=[2.]*10)), ('IS', {})])
def test_a_denoiser_is_built_by_noise_level(j, kind, settings):
    x, k = c.diffusion.seed_noise([0], j.net.shape), R.KINDS[kind]
    for t in (.15, .85, 1.):
        i = math.ceil(10*t - 1e-9) - 1
        own = {k.tuned: settings[k.tuned][i]} if k.tuned else {}
        own = {'scales': own['widths']} if 'widths' in own else own
        plain = k.machine(j.few.x, j.few.y, j.net.schedule, **own)
        want = Tempered(plain, settings.get('T', [1.]*10)[i]).denoise(x, t, 2)
        assert torch.allclose(R.build(j, kind, settings).denoise(x, t, 2), want, atol=1e-6)


def test_calibration_finds_the_machine_that_the_network_is(j, monkeypatch):
    "Where the network is a machine itself, its own width and temperature are found."
    d = j.few
    truth = Tempered(c.LSMachine(d.x, d.y, j.net.schedule, scales=[5]*5 + [9]*5), 1.5)
    truth.classes, truth.num_classes = j.classes, j.classes
    mine = R.Judged(NAME, images=3)
    mine.net = truth
    truth.card = dict(sha256=None)
    x = R._states(mine, 0)[0]
    assert x.shape == (R.STEPS_CALIBRATED, *truth.shape)
    hot = R.build(mine, 'LS', dict(widths=[5]*5 + [9]*5, T=[1.5]*10))
    found = R.flow_cosines(mine, [hot, R.build(mine, 'LS', dict(widths=[7]*10))], 0)
    assert (found[:, 0] > 1 - 1e-9).all()
    assert (found[1:-1, 1] < 1 - 1e-8).all()


def test_ours_is_a_blend_refined_by_noise_level(j):
    told, x = [c.ISMachine(d.x, d.y, j.net.schedule) for d in (j.few, R.some_images('mnist', 30, False, True))], j.few.x[:1]
    made = R.mix(j, tuple(told), [0., 1., .25, 0.], [0., 0., 0., .1])
    for t, w in ((.2, 0.), (.4, 1.), (.7, .25)):
        a, b = (m.denoise(x, t, 2) for m in told)
        assert torch.allclose(made.denoise(x, t, 2), (1 - w)*a + w*b, atol=1e-6)
    wiener = EquivariantWienerMachine(j.few.x, j.few.y, j.net.schedule)
    assert torch.allclose(made.denoise(x, .9, 2), Refined(told[0], wiener, .1).denoise(x, .9, 2))


def test_ours_is_calibrated_with_its_members(j, monkeypatch):
    "Where the network is the blend itself, its shares are found."
    lists = dict(theory=dict(widths=[3]*10), averaged=dict(widths=[5]*10))
    monkeypatch.setattr(R, '_calibrate_kind', lambda j, kind: lists['averaged' if 'averaged' in kind else 'theory'])
    truth = R.mix(j, R.members(j, lists), [.25]*10, [.1]*10)
    truth.num_classes, truth.card = j.classes, dict(sha256='blend')
    mine = R.Judged(NAME, images=3)
    mine.net = truth
    found = R.calibrate_mixed(mine, 'refined blend', [0])
    assert found['theory'] == lists['theory']
    assert found['shares'][1:9] == [.25]*8
    assert found['left'][1:9] == [.1]*8


def test_cells_are_made_once_and_go_on(tmp_path, monkeypatch):
    how = dict(network=NAME, images=3, seeds=2, groups=1, out=tmp_path)
    monkeypatch.setattr(R, 'HELD_OUT', 1)
    monkeypatch.setattr(R, '_ORDER', (('Wiener', 'LS', 'network, other seed'),))
    assert not R.run_study(**how, minutes=1e-9)['networks'][NAME]['cells']
    first = R.run_study(**how)
    cells = first['networks'][NAME]['cells']
    assert list(cells) == ['kamb', 'one-step']
    assert list(cells['kamb']) == ['Wiener', 'LS', 'network, other seed']
    for name, cell in cells['kamb'].items():
        assert set(cell['numbers']) == {'few', 'many'}
        assert all(np.shape(cell['numbers'][n][k]) == (2,) for n in ('few', 'many') for k in R.NUMBERS), name
    one = cells['one-step']['LS']['numbers']['one']
    assert {k: len(v) for k, v in one.items()} == dict(mse=1, by_time=len(R.NOISE_LEVELS))
    assert np.mean(one['by_time']) == pytest.approx(one['mse'][0], rel=2e-3)
    assert len(cells['kamb']['LS']['settings']['widths']) == R.STEPS_CALIBRATED
    assert max(cells['kamb']['network, other seed']['numbers']['few']['r']) < .95
    changed = json.loads(json.dumps(first))
    changed['networks'][NAME]['cells']['kamb']['Wiener']['numbers']['few']['r'] = [0., 0.]
    monkeypatch.setattr(R, 'stored', lambda name: changed)
    again = R.run_study(**how | dict(out=tmp_path/'again'), recompute=f'{NAME}/Wiener')
    assert again['networks'] == first['networks']
    monkeypatch.setattr(R, 'flow_cosines', None)
    monkeypatch.setattr(R.Flow, 'image', None)
    monkeypatch.setattr(R.Flow, 'beliefs', None)
    assert json.dumps(R.run_study(**how)) == json.dumps(first)
    assert R.run_study(**how | dict(out=None), extend=True)['networks'] == changed['networks']


def test_more_seeds_go_to_those_that_are_stored(tmp_path, monkeypatch):
    how = dict(network=NAME, images=3, groups=1)
    monkeypatch.setattr(R, 'HELD_OUT', 2)
    monkeypatch.setattr(R, '_ORDER', (('Wiener', 'noise, low-passed'),))
    first = R.run_study(**how, seeds=1)
    monkeypatch.setattr(R, 'stored', lambda name: first)
    monkeypatch.setattr(R, 'HELD_OUT', 3)
    more = R.run_study(**how, seeds=2, extend=True)
    row = more['networks'][NAME]
    assert more['ids'] == {'kamb': [10, 11], 'one-step': [10, 11, 12]}
    assert {n: len(v) for n, v in row['spread']['kamb'].items()} == {'few': 2, 'many': 2}
    for protocol, cells in row['cells'].items():
        for name, cell in cells.items():
            for truth, numbers in cell['numbers'].items():
                old = first['networks'][NAME]['cells'][protocol][name]['numbers'][truth]
                assert numbers['mse'][:-1] == old['mse']
                assert len(numbers['mse']) == len(old['mse']) + 1
                if truth == 'one': assert np.mean(numbers['by_time']) == pytest.approx(np.mean(numbers['mse']), rel=2e-3)
    # those that have fewer seeds are compared on the ones that both have
    fewer = json.loads(json.dumps(more))
    fewer['networks'][NAME]['cells']['kamb']['Wiener'] = first['networks'][NAME]['cells']['kamb']['Wiener']
    assert R.skill_of(fewer, NAME, 'noise, low-passed')[0] == pytest.approx(R.skill_of(first, NAME, 'noise, low-passed')[0])
    assert len(R.determination_of(fewer, NAME, 'Wiener')) == 1
    # asking for fewer takes nothing away
    monkeypatch.setattr(R, 'stored', lambda name: more)
    assert R.run_study(**how, seeds=1, extend=True)['networks'] == more['networks']
    assert R.run_study(**how, seeds=1, extend=True)['ids'] == more['ids']


def test_a_cell_is_what_compare_measures(j, brief_look):
    from creativity.measure.compare import compare
    machine = c.LSMachine(j.few.x, j.few.y, j.net.schedule, scales=[5]*10)
    cell = R.judge(j, 'LS', 'kamb', [11], dict(widths=[5]*10))['numbers']
    for truth, steps in (('few', 20), ('many', 150)):
        one = compare(j.net, {'LS': machine}, [11], 20, steps, progress=False)
        for k in ('r', 'mse'): assert cell[truth][k][0] == pytest.approx(one.values[k]['LS'][0], rel=2e-3)
        row = dict(circular=False, spread={'kamb': R._spreads(j, 'kamb', [11])}, cells={'kamb': {'LS': dict(numbers=cell)}})
        result = dict(networks={NAME: row})
        assert R.determination_of(result, NAME, 'LS', truth)[0] == pytest.approx(one.values['cod']['LS'][0], abs=2e-3)
        parts = R.parts_of_error(result, NAME, 'LS', truth)
        assert sum(parts.values()) == pytest.approx(1 - one.values['cod']['LS'][0], abs=2e-3)
        shift = one.images['LS'].mean() - one.images['network'].mean()
        assert parts['brightness'] == pytest.approx(float(shift**2/one.images['network'].var(correction=0)), abs=3e-3)


def test_hotter_noise_by_time():
    s = Hotter(c.CosineSchedule(), (1., 4.))
    t = torch.tensor([.2, .5, .6, 1.], dtype=torch.float64)
    want = c.CosineSchedule().sigma(t)*torch.tensor([1., 1., 2., 2.], dtype=torch.float64)
    assert torch.equal(s.sigma(t), want)
    assert torch.equal(s.a(t), c.CosineSchedule().a(t))
    assert s == Hotter(c.CosineSchedule(), (1., 4.))
    assert s != Hotter(c.CosineSchedule(), 4.)
    ls = c.LSMachine(torch.zeros(2, 1, 4, 4), scales=3)
    assert c.compare(ls, {'hot': ByNoise([Tempered(ls, 2.), ls])}, [0], 2, progress=False).median['r']['hot'] == 0


def made_up(seed=0):
    "A result of two networks, in which the errors are known: ours is best, Wiener worst."
    rng, sizes = np.random.default_rng(seed), {'refined blend': .1, 'theory': .2, 'LS': .3, 'PSPC-square': .31, 'Wiener': 1.}
    networks = {}
    for name, circular in (('mnist-resnet', False), ('mnist-resnet-circular', True)):
        base = rng.uniform(.5, 1.5, 25)
        cells = {n if n in R.MIXED else n.replace('theory', 'ELS' if circular else 'bbELS'): size*base*rng.uniform(.9, 1.1, 25)
                 for n, size in sizes.items()}
        def numbers(v): return dict(mse=list(v), r=list(1 - v/4), contrast=[1.]*25)
        one = {n: dict(numbers=dict(one=dict(mse=list(v), by_time=[v.mean()]*5))) for n, v in cells.items()}
        cells = {n: dict(numbers={t: numbers(v) for t in ('few', 'many')}) for n, v in cells.items()}
        networks[name] = dict(circular=circular, classes=0, cells={'kamb': cells, 'one-step': one})
    return dict(networks=networks, noise_levels=list(R.NOISE_LEVELS))


def test_a_result_is_read():
    result = made_up()
    for w in result['networks']:
        value, low, high = R.skill_of(result, w, 'theory')
        assert low < value < high
        assert value == pytest.approx(.8, abs=.03)
        assert value == pytest.approx(1 - R.errors_of(result, w, 'theory').sum()/R.errors_of(result, w, 'Wiener').sum())
        assert R.best_published(result, w) == 'theory'
        assert R.best_published(result, w, 'one-step', 'one') == 'theory'
        assert R.against(result, w, 'refined blend', 'theory').better
        assert not R.against(result, w, 'LS', 'theory').better
        assert R.finished(result, w, ['theory', 'ES']) == ['theory']
    assert R.networks_of(result, 'ResNet') == ['mnist-resnet']
    assert R.networks_of(result, 'UNet') == []
    ranks = R.ranking(result, list(result['networks']), ('LS', 'theory', 'ES', 'refined blend'))
    assert [r[0] for r in ranks] == ['refined blend', 'theory', 'LS']
    assert ranks[0][4] == 1
    assert all(low < value < high for _, value, low, high, _ in ranks)
    text = R.verdict_table(result)
    assert text.count('\n') == 3
    assert 'over theory' in text
    assert R.tried_table(result).count('+0.10 [') == 2
    assert R.tried_table(result, 'one-step', 'one').count('+0.10 [') == 2


def test_figures_show_what_there_is():
    import matplotlib.pyplot as plt
    result = made_up()
    fig, other = R.verdict_figure(result), R.noise_figure(result)
    drawn = [line for line in fig.axes[0].lines if line.get_label() == 'ours']
    assert len(drawn) == 1
    assert np.allclose(drawn[0].get_xdata(), .9, atol=.03)
    assert [len(ax.lines) for ax in other.axes] == [5, 5, 1, 1]
    plt.close('all')


@pytest.mark.parametrize('t', [.02, .4, 1.])
def test_weighted_windows_are_the_weighed_mean(t):
    rng, shape = torch.Generator().manual_seed(3), (2, 6, 5)
    data, fields = torch.rand(20, *shape, generator=rng)*2 - 1, torch.rand(30, 6, 5, generator=rng, dtype=torch.float64)
    m = R.FieldMachine(data, fields=lambda t: 7*fields, power=.5)
    a, sigma = float(m.schedule.a(t)), float(m.schedule.sigma(t))
    x = a*data[:1] + sigma*c.diffusion.seed_noise([0], shape)
    listens = (fields/fields.amax((1, 2), keepdim=True))**.5
    want = weighed_mean(x[0], data, a, sigma, listens[:, None].expand(-1, 2, -1, -1).flatten(1), own_response(shape))
    assert (m.denoise(x, t)[0] - want).abs().max() < 1e-4
    with pytest.raises(c.CreativityError, match='give fields='): R.FieldMachine(data)


def test_fields_are_those_of_the_network_at_every_pixel(j):
    with torch.no_grad(): fields = j.fields(.55)
    assert fields.shape == (32*32, 32, 32)
    assert torch.equal(j.fields(.6), fields)      # the sixth of ten levels
    assert not torch.equal(j.fields(.61), fields)
    at = fields.flatten(1).argmax(1)
    assert (fields.flatten(1).gather(1, torch.arange(1024)[:, None])[:, 0] == fields.flatten(1).amax(1)).all()
    assert len(at.unique()) > 900
    m = R.build(j, 'PSPC-flex', dict(share=[.3]*5 + [.7]*5))
    few, more = (d.flex(t) for d, t in zip(m.denoisers[::5], (.4, .6), strict=True))
    assert few.sum() < more.sum()
    held = (more*j.fields(.6)).sum((1, 2))/j.fields(.6).sum((1, 2))
    assert (held >= .7 - 1e-9).all()


def test_a_papers_protocol_judges_whom_the_paper_judged():
    for protocol in ('golddiff', 'pspc'):
        (names,) = R.denoisers_of(False, True, protocol)
        assert 'bbELS, published' in names
        assert 'ELS, published' in R.denoisers_of(True, False, protocol)[0]
        assert 'network, other label' not in R.denoisers_of(True, False, protocol)[0]
        assert all(n in R.NULLS or n == 'Wiener' or n.endswith(', published') for n in names)
