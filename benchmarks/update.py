"""What an update costs beside its floor, the two renders: `python benchmarks/update.py`.

CPU seconds of the whole process tree. An update of a project without edits keeps to three times
two plain renders.
"""

import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
RUNS = 5
NAME = {
    f"GIT_{role}_{part}": "b@b.b" for role in ("AUTHOR", "COMMITTER") for part in ("NAME", "EMAIL")
}
TOOLS = Path(sys.executable).parent
# git finds the notebooks' filter, as it does in a project that is set up
FOUND = f"{TOOLS}{os.pathsep}{os.environ['PATH']}"
QUIET = {"CD4ML_LOCK": "0", "CD4ML_INIT": "1", "UV": str(TOOLS / "uv"), "PATH": FOUND}
UPDATE = (sys.executable, "-m", "delivery", "template-update")


def run(*command: str | Path, folder: Path, **variables: str) -> float:
    """Return the CPU seconds that a command takes with all that it starts."""
    inherited = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    own = inherited | NAME | QUIET | variables
    subprocess.run(command, cwd=folder, env=own, capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def publish(folder: Path) -> Path:
    """Make two releases: the committed template, and a few longer files."""
    template = folder / "template"
    run("git", "clone", "--quiet", "--no-tags", ROOT, template, folder=folder)
    run("git", "tag", "v1.0.0", folder=template)
    for path in sorted((template / "{{cookiecutter.project_slug}}").rglob("*.py"))[::10]:
        path.write_text(path.read_text() + "# later\n")
    run("git", "commit", "--all", "--quiet", "--message", "Later", folder=template)
    run("git", "tag", "v2.0.0", folder=template)
    return template


def main() -> None:
    """Print the median of the update, of two renders, and their ratio."""
    updates, renders = [], []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        template = publish(folder)
        render = (sys.executable, "-m", "cookiecutter", template, "--no-input", "--output-dir")
        run("git", "checkout", "--quiet", "v1.0.0", folder=template)
        run(*render, folder / "first", folder=folder)
        (project,) = (folder / "first").iterdir()
        for turn in range(RUNS + 1):
            copy = shutil.copytree(project, folder / f"project{turn}")
            run("git", "status", folder=copy)  # as in a folder in use, git knows the files by sight
            updates.append(run(*UPDATE, folder=copy))
            renders.append(
                run(*render, folder / f"render{turn}", folder=folder, CD4ML_INIT="0") * 2
            )
    update, floor = (statistics.median(seconds[1:]) for seconds in (updates, renders))
    print(f"update {update:.2f} CPU s, two renders {floor:.2f}: {update / floor:.2f} times (3)")


if __name__ == "__main__":
    main()
