"What the agreement depends on: a study picks pairs, goes on where it was stopped, and is made by a command."
import json

import pytest
import torch

import creativity
from creativity.data.images import Images
from creativity.diffusion import CosineSchedule
from creativity.machines.whole import ISMachine
from creativity.machines.windows import BBELSMachine
from creativity.measure.compare import compare
from creativity.networks.card import load_network
from creativity.networks.train import Recipe, Setup
from creativity.networks.wrap import from_x0
from creativity.studies import agreement
from creativity.studies.agreement import (
    Study,
    compare_study,
    flow_scores,
    study_figure,
    train_stages,
    training_study,
)
from creativity.studies.command import stored

X = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1
Y = torch.arange(20) % 2
S = CosineSchedule()
NET = from_x0(lambda x, t, label: x*0.5, S, shape=(1, 8, 8), classes=2)
MACHINES = {'ELS': BBELSMachine(X, Y, scales=3), 'IS': ISMachine(X, Y)}


def test_flow_of_a_denoiser_with_itself():
    t, r = flow_scores(NET, MACHINES['ELS'], range(3), 4, torch.tensor([0, 1, 0]))
    assert t == [1, .75, .5, .25]
    assert all(len(v) == 3 and all(-1 <= x <= 1 for x in v) for v in r)
    assert flow_scores(MACHINES['IS'], MACHINES['IS'], [0], 2)[1] == [pytest.approx([1])]*2


STUDY = Study('width', NET, {'3': MACHINES['ELS'], 'line': MACHINES['IS']}, [('bbELS', 3, 'network', '3'), ('IS', None, 'network', 'line')], 3, 3, dict(a=1))


def test_study_picks_pairs(tmp_path):
    r = compare_study(STUDY, 3, tmp_path, progress=False)
    c = compare(NET, STUDY.machines, 3, 3, 3, progress=False)
    assert r['curves']['bbELS'] == [[3, [pytest.approx(v, abs=1e-5) for v in c.values['r']['3']]]]
    assert (r['a'], r['seeds'], r['labels']) == (1, [0, 1, 2], [0, 1, 0])
    assert compare_study(STUDY, 3, tmp_path, progress=False) == r
    assert len(study_figure(r).axes[0].lines) == 2


def test_training_stages_go_on(tmp_path):
    data = Images(torch.nn.functional.pad(X, (12,)*4, value=-1), Y, 'mnist')
    setup = Setup(conditional=False, changes=dict(width=4, dim=8))
    args = dict(data=data, recipe=Recipe(batch=4), setup=setup, progress=False)
    first = train_stages(tmp_path, (2, 4), **args)
    before = {n: p.stat().st_mtime_ns for n, p in first.items()}
    more = train_stages(tmp_path, (2, 4, 6), **args)
    assert {n: p.stat().st_mtime_ns for n, p in more.items() if n < 6} == before
    assert [load_network(p).card['steps'] for p in more.values()] == [2, 4, 6]
    r = compare_study(training_study(more, images=2), 2, progress=False)
    assert [x for x, _ in r['curves']['LS']] == [2, 4, 6]


def test_study_command(run, refused, tmp_path, monkeypatch):
    monkeypatch.setattr(agreement, 'size_study', lambda: STUDY)
    code, out, err = run('study agreement size --seeds 2 --out s')
    assert (code, out) == (0, 'wrote s/agreement-size.json\n'), err
    record = json.loads((tmp_path/'s'/'agreement-size.json').read_text())
    assert record['command'] == 'creativity study agreement size --seeds 2'
    assert (record['version'], record['seeds']) == (creativity.__version__, [0, 1])
    refused('study agreement size --seeds 0', '--seeds must be at least 1')
    refused('study agreement size --out s/agreement-size.json/x', 'cannot write')
    refused('study agreement depth', 'choose size, widths, steps, training')


@pytest.mark.parametrize('name', ['size', 'widths', 'steps', 'training'])
def test_stored_studies_are_sound(name):
    r = stored(f'agreement-{name}')
    assert r['command'].startswith(f'creativity study agreement {name}')
    assert all(len(v) == len(r['seeds']) >= 8 for points in r['curves'].values() for _, v in points)
