"""A project in use is updated: edited in ten ways, checked and reproduced."""

import re
import shutil

import pytest
from conftest import copy
from projects import SLUG, codes, edit, read_tracked, write
from releases import FOLDER, set_state


def grow(git, project, user):
    """Ten things that owners do."""
    edit(project / "params.yaml", "resamples: 500", "resamples: 100")
    edit(project / "README.md", "## The commands", "## Who to ask\n\nAnn.\n\n## The commands")
    (project / "notebooks/explore.ipynb").unlink()
    package = project / "src" / SLUG
    (package / "mine.py").write_text('"""Mine."""\n\nANSWER = 42\n')
    (package / "tests/test_mine.py").write_text(
        "from ..mine import ANSWER\n\n\ndef test_mine():\n    assert ANSWER == 42\n"
    )
    edit(project / "Makefile", "\nfix: ##", "\nmine: ## my own\n\t@echo mine\n\nfix: ##")
    edit(project / "pyproject.toml", '    "prek', '    "tabulate>=0.9,<1",\n    "prek')
    edit(project / ".gitignore", ".venv/\n", ".venv/\n/scratch/\n")
    write(project, {"scratch/note.txt": "ignored\n", "docs/mine.md": "mine\n"})
    git(project, "mv", "AGENTS.md", "docs/AGENTS.md")
    with (package / "evaluate.py").open("a") as file:
        file.write("\n# reviewed by Ann\n")
    user("uv", "lock", "--quiet", cwd=project)
    user("make", "setup", "reproduce", cwd=project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Ten things")


def publish(git, stage):
    """A release that touches the same files in other places."""
    project = stage / FOLDER
    git(stage, "tag", "v1.0.0")
    edit(project / "Makefile", "## lint, types and tests", "## lint, types, tests")
    edit(
        project / "README.md",
        "# {{ cookiecutter.__title }}\n",
        "# The {{ cookiecutter.__title }}\n",
    )
    edit(project / "params.yaml", "evaluate:\n", "# how sure we are\nevaluate:\n")
    edit(project / "pyproject.toml", '"tqdm>=4.67,<5"', '"tqdm>=4.66,<5"')
    edit(project / "AGENTS.md", "# For coding agents", "# For coding agents and people")
    edit(project / "notebooks/explore.ipynb", '"source": [', '"source": [\n    "# hello\\n",')
    evaluate = project / "src" / FOLDER / "evaluate.py"
    edit(evaluate, '"""Stage evaluate: judge', '"""Stage evaluate: weigh')
    write(project, {"data/CHANGES.md": "since v2\n"})
    git(stage, "add", "--all")
    git(stage, "commit", "--quiet", "--message", "v2")
    git(stage, "tag", "v2.0.0")


@pytest.mark.slow
@pytest.mark.xdist_group("project")
def test_a_project_in_use_is_updated_checked_and_reproduced(living, template, user, git, tmp_path):
    project, stage = copy(living, tmp_path / "promotion_ranker"), tmp_path / "stage"
    shutil.copytree(living.parent / f"{SLUG}-storage", tmp_path / f"{SLUG}-storage")
    git(tmp_path, "clone", "--quiet", template, stage)
    publish(git, stage)
    set_state(git, project, template=str(stage))
    grow(git, project, user)
    before = read_tracked(git, project)
    user("make", "template-update", cwd=project)
    edited = {"Makefile", "README.md", "docs/AGENTS.md", "params.yaml", "pyproject.toml"}
    edited |= {"src/promotion_ranker/evaluate.py"}
    more = {".cruft.json": "M", "data/CHANGES.md": "A", "uv.lock": "M"}
    assert codes(git, project) == dict.fromkeys(edited, "M") | more
    for path in edited:
        old, new = (set(text.split("\n")) for text in (before[path], (project / path).read_text()))
        assert (len(old - new), len(new - old)) in {(1, 1), (0, 1)}, path
    assert "tabulate" in (project / "uv.lock").read_text()
    assert (project / "scratch/note.txt").read_text() == "ignored\n"
    user("make", "setup", "check", cwd=project)
    said = user("make", "reproduce", cwd=project).stdout
    assert re.findall(r"Running stage '(\w+)'", said) == ["train", "evaluate", "report"]
    assert (project / "reports/metrics.json").read_text() == before["reports/metrics.json"]
    git(project, "reset", "--quiet", "--hard")
    assert read_tracked(git, project) == before
