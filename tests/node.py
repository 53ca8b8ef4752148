"""Node and what of npm the tests need, in a folder that stays."""

import fcntl
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from conftest import ROOT, TOOLS

PACKAGES = (
    "@actions/expressions@0.3.61",
    "@actions/workflow-parser@0.3.61",
    "gitlab-ci-local@4.75.1",
)
FOLDER = ROOT / "build" / "node"


@pytest.fixture(scope="session")
def node() -> Path:
    """The folder: bin/node, node_modules, and our github.mjs beside them."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    with (FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        mark = FOLDER / "packages"
        if not mark.exists() or mark.read_text() != "\n".join(PACKAGES):
            _install(mark)
        if not (FOLDER / "bin").exists():
            (FOLDER / "bin").symlink_to(TOOLS)
        shutil.copy(ROOT / "tests/runners/github.mjs", FOLDER / f"github-{os.getpid()}.mjs")
        (FOLDER / f"github-{os.getpid()}.mjs").replace(FOLDER / "github.mjs")
    return FOLDER


def _install(mark: Path) -> None:
    (FOLDER / "package.json").write_text("{}\n")
    quiet = ("--no-audit", "--no-fund", "--no-package-lock", "--loglevel=error")
    environment = os.environ | {"PATH": f"{TOOLS}{os.pathsep}{os.environ['PATH']}"}
    command = [TOOLS / "npm", "install", *quiet, *PACKAGES]
    done = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True)
    if done.returncode:
        reason = f"npm cannot install: {done.stderr}"
        pytest.fail(reason) if os.environ.get("CI") else pytest.skip(reason)
    mark.write_text("\n".join(PACKAGES))
