"""Generation on machines that lack something, or have settings of their own."""

import os
import shutil
import sys
import textwrap
from pathlib import Path

import pytest
from conftest import TOOLS
from projects import DONE, PARENT, SLUG, describe, read, write_tool


def test_without_git(render, template, tmp_path):
    done = render(tmp_path, env={"PATH": tmp_path / "none"})
    assert (tmp_path / SLUG / ".gitattributes").is_file()
    reason = "Skipped .cruft.json, git repository, first commit: git is not on PATH"
    assert reason in done.stdout.splitlines()
    assert PARENT in done.stdout.splitlines()


def test_with_git_alone_on_path(render, git, bake, bare_tools, tmp_path):
    render(tmp_path, env={"PATH": bare_tools})
    assert describe(git, tmp_path / SLUG) == DONE
    assert read(tmp_path / SLUG) == read(bake())


def test_with_an_old_git(render, git, tmp_path):
    real = shutil.which("git")
    old = write_tool(
        tmp_path / "old" / "git",
        f"""\
        case " $* " in *" init -b"*|*--initial-branch*) exit 129;; esac
        case "$2" in init.defaultBranch=*) shift 2;; esac
        exec "{real}" -c init.defaultBranch=master "$@"
        """,
    )
    render(tmp_path, env={"PATH": old})
    assert describe(git, tmp_path / SLUG) == DONE


def write_settings(home, text):
    home.mkdir(exist_ok=True)
    (home / ".gitconfig").write_text(textwrap.dedent(text))
    return {"HOME": home}


def test_identity_of_the_user_is_kept_as_committer(render, git, tmp_path):
    env = write_settings(tmp_path / "home", "[user]\nname = Ann\nemail = ann@example.org\n")
    render(tmp_path / "out", env=env)
    people = git(tmp_path / "out" / SLUG, "log", "--format=%an %ae %cn %ce")
    assert people == "Data Team data@example.com Ann ann@example.org"


def test_without_identity_even_if_git_may_not_guess(render, git, tmp_path):
    env = write_settings(tmp_path / "home", "[user]\nuseConfigOnly = true\n")
    render(tmp_path / "out", env=env)
    people = git(tmp_path / "out" / SLUG, "log", "--format=%an %cn")
    assert people == "Data Team Data Team"


AWKWARD = {
    "signing without a key": "[commit]\ngpgSign = true\n[gpg]\nprogram = /bin/false\n",
    "signing with ssh": "[commit]\ngpgSign = true\n[gpg]\nformat = ssh\n",
    "hooks": "[core]\nhooksPath = {hooks}\n",
    "template with hooks": "[init]\ntemplateDir = {template}\n",
    "ignored files": "[core]\nexcludesFile = {ignored}\n",
    "line ends": "[core]\nautocrlf = true\nsafecrlf = true\n",
    "editor": "[core]\neditor = /bin/false\n[commit]\nverbose = true\n",
    "trunk": "[init]\ndefaultBranch = trunk\n",
}


@pytest.mark.parametrize("name", AWKWARD)
def test_awkward_settings_do_not_stop_the_commit(render, git, bake, tmp_path, name):
    hooks = "pre-commit", "commit-msg", "prepare-commit-msg", "post-commit", "reference-transaction"
    for hook in hooks:
        write_tool(tmp_path / "template" / "hooks" / hook, f"touch {tmp_path}/ran; exit 1\n")
    (tmp_path / "ignored").write_text("*.lock\n*.yaml\n")
    paths = {name: tmp_path / name for name in ("template", "ignored")}
    paths["hooks"] = tmp_path / "template" / "hooks"
    env = write_settings(tmp_path / "home", AWKWARD[name].format(**paths))
    done = render(tmp_path / "out", env=env)
    assert "first commit" not in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    tracked = git(tmp_path / "out" / SLUG, "ls-tree", "-r", "HEAD")
    assert tracked == git(bake(), "ls-tree", "-r", "HEAD")
    assert not (tmp_path / "ran").exists()


def test_inside_another_repository(render, git, tmp_path):
    git(tmp_path, "init", "--quiet")
    done = render(tmp_path)
    project = tmp_path / SLUG
    assert not (project / ".git").exists()
    assert (project / ".cruft.json").is_file()
    outer = f"git repository, first commit: the project lies in the repository {tmp_path}"
    assert outer in done.stdout
    assert git(tmp_path, "for-each-ref") == ""
    assert git(tmp_path, "status", "--porcelain") == f"?? {SLUG}/"


def test_inside_another_repository_by_force(render, git, tmp_path):
    git(tmp_path, "init", "--quiet")
    render(tmp_path, env={"CD4ML_INIT": "1"})
    assert describe(git, tmp_path / SLUG) == DONE
    assert git(tmp_path, "for-each-ref") == ""


def test_inside_a_git_hook_of_another_repository(render, git, tmp_path):
    other = tmp_path / "other"
    git(tmp_path, "init", "--quiet", other)
    git(other, "commit", "--quiet", "--allow-empty", "--message", "theirs")
    before = read(other / ".git")
    foreign = {"GIT_DIR": other / ".git", "GIT_WORK_TREE": other, "GIT_PREFIX": "x/"}
    foreign |= {"GIT_INDEX_FILE": other / ".git" / "index", "GIT_AUTHOR_NAME": "Foreigner"}
    render(tmp_path / "out", env=foreign)
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert "Foreigner" not in git(tmp_path / "out" / SLUG, "log", "--format=%an%cn")
    assert read(other / ".git") == before
    assert git(other, "log", "--format=%s") == "theirs"


def test_without_network(render, git, tmp_path):
    uv = write_tool(tmp_path / "bin" / "uv", "echo 'error: no network' >&2; exit 2\n")
    env = {"CD4ML_LOCK": None, "UV": uv / "uv", "HTTPS_PROXY": "http://127.0.0.1:9"}
    done = render(tmp_path / "out", env=env)
    assert "Skipped uv.lock: no network" in done.stdout.splitlines()
    assert describe(git, tmp_path / "out" / SLUG) == DONE


@pytest.mark.slow
def test_without_network_real_uv_gives_up(render, git, tmp_path):
    path = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
    if not shutil.which("uv", path=path):
        pytest.skip("uv is not installed")
    nowhere = dict.fromkeys(("HTTPS_PROXY", "HTTP_PROXY", "ALL_PROXY"), "http://127.0.0.1:9")
    done = render(
        tmp_path / "out", env=nowhere | {"CD4ML_LOCK": None, "UV_NO_CACHE": "1", "PATH": path}
    )
    assert "Skipped uv.lock: " in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE


def test_lock_is_part_of_the_first_commit(render, git, tmp_path):
    uv = write_tool(tmp_path / "bin" / "uv", "echo 'version = 1' > uv.lock\n")
    path = f"{uv}{os.pathsep}{os.environ['PATH']}"
    render(tmp_path / "out", env={"CD4ML_LOCK": None, "UV": None, "PATH": path})
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert git(tmp_path / "out" / SLUG, "show", "HEAD:uv.lock") == "version = 1"


@pytest.mark.parametrize("change", ["README-draft.md", "cookiecutter.json"])
def test_changed_template_is_not_remembered(render, git, template, tmp_path, change):
    source = Path(shutil.copytree(template, tmp_path / "source"))
    with (source / change).open("a") as file:
        file.write("\n")
    done = render(tmp_path / "out", source=source)
    reason = "Skipped .cruft.json: the template has changes that are not committed"
    assert reason in done.stdout.splitlines()
    assert describe(git, tmp_path / "out" / SLUG) == DONE
    assert git(tmp_path / "out" / SLUG, "log", "--format=%s") == "Start from cd4ml-template"


def test_copy_without_history_is_not_remembered(render, git, template, tmp_path):
    copied = shutil.copytree(template, tmp_path / "copy", ignore=shutil.ignore_patterns(".git"))
    done = render(tmp_path / "out", source=copied)
    assert "Skipped .cruft.json: the template is not a git repository" in done.stdout
    assert describe(git, tmp_path / "out" / SLUG) == DONE


@pytest.mark.parametrize(
    ("wish", "left"), [("0", set()), ("render", {".cruft.json"}), ("1", {".cruft.json", ".git"})]
)
def test_wish_decides_what_is_left(render, tmp_path, wish, left):
    render(tmp_path, env={"CD4ML_INIT": wish})
    names = {path.name for path in (tmp_path / SLUG).iterdir()}
    assert names & {".cruft.json", ".git"} == left


def test_project_survives_when_nobody_reads_the_output(run, git, template, tmp_path):
    script = f'"{sys.executable}" -m cookiecutter "{template}" --no-input'
    run("sh", "-c", f"{script} | true", cwd=tmp_path)
    run("sh", "-c", f"{script} --output-dir second >&-", cwd=tmp_path, check=False)
    for folder in (tmp_path, tmp_path / "second"):
        assert describe(git, folder / SLUG) == DONE


def test_project_survives_a_terminal_without_letters(render, git, tmp_path):
    out = tmp_path / "dépôt"
    git(tmp_path, "init", "--quiet", out)
    done = render(out, env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"})
    assert PARENT in done.stdout.splitlines()
