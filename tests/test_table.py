"The table: rows, what they need, measuring and resuming, bad input in one line."
import json
from pathlib import Path

import pytest
import torch

import creativity
from creativity.data.images import Images
from creativity.data.show import save_grid
from creativity.diffusion import CosineSchedule
from creativity.machines.widths import calibrated_scales, read_calibration, scales_file
from creativity.networks.architectures import build
from creativity.networks.card import save_network, stored_cards
from creativity.studies import table
from creativity.studies.table import (
    gain,
    measure,
    published,
    read_causes,
    read_table,
    row_images,
    row_machines,
    row_network,
    row_scales,
    summary,
    table_csv,
    table_files,
    table_lines,
    table_report,
    table_text,
)

X = torch.rand(20, 1, 8, 8, generator=torch.Generator().manual_seed(0))*2 - 1
D = Images(X, torch.arange(20) % 2, 'toy', ['a', 'b'])


def toy_network(path, arch='resnet', classes=2, **args):
    args = args or dict(width=4, depth=1, dim=8)
    net = build(arch, classes=classes, **args)
    save_network(net, path, dict(network=type(net).__name__, args=net.args, shape=[1, 8, 8], schedule=CosineSchedule().to_dict(), name='toy'))
    return path


def measured(seeds, first=0, out=None, extend=False, **job):
    return measure(table.RowJob(**job), range(first, first + seeds), out, False, extend)


@pytest.fixture
def toy(tmp_path, monkeypatch):
    "A row that takes a tiny network and toy images: arguments of `measured`."
    monkeypatch.setattr(table, 'row_images', lambda *args: D)
    monkeypatch.setattr(table, 'row_scales', lambda row, network: ([3, 5], 'published (toy)'))
    return dict(row='mnist-resnet', network=toy_network(tmp_path/'n.safetensors'), seeds=3, steps=2, network_steps=3)


def test_rows():
    assert len(published) == 11
    assert all(0 < p['IS'] < p['ELS'] < 1 for p in published.values())
    with pytest.raises(ValueError, match='choose mnist-unet'): measure(table.RowJob('celeba-unet'))


def test_row_is_measured_and_goes_on(toy, tmp_path):
    out = tmp_path/'rows'/'mnist-resnet'
    r = measured(**toy, out=out)
    first = (out/'seed_000000.npz').stat().st_mtime_ns
    assert measured(**toy, out=out) == r == json.loads((out/'row.json').read_text())['mnist-resnet']
    assert (out/'seed_000000.npz').stat().st_mtime_ns == first
    assert measured(**toy) == r
    assert r['candidates_from'] == 10
    assert r['labels'] == [0, 1, 0]
    assert r['version'] == creativity.__version__
    assert 'n.safetensors' in r['command']
    assert str(tmp_path) not in r['command']
    assert read_table(tmp_path/'rows')['mnist-resnet'] == r
    longer = measured(**{**toy, 'seeds': 4}, out=out)
    assert longer['many']['ELS']['r'][:3] == r['many']['ELS']['r']
    with pytest.raises(ValueError, match='another run, with steps ELS 2, not 3'): measured(**{**toy, 'steps': 3}, out=out)


def test_a_row_grows_by_the_seeds_it_lacks(toy, tmp_path, monkeypatch):
    two, three, out = measured(**{**toy, 'seeds': 2}), measured(**toy), tmp_path/'row'
    monkeypatch.setattr(table, 'read_table', lambda: {toy['row']: two})
    assert measured(**toy, out=out, extend=True) == three
    assert [p.name for p in out.glob('seed_*')] == ['seed_000002.npz']
    assert measured(**{**toy, 'seeds': 1}, extend=True) == two
    four = measured(**{**toy, 'steps': 3}, extend=True)
    assert four == measured(**{**toy, 'steps': 3}) != three # measured in another way: nothing is taken over
    backwards = table.merge_records(measured(**{**toy, 'seeds': 3}), two | dict(seeds=[8, 7]))
    assert backwards['seeds'] == [0, 1, 2, 7, 8]
    assert backwards['many']['ELS']['r'][3:] == two['many']['ELS']['r'][::-1]


def test_a_row_in_parts(toy, tmp_path):
    "As two processes would that share a folder."
    last = measured(**{**toy, 'seeds': 1}, first=2, out=tmp_path)
    assert last['seeds'] == [2]
    assert '--seed 2 --seeds 1' in last['command']
    measured(**{**toy, 'seeds': 2}, out=tmp_path)
    times = {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('seed_*')}
    assert measured(**toy, out=tmp_path) == measured(**toy)
    assert {p.name: p.stat().st_mtime_ns for p in tmp_path.glob('seed_*')} == times


def test_rider_is_the_network_at_few_steps(toy):
    r = measured(**{**toy, 'network_steps': 2})
    assert r['many'] == r['few']
    assert r['network_itself'] == pytest.approx([1]*3, abs=1e-5)


def test_summary_and_files(toy, tmp_path):
    rows = {'mnist-resnet': measured(**toy)}
    s = summary(rows['mnist-resnet'])
    r = torch.tensor(rows['mnist-resnet']['many']['ELS']['r'], dtype=torch.float64)
    assert s['ELS']['r'][0] == pytest.approx(r.median().item())
    assert s['ELS']['r2'][0] == pytest.approx((r*r).median().item())
    assert 0 <= s['ELS beats IS'] <= 1
    lines = table_lines(rows)
    assert [line[-1] for line in lines[1:]].count('not measured') == 10
    assert '3 ' in ' '.join(lines[5])
    assert all(len(line) < 140 for line in table_text(rows).splitlines())
    few, numbers = table_text(rows, few=True), table_report(rows).splitlines()[-2]
    assert few in table_report(rows)
    assert 'published (network 150 steps' in few
    assert 'ours: network 2 steps' in few
    assert [float(v) for v in numbers.split()[2:]] == [round(s['ELS'][k][0], 2) for k in ('r', 'r2', 'cod', 'cosine', 'mse')]
    lines = [line.split(',') for line in table_csv(rows).splitlines()]
    assert len(lines) == 1 + 2*3*5
    assert [bool(line[8]) for line in lines[1:]] == [line[1] == '3' and line[4] == 'r' for line in lines[1:]] # the paper's table is of many steps
    files = table_files(rows, tmp_path/'out')
    assert all(p.stat().st_size > 200 for p in files)
    kept = json.loads((tmp_path/'out'/'table1.json').read_text())
    assert kept['rows'] == rows
    assert kept['quick'] == read_table(quick=True)
    kept = json.loads(table_files(rows, tmp_path/'out', quick=True)[2].read_text())
    assert (kept['rows'], kept['quick']) == (read_table(), rows)


@pytest.mark.parametrize('row', ['{"mnist-unet": {}}', '[]', '{"mnist-unet": 3}', 'x'])
def test_damaged_row_is_named(tmp_path, row):
    (tmp_path/'mnist-unet').mkdir()
    (tmp_path/'mnist-unet'/'row.json').write_text(row)
    if row == '[]': assert read_table(tmp_path) == read_table() # no row at all
    else:
        with pytest.raises(ValueError, match=r'row\.json is damaged'): read_table(tmp_path)


def test_network_of_other_images_is_no_row():
    path = scales_file('fashion_mnist-resnet').with_name('fashion_mnist-resnet.safetensors')
    with pytest.raises(ValueError, match='was trained on fashion_mnist'): row_network('cifar10-resnet', path)


def test_empty_table():
    assert 'nothing is measured' in table_text({})
    assert table_csv({}).count('\n') == 1


def test_circular_networks_get_wrapping_machines(tmp_path):
    net = row_network('mnist-resnet-circular', toy_network(tmp_path/'n.safetensors', 'resnet-circular', classes=None))
    machines = row_machines(net, D, [3])
    assert type(machines['ELS']).__name__ == 'ELSMachine'
    assert machines['ELS'].wrapped
    assert not machines['ELS'].class_slices


def test_scales_beside_weights(tmp_path):
    path = tmp_path/'n.safetensors'
    assert row_scales('faces-resnet', path)[1] == 'published (celeba-resnet)'
    (tmp_path/'n-scales.json').write_text(json.dumps(dict(format='creativity-scales/1', scales=[3]*20, best=[[3]*20]*2, images=9)))
    assert row_scales('faces-resnet', path) == ([3]*20, 'calibrated (2 seeds, 9 images)')


def test_images_of_ones_own(tmp_path):
    for i, x in enumerate(X[:3]): save_grid(x.expand(3, 8, 8), tmp_path/f'{i}.png', scale=1)
    assert row_images('faces-unet', tmp_path, 2).x.shape == (2, 3, 32, 32)
    assert len(row_images('mnist-unet', n=7)) == 7


@pytest.mark.parametrize(('row', 'arch', 'args'), [
    ('mnist-unet', 'resnet', {}), ('mnist-resnet-circular', 'resnet', {}), ('mnist-resnet', 'resnet-circular', {}),
    ('cifar10-unet-attention', 'unet', dict(widths=(4, 8), dim=8)), ('cifar10-unet', 'unet-attention', dict(widths=(4, 8), dim=8))])
def test_other_architectures_are_refused(tmp_path, row, arch, args):
    with pytest.raises(ValueError, match='is about') as e: row_network(row, toy_network(tmp_path/'n.safetensors', arch, **args))
    assert '\n' not in str(e.value)


def test_bad_input_is_one_line(toy, tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError, match='--network PATH'): row_network('faces-unet')
    with pytest.raises(FileNotFoundError, match='no network'): row_network('faces-unet', tmp_path/'none.safetensors')
    with pytest.raises(OSError, match='cannot write'): measured(**toy, out=toy['network']/'x')
    with pytest.raises(ValueError, match='n=0'): row_images('mnist-unet', n=0)
    monkeypatch.setattr(table, 'row_images', lambda *args: Images(X))
    with pytest.raises(ValueError, match='no labels'): measured(**toy)
    (tmp_path/'rows'/'mnist-unet').mkdir(parents=True)
    (tmp_path/'rows'/'mnist-unet'/'row.json').write_text('{')
    with pytest.raises(ValueError, match='damaged'): read_table(tmp_path/'rows')


def test_full_disk_keeps_finished_seeds(toy, tmp_path, monkeypatch):
    from creativity import files
    real, out = files.write_atomic, tmp_path/'out'

    def full(path, write):
        if Path(path).name == 'seed_000002.npz': raise OSError(f'cannot write {path}: No space left on device')
        return real(path, write)
    monkeypatch.setattr(files, 'write_atomic', full)
    with pytest.raises(OSError, match='No space left'): measured(**toy, out=out)
    assert (out/'seed_000001.npz').exists()
    monkeypatch.setattr(files, 'write_atomic', real)
    assert measured(**toy, out=out) == measured(**toy)


def test_stored_rows_are_sound():
    for quick in (False, True):
        for row, r in read_table(quick=quick).items():
            assert len(r['seeds']) == len(r['many']['ELS']['r']) == len(r['few']['IS']['mse'])
            assert len(r['scales']) == 20
            assert r['command'].startswith(f'creativity table1 --recompute {row}')
            assert r['weights'] == stored_cards()[row]['sha256']
            assert r['weights'] == read_calibration(row)['weights']
            assert r['scales'] == calibrated_scales(row)


def test_causes_differ_in_one_thing():
    for c in read_causes():
        one, two = c['before'], c['after']
        assert c['row'] in published
        for record in (one, two): assert record['network'].split(' after ')[0] == c['row'], record['command']
        assert (one['network'] != two['network']) <= (one['weights'] != two['weights'])
        assert one['seeds'] == two['seeds'] == list(range(len(one['seeds'])))
        assert one['labels'] == two['labels']
        changed = [k for k in ('weights', 'images', 'scales', 'steps') if one[k] != two[k]]
        if 'training' in c['changed']: assert changed == ['weights'] + ['scales']*('calibrated again' in c['changed'])
        else: assert len(changed) == 1
        mid, lo, hi = gain(c)
        assert lo <= mid <= hi
    same = dict(c, after=c['before'])
    assert gain(same) == (0, 0, 0)
