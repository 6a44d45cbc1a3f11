"Comparisons: the numbers, resuming, and input that is refused in one line."
import math

import pytest
import torch

from creativity.compare import bootstrap_interval, compare, flow_scores, load_comparison, scores, seed_file
from creativity.diffusion import CosineSchedule, EDMSchedule, sample, seed_noise
from creativity.machines import BBELSMachine, ISMachine
from creativity.networks import Network, build, from_x0

G = torch.Generator().manual_seed(0)
X = torch.rand(20, 1, 8, 8, generator=G)*2 - 1
Y = torch.arange(20) % 2
S = CosineSchedule()
NET = from_x0(lambda x, t, label: x*0.5, S, (1, 8, 8), 2)
MACHINES = {'ELS': BBELSMachine(X, Y, scales=3), 'IS': ISMachine(X, Y)}
ARGS = dict(seeds=4, steps=3, network_steps=3, progress=False)


def test_scores_of_known_pairs():
    y = torch.tensor([[[1., -1.], [1., -1.]]])
    s = scores(y, y/2 + .25)
    assert s['r'] == pytest.approx(1)
    assert s['cod'] == pytest.approx(1 - (.0625 + .5625)/2)
    assert s['mse'] == pytest.approx((.0625 + .5625)/2)
    assert scores(y, -y) == pytest.approx(dict(r=-1, r2=1, cod=-3, cosine=-1, mse=4))
    assert math.isnan(scores(y, torch.ones_like(y))['r'])


def test_interval_is_seeded_and_holds_the_median():
    v = torch.randn(50, generator=G).tolist()
    assert bootstrap_interval(v) == bootstrap_interval(v)
    assert bootstrap_interval(v)[0] <= sorted(v)[25] <= bootstrap_interval(v)[1]


def test_same_noise_and_label_for_all():
    c = compare(NET, MACHINES, **ARGS)
    assert c.labels == [0, 1, 0, 1]
    for name, m in MACHINES.items():
        want = sample(m, seed_noise(range(4), (1, 8, 8)), 3, torch.tensor(c.labels))
        torch.testing.assert_close(c.images[name], want, atol=1e-5, rtol=0)
    assert c.share('ELS', 'IS') + c.share('IS', 'ELS') == 1
    assert sum(c.wins['mse'].values()) == 1
    assert '4 seeds' in str(c)
    assert c._repr_html_().startswith('<table>')


def test_stopped_run_goes_on(tmp_path):
    whole = compare(NET, MACHINES, **ARGS)
    compare(NET, MACHINES, **{**ARGS, 'seeds': 2}, out=tmp_path)
    first = seed_file(tmp_path, 0).stat().st_mtime_ns
    again = compare(NET, MACHINES, **ARGS, out=tmp_path)
    assert seed_file(tmp_path, 0).stat().st_mtime_ns == first
    for name in whole.images:
        assert torch.equal(again.images[name], whole.images[name])
        assert torch.equal(load_comparison(tmp_path).images[name], whole.images[name])


def test_other_facts_are_refused(tmp_path):
    compare(NET, MACHINES, **ARGS, out=tmp_path)
    with pytest.raises(ValueError, match='another steps'): compare(NET, MACHINES, **{**ARGS, 'steps': 4}, out=tmp_path)
    other = {**MACHINES, 'IS': ISMachine(X.flip(0), Y.flip(0))}
    with pytest.raises(ValueError, match='another denoisers'): compare(NET, other, **ARGS, out=tmp_path)
    seed_file(tmp_path, 1).write_bytes(b'no zip file')
    with pytest.raises(ValueError, match='damaged'): load_comparison(tmp_path)


def test_weights_tell_networks_apart(tmp_path):
    nets = [Network(build('resnet', classes=2, seed=i, width=4, depth=1, dim=8), S, (1, 8, 8)) for i in (0, 1)]
    compare(nets[0], MACHINES, **ARGS, out=tmp_path)
    with pytest.raises(ValueError, match='another denoisers'): compare(nets[1], MACHINES, **ARGS, out=tmp_path)


@pytest.mark.parametrize(('network', 'machines', 'changes', 'message'), [
    (NET, {}, {}, 'at least one'),
    (NET, MACHINES, dict(seeds=0), 'seeds must be'),
    (NET, MACHINES, dict(seeds=[1, 1]), 'different'),
    (NET, MACHINES, dict(steps=0), 'at least 1'),
    (NET, MACHINES, dict(label=[0, 1]), 'one for each of the 4'),
    (NET, {'IS': ISMachine(X)}, {}, 'without labels='),
    (NET, {'IS': ISMachine(X[:, :, :6, :6], Y)}, {}, 'shape'),
    (NET, {'IS': ISMachine(X, Y, EDMSchedule())}, {}, 'schedule'),
    (from_x0(lambda x, t, label: x[..., :4], S, (1, 8, 8), 2), MACHINES, {}, 'must return'),
    (from_x0(lambda x, t, label: x*math.nan, S, (1, 8, 8), 2), MACHINES, {}, 'NaN'),
])
def test_bad_input_is_one_line(network, machines, changes, message):
    with pytest.raises(ValueError, match=message) as e: compare(network, machines, **{**ARGS, **changes})
    assert '\n' not in str(e.value)


def test_unwritable_folder(tmp_path):
    (tmp_path/'file').write_text('')
    with pytest.raises(OSError, match='cannot write'): compare(NET, MACHINES, **ARGS, out=tmp_path/'file')


def test_full_disk_leaves_finished_seeds(tmp_path, monkeypatch):
    import creativity.compare as module
    real = module.write_file
    def full(path, data):
        if path.name == seed_file(tmp_path, 2).name: raise OSError(f'cannot write {path}: No space left on device')
        real(path, data)
    monkeypatch.setattr(module, 'write_file', full)
    with pytest.raises(OSError, match='No space left'): compare(NET, MACHINES, **ARGS, out=tmp_path)
    assert load_comparison(tmp_path).seeds == [0, 1]


def test_flow_of_a_denoiser_with_itself():
    t, r = flow_scores(NET, MACHINES['ELS'], range(3), 4, torch.tensor([0, 1, 0]))
    assert t == [1, .75, .5, .25]
    assert all(len(v) == 3 and all(-1 <= x <= 1 for x in v) for v in r)
    assert flow_scores(MACHINES['IS'], MACHINES['IS'], [0], 2)[1] == [pytest.approx([1])]*2
