"""Answers that hurt: those that survive, and those that are refused."""

import json
from pathlib import Path

import pytest
from projects import DONE, describe, state

HOSTILE = [
    "it's",
    'say "hi" """twice"""',
    "ends in a backslash\\",
    "C:\\new\\table\\u0041",
    "two\nlines\tand a tab",
    "Žofia Müller-Łoś 数据 👩‍🔬",
    "</script> & $HOME `id` $(id) %s #x",
    "r'''x''' {# no #} }}",
]


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_answers_survive(render, git, tmp_path, text):
    quoted = "{% raw %}" + text + "{% endraw %}"  # cookiecutter renders the answers themselves
    answers = dict.fromkeys(("project_name", "description", "author_name"), quoted)
    render(tmp_path, project_slug="hostile", **answers)
    project = tmp_path / "hostile"
    kept = state(project)["context"]["cookiecutter"]
    assert {kept[question] for question in answers} == {text}
    author = git(project, "log", "--format=%an")
    # Git itself drops punctuation at either end.
    assert author == " ".join(text.split()).strip(".,:;<>\"\\'").translate({60: None, 62: None})
    assert describe(git, project) == DONE


def test_answer_that_is_a_template_is_rendered_once(render, tmp_path):
    once, literal = "{{ 7*7 }}", "{{ '{{ 7*7 }}' }}"
    render(tmp_path, project_slug="x", project_name=f"A {once}", description=literal)
    kept = state(tmp_path / "x")["context"]["cookiecutter"]
    assert (kept["project_name"], kept["description"]) == ("A 49", "{{ 7*7 }}")


@pytest.mark.parametrize("slug", ["../x", "1a", "A-b", "class", "json", "test", "tests"])
def test_bad_slug_leaves_nothing_behind(render, tmp_path, slug):
    out = tmp_path / "out"
    done = render(out, check=False, project_slug=slug)
    assert done.returncode == 1
    (error,) = [line for line in done.stderr.splitlines() if line.startswith("ERROR:")]
    assert slug in error
    assert list(tmp_path.rglob("*")) == [out]


def test_an_empty_slug_leaves_nothing_behind(render, tmp_path):
    out = tmp_path / "out"
    done = render(out, check=False, project_slug="")
    assert done.returncode == 1
    assert "already exists" in done.stdout  # cookiecutter's own: it names the folder that is there
    assert list(tmp_path.rglob("*")) == [out]


def test_all_bad_answers_are_named_at_once(render, tmp_path):
    bad = {"project_slug": "1a", "author_email": "nobody", "author_name": "\x07 bell"}
    done = render(tmp_path, check=False, project_name=" ", **bad)
    assert done.returncode == 1
    assert sum(line.startswith("ERROR:") for line in done.stderr.splitlines()) == 4
    assert list(tmp_path.iterdir()) == []


def test_only_declared_answers_are_kept(render, tmp_path):
    home, temporary = tmp_path / "home", tmp_path / "tmp"
    home.mkdir()
    temporary.mkdir()
    answers = {"author_name": "Someone Special", "an_unknown_answer": "hush-hush"}
    render(tmp_path / "out", env={"HOME": home, "TMPDIR": temporary}, **answers)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    held = [path for path in files if b"Someone Special" in path.read_bytes()]
    assert held
    assert not [path for path in files if b"hush-hush" in path.read_bytes()]


def test_a_secret_in_an_answer_is_nowhere_afterwards(render, environment, tmp_path):
    """Cookiecutter keeps the answers of a run for the next one, before it asks the hook."""
    answers = {"storage": "ssh", "storage_url": "ssh://me:sesame@host/p"}
    done = render(tmp_path, check=False, **answers)
    assert done.returncode == 1
    assert "ERROR: storage_url holds a password" in done.stderr
    assert "sesame" not in done.stdout + done.stderr
    for folder in (tmp_path, Path(environment["HOME"])):
        kept = [path for path in folder.rglob("*") if path.is_file()]
        assert [path for path in kept if b"sesame" in path.read_bytes()] == []
    elsewhere = tmp_path / "config.json"
    elsewhere.write_text(json.dumps({"replay_dir": str(tmp_path / "replay")}))
    done = render(tmp_path, "--config-file", elsewhere, check=False, **answers)
    assert "in its replay_dir: delete them" in done.stderr  # the hook is not told
