"""What an update asks, and how answers follow their questions through releases."""

import importlib
import json
import os
import pty
import re
import subprocess
import sys

import pytest
from conftest import ROOT
from projects import SLUG, codes, commit, read, state
from releases import FOLDER, VERB, outdated, refuse  # noqa: F401


def load(name):
    """A module of the rendered project, as it lies in the template."""
    writes, sys.dont_write_bytecode = sys.dont_write_bytecode, True  # it would be rendered
    sys.path.insert(0, str(ROOT / FOLDER))
    try:
        return importlib.import_module(f"delivery.{name}")
    finally:
        sys.path.pop(0)
        sys.dont_write_bytecode = writes


def test_the_documented_migration_does_what_is_said_of_it():
    text = re.search(r"```json\n(.+?)```", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL)[1]
    (migration,) = json.loads(text).values()
    answers = {"project_slug": "x", "deploy_to": "a host", "colour": "red"}
    answers |= {"docker": "yes", "kubernetes": "no"}
    after, moves = load("template").migrate(answers, [migration])
    assert after == {"project_slug": "x", "deploy": "compose"}
    assert ("src/x/a.py", "src/x/b.py") in moves


def test_migrations_swap_values_and_follow_each_other():
    swap = [{"if": {"a": "1"}, "then": {"a": "2"}}, {"if": {"a": "2"}, "then": {"a": "1"}}]
    migrations = [{"map": swap}, {"rename": {"a": "b"}}, {"rename": {"b": "c", "x": "y"}}]
    assert load("template").migrate({"a": "1", "z": "0"}, migrations) == ({"c": "2", "z": "0"}, [])


def test_migrations_of_the_template_can_be_read():
    questions = json.loads((ROOT / "cookiecutter.json").read_text("utf-8"))
    for tag, migration in json.loads((ROOT / "migrations.json").read_text("utf-8")).items():
        assert load("template").RELEASE.fullmatch(tag)
        assert set(migration) <= {"rename", "map", "move"}
        assert all(set(row) == {"if", "then"} for row in migration.get("map", []))
        gone = {old for old, new in migration.get("rename", {}).items() if old != new}
        assert gone.isdisjoint(questions), "a later entry may bring a name back: then weaken this"


def test_releases_are_ordered_by_number(git, tmp_path):
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "x")
    for tag in ("v0.10.0", "v0.9.1", "v0.9.1-rc1", "newest", "v1", "v0.9.10"):
        git(tmp_path, "tag", tag)
    assert load("template").list_releases(tmp_path) == ["v0.9.1", "v0.9.10", "v0.10.0"]


# In a project


def test_answers_follow_their_questions(render, releases, update, git, tmp_path):
    """Text that could be a template, a renamed question, two merged, a choice replaced."""
    hostile = '"{{ 7*7 }}" }} {# é 👩‍🔬 \\ \'\u2028 $HOME'
    quoted = "{% raw %}" + hostile + "{% endraw %}"
    options = ("--config-file", releases["config"], "--checkout", "v2.0.0")
    answers = {"team": quoted, "license": "MIT", "description": f" two\nlines {quoted}"}
    render(tmp_path, *options, source="gh:org/cd4ml-template", **answers)
    project = tmp_path / SLUG
    update(project)
    kept = state(project)["context"]["cookiecutter"]
    assert kept["squad"] == hostile
    assert kept["description"] == f" two\nlines {hostile}"
    assert "team" not in kept
    assert "pace" not in kept
    assert (kept["license"], kept["licence"]) == ("Apache-2.0", "open")
    assert (project / "docs" / SLUG / "crew.md").read_text() == f"{hostile}, all\nand\nmore\n"
    assert codes(git, project)[f"docs/{SLUG}/crew.md"] in ("R", "A")


def test_a_release_that_forgets_an_answer_is_refused(project, update, git):
    done = refuse(project, update, git, "broken")
    assert "license=LicenseRef-Proprietary" in done.stderr


def test_going_back_is_refused_where_answers_would_go(project, update, git):
    before = read(project)
    update(project)
    commit(git, project, "Update")
    assert "squad=nobody" in refuse(project, update, git, "v1.0.0").stderr
    git(project, "revert", "--no-edit", "HEAD")
    assert read(project) == before


@pytest.fixture
def type_in(project, user, environment):
    """Update to v2.0.0 with somebody at the terminal."""

    def type_in(text):
        main, side = pty.openpty()
        os.write(main, text)
        variables = environment | {k: str(v) for k, v in user.keywords.items() if v}
        done = subprocess.run(
            (*VERB, "v2.0.0"),
            cwd=project,
            env=variables,
            stdin=side,
            capture_output=True,
            text=True,
        )
        os.close(main)
        os.close(side)
        assert done.returncode == 0, done.stderr
        return done

    return type_in


def test_new_questions_are_left_at_their_default_by_return_or_end_of_input(project, type_in):
    type_in(b"\n\x04")
    kept = state(project)["context"]["cookiecutter"]
    assert (kept["team"], kept["pace"]) == ("Data Teams", "slow")


def test_new_questions_are_put_to_a_person(project, type_in):
    done = type_in(b"The A-Team\nsnail\nfast\n")
    assert "Team [Data Teams]: " in done.stdout
    assert done.stdout.count("Pace (slow/fast) [slow]: ") == 2
    kept = state(project)["context"]["cookiecutter"]
    assert (kept["team"], kept["pace"]) == ("The A-Team", "fast")
    assert "New question: team=The A-Team\nNew question: pace=fast\n" in done.stdout
    assert (project / "docs/people.md").read_text() == "by Data Team, The A-Team\n"
