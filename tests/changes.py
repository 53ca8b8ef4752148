"""A change to a project that lives: other parameters and data, reproduced, on a branch."""

import os
import shutil
from pathlib import Path

import pytest

CHANGES = {
    'until: "2026-06-30"': 'until: "2026-07-07"',
    "depth: 5": "depth: 3",
    "rounds: 30": "rounds: 25",
}


@pytest.fixture(scope="session")
def verb(living, run):
    """Run a verb in a copy of the living project, with the living one's environment."""
    tools = living / ".venv/bin"

    def verb(name, project, **variables):
        path = f"{tools}:/usr/local/bin:/usr/bin:/bin"
        given = {"PATH": path, "PYTHONPATH": project / "src", "no_proxy": "*"} | variables
        command = (tools / "python", "-m", "delivery", name)
        done = run(*command, cwd=project, check=False, **given)
        assert "Traceback" not in done.stderr, done.stderr
        return done

    return verb


@pytest.fixture(scope="session")
def changed(living, run, git, tmp_path_factory):
    """The living project on a branch that changed parameters and data, reproduced and committed."""
    project = tmp_path_factory.mktemp("changed") / "promotion_ranker"
    shutil.copytree(living, project, symlinks=True, ignore=shutil.ignore_patterns(".venv"))
    git(project, "config", "core.hooksPath", "/dev/null")
    git(project, "checkout", "--quiet", "-b", "feature")
    path = project / "params.yaml"
    text = path.read_text()
    for old, new in CHANGES.items():
        assert old in text
        text = text.replace(old, new)
    path.write_text(text)
    tools = f"{living / '.venv/bin'}:/usr/bin:/bin"
    run(living / ".venv/bin/dvc", "repro", cwd=project, PATH=tools, PYTHONPATH=project / "src")
    git(project, "commit", "--quiet", "--all", "--message", "Later, and shallower")
    git(project, "update-ref", "refs/remotes/origin/main", "main")
    return project


def duplicate(changed, folder):
    """A copy to change; what is large and never changed is linked, and the cache is shared."""

    def bring(source, target):
        large = {"data", "models"} & set(Path(source).relative_to(changed).parts[:1])
        (os.link if large else shutil.copy2)(source, target)

    ignored = shutil.ignore_patterns("cache", "delivery.lock")
    project = folder / "promotion_ranker"
    shutil.copytree(changed, project, symlinks=True, ignore=ignored, copy_function=bring)
    (project / ".dvc/config.local").write_text(f"[cache]\n    dir = {changed}/.dvc/cache\n")
    return project


@pytest.fixture
def project(changed, tmp_path):
    """A copy of it to change."""
    return duplicate(changed, tmp_path)


def rewrite(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
