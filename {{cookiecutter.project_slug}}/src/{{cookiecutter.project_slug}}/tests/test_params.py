"""params.yaml: what is wrong is said in one sentence."""

import pytest

from .. import params
from ..stage import StageError


def test_the_file_of_the_project_is_complete(project):
    assert params.load().collect.cutoff.isoformat() == "2026-02-21T00:00:00"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("rounds: 20", "rouds: 20", "train.rouds is not a parameter"),
        ("rounds: 20", "rouds: 20", "train.rounds is missing"),
        ("rounds: 20", "rounds: none", "train.rounds: .*it is 'none'"),
        ("holdout: 0.2", "holdout: 1.2", "train.holdout: .*it is 1.2"),
        ("until: '2026-02-20'", "until: soon", "collect.until: .*it is 'soon'"),
        ("kind: local", "kind: moon", "engine.kind: .*it is 'moon'"),
        ("tracker: dvclive", "tracker: wandb", "train.tracker: .*it is 'wandb'"),
        ("train:", "train: [", "is not YAML"),
    ],
)
def test_a_wrong_parameter_is_named(project, old, new, says):
    path = project / "params.yaml"
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(StageError, match=says):
        params.load()


def test_the_wrong_folder_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageError, match="run from the project's root"):
        params.load()
