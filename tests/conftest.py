"""What the tests share: a clean copy of the template, a new user, and renders made once."""

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TOOLS = Path(sys.executable).parent
PYTHON = ("uv", "run", "--frozen", "--quiet", "python")
DVC = (*PYTHON[:-1], "dvc")

pytest_plugins = ("releases",)

Run = Callable[..., subprocess.CompletedProcess[str]]
Bake = Callable[..., Path]


@pytest.fixture(scope="session")
def scratch(tmp_path_factory) -> Path:
    """A folder for what the tests of one process share."""
    return tmp_path_factory.mktemp("cd4ml")


@pytest.fixture(scope="session")
def environment(scratch) -> dict[str, str]:
    """The variables of a new user: an empty home, no identity, no virtual environment, no lock.

    Of the tests' own tools, such as dvc, none is on PATH: call them by `TOOLS / "dvc"`.
    """
    home, temporary = scratch / "home", scratch / "tmp"
    home.mkdir()
    temporary.mkdir()
    foreign = ("GIT_", "VIRTUAL_ENV", "XDG_", "COOKIECUTTER_", "CD4ML_", "UV_PROJECT", "MAKE")
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(foreign)}
    return inherited | {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PATH": os.pathsep.join(p for p in os.environ["PATH"].split(os.pathsep) if p != str(TOOLS)),
        "GIT_CONFIG_NOSYSTEM": "1",
        "CD4ML_LOCK": "0",
        "PYTHONDONTWRITEBYTECODE": "1",  # tests share renders, and compare what is in them
    }


@pytest.fixture(scope="session")
def run(environment) -> Run:
    """Run a command as that user; `variables` are added, and taken away where they are None."""

    def run(*command, cwd, check=True, **variables) -> subprocess.CompletedProcess[str]:
        merged = {k: v for k, v in (environment | variables).items() if v is not None}
        done = subprocess.run(
            [str(part) for part in command],
            cwd=cwd,
            env={k: str(v) for k, v in merged.items()},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"{command} ended with {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done

    return run


@pytest.fixture(scope="session")
def git(run) -> Callable[..., str]:
    """Return what a git command prints; it commits under a name of its own."""
    who = {"NAME": "Tester", "EMAIL": "tester@example.com"}
    people = {f"GIT_{role}_{k}": v for role in ("AUTHOR", "COMMITTER") for k, v in who.items()}

    def git(folder, *arguments, **variables) -> str:
        return run("git", *arguments, cwd=folder, **people | variables).stdout.strip()

    return git


@pytest.fixture(scope="session")
def template(scratch, git) -> Path:
    """The working tree as a clean repository with one commit and one tag."""
    listed = git(ROOT, "ls-files", "--cached", "--others", "--exclude-standard", "-z")
    copy = scratch / "template"
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copy / name)
    git(scratch, "init", "--quiet", copy)
    git(copy, "symbolic-ref", "HEAD", "refs/heads/main")
    git(copy, "add", "--all")
    git(copy, "commit", "--quiet", "--message", "Publish")
    git(copy, "tag", "v0.0.1")
    return copy


@pytest.fixture(scope="session")
def render(run, template) -> Run:
    """Render into a folder with the real command: `render(folder, "-f", author_name="…")`."""

    def render(folder, *options, source=template, check=True, env=None, **answers):
        folder.mkdir(parents=True, exist_ok=True)
        named = [f"{question}={answer}" for question, answer in answers.items()]
        command = (sys.executable, "-m", "cookiecutter", source, "--no-input", *options, *named)
        return run(*command, cwd=folder, check=check, **env or {})

    return render


@pytest.fixture(scope="session")
def bake(render, scratch) -> Bake:
    """Return the project that some answers give, rendered once: read it, copy it to change it."""
    baked: dict[tuple, Path] = {}

    def bake(**answers: str) -> Path:
        key = tuple(sorted(answers.items()))
        if key not in baked:
            folder = scratch / "my prôjects" / str(len(baked))  # people have such folders
            render(folder, **answers)
            (baked[key],) = folder.iterdir()
        return baked[key]

    return bake


@pytest.fixture
def project(bake, tmp_path) -> Path:
    """A copy of the default project, to change at will."""
    return Path(shutil.copytree(bake(), tmp_path / "a project", symlinks=True))


@pytest.fixture(scope="session")
def needs() -> Callable[[str], str]:
    """Return the path of a program; without it skip, or fail where everything is installed."""

    def needs(name: str) -> str:
        found = shutil.which(name) or next(map(str, Path("/").glob(name.lstrip("/"))), None)
        if found:
            return found
        if os.environ.get("CI"):
            pytest.fail(f"{name} is not installed")
        pytest.skip(f"{name} is not installed")

    return needs


@pytest.fixture(scope="session")
def bare_tools(scratch):
    """A PATH with git and the shell, and nothing else that the project uses."""
    folder = scratch / "bare tools"
    folder.mkdir()
    for name in ("git", "sh", "cat"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def copy(project, target):
    """Copy a project to change it; its environment is made anew by the first command."""
    ignored = shutil.ignore_patterns(".venv")
    return Path(shutil.copytree(project, target, symlinks=True, ignore=ignored))


@pytest.fixture(scope="session")
def user(run, environment, scratch) -> Run:
    """Run commands as a new user with uv at hand; the cache of packages is shared."""
    (scratch / "bin").mkdir()
    (scratch / "bin" / "uv").symlink_to(TOOLS / "uv")
    return functools.partial(
        run,
        UV_CACHE_DIR=os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv"),
        PATH=f"{scratch / 'bin'}{os.pathsep}{environment['PATH']}",
        PYTHONDONTWRITEBYTECODE=None,
    )


@pytest.fixture(scope="session")
def living(bake, scratch, user, git) -> Path:
    """The default project, set up, reproduced, committed and pushed; read it, do not change it."""
    project = scratch / "a life" / "promotion_ranker"
    shutil.copytree(bake(), project, symlinks=True)
    user("make", "setup", cwd=project)
    user("make", "reproduce", cwd=project)
    git(project, "add", "--all")
    git(project, "commit", "--quiet", "--no-verify", "--message", "Reproduce")
    user(*DVC, "push", "--quiet", cwd=project)
    return project
