"What several test files share: the command line in an empty folder."
import shlex

import pytest
from typer.testing import CliRunner


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache folder."
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))
    monkeypatch.delenv('CREATIVITY_MIRROR', raising=False)
    return tmp_path/'cache'


@pytest.fixture
def run(tmp_path, monkeypatch):
    "Run a command line in an empty folder: exit code, stdout, stderr."
    from creativity.app import cli
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))

    def go(line):
        r = CliRunner().invoke(cli.app, shlex.split(line))
        assert r.exception is None or isinstance(r.exception, SystemExit), r.exception
        return r.exit_code, r.stdout, r.stderr
    return go


@pytest.fixture
def refused(run, tmp_path):
    "Run a command line that is refused in one line, before it leaves any file; more words must be in that line."
    def go(line, *words):
        before = sorted(p for p in tmp_path.rglob('*') if p.is_file())
        code, out, err = run(line)
        assert (code, out) == (2, '')
        assert err.startswith('creativity: error: ')
        assert err.endswith('\n')
        assert err.count('\n') == 1
        for w in words: assert w in err
        assert sorted(p for p in tmp_path.rglob('*') if p.is_file()) == before
    return go


@pytest.fixture
def few_held_out(monkeypatch):
    "Training looks at 4 held-out images instead of 256: the loss it writes is another one, the weights are the same."
    from creativity.networks import train
    load_set, asked = train.load_set, []
    def few(*args, n, **kwargs):
        asked.append(n)
        return load_set(*args, n=4, **kwargs)
    monkeypatch.setattr(train, 'load_set', few)
    yield
    assert set(asked) == {256}      # otherwise this fixture saves nothing


@pytest.fixture
def rough_intervals(monkeypatch):
    "Intervals of medians come from 50 resamplings instead of 2,000: they are written and shown, and looked at elsewhere."
    from creativity import metrics
    made = metrics._median_interval
    monkeypatch.setattr(metrics, '_median_interval', lambda values, level, n, seed: made(values, level, 50, seed))


@pytest.fixture
def brief_look(monkeypatch):
    "Before a comparison a network is looked at with 2 images instead of 16; what such a look finds is tested elsewhere."
    from creativity.measure import pair
    look = pair.check_denoiser
    monkeypatch.setattr(pair, 'check_denoiser', lambda *args: look(*args, n=2))
