"What several test files start from."
import pytest


@pytest.fixture
def cache(tmp_path, monkeypatch):
    "An empty cache folder."
    monkeypatch.setenv('CREATIVITY_DATA', str(tmp_path/'cache'))
    monkeypatch.delenv('CREATIVITY_MIRROR', raising=False)
    return tmp_path/'cache'
