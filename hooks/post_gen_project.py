"""Make a project of the render: prune it, remember its template, give it a first commit.

Cookiecutter deletes a project whose hook fails. So a step that cannot be done is reported and the
next one is tried, and each step looks at its own state: running again with `-f` does what is left.
"""

import json
import os
import re
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

# The only Jinja of this file. Pairs, because the filter sorts the keys of a mapping.
CONTEXT = r"""{{ cookiecutter.items() | list | tojson }}"""

# Any other GIT_ variable speaks of the repository that somebody generates from, not of ours.
KEPT = {"GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM", "GIT_EXEC_PATH"}
# The user's own settings must neither change, stop nor slow down the first commit, which goes into
# one pack: that costs git half of what a file an object does.
PLAIN = (
    "core.bigFileThreshold=1",
    "core.compression=1",
    f"core.excludesFile={os.devnull}",
    f"core.hooksPath={os.devnull}",
    "core.safecrlf=false",
    "filter.nbstripout.clean=",
    "gc.auto=0",
    "maintenance.auto=false",
)
# Else git gives its buffers back to the system after each file: a quarter of what adding costs.
FRUGAL = {"MALLOC_TRIM_THRESHOLD_": "16777216"}
LOCK_SECONDS = 60


def main() -> None:
    """Prune, finish, and say what is missing and what comes next."""
    context, project = dict(json.loads(CONTEXT)), Path.cwd()
    wish = os.environ.get("CD4ML_INIT", "")
    prune(context, project)
    allow_running(context, project)
    if wish == "0" or (wish == "" and is_throwaway(context, project)):
        return
    steps = {".cruft.json": remember}
    if wish != "render":
        steps |= {"git repository": initialise, "uv.lock": lock, "first commit": commit}
    for reason, names in finish(context, project, steps).items():
        say(f"Skipped {', '.join(names)}: {reason}")
    if wish != "render":
        say(f"Next: cd {project.name} && make setup")


def finish(context: dict, project: Path, steps: dict) -> dict[str, list[str]]:
    """Take the steps, and return those that cannot be done by reason."""
    skipped: dict[str, list[str]] = {}
    for name, step in steps.items():
        try:
            step(context, project)
        except Exception as reason:
            skipped.setdefault(str(reason), []).append(name)
    return skipped


def say(text: str) -> None:
    """Print, though the terminal may lack the letters and nobody may be reading."""
    with suppress(OSError, ValueError, AttributeError):
        sys.stdout.reconfigure(errors="backslashreplace")
        print(text, flush=True)


def run(*command: str, cwd: Path, timeout: int | None = None, **variables: str) -> str:
    """Return what a command prints, or raise the reason it gives for failing."""
    inherited = {k: v for k, v in os.environ.items() if k in KEPT or not k.startswith("GIT_")}
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            env=inherited | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise RuntimeError(f"{command[0]} took longer than {timeout} seconds") from None
    except OSError:
        raise RuntimeError(f"{command[0]} is not on PATH") from None
    if done.returncode:
        stated = re.search(r"^(?:fatal|error): (.+)", done.stderr, re.M)
        last = [command[0] + " failed", *done.stderr.split("\n")]
        raise RuntimeError(stated[1] if stated else next(line for line in last[::-1] if line))
    return done.stdout.strip()


def prune(context: dict, project: Path) -> None:
    """Remove what only other answers need, and the folders that this leaves empty."""
    for question, answers in context["_only_for"].items():
        needed = answers.get(context[question], [])
        for name in {name for names in answers.values() for name in names}.difference(needed):
            remove(project / name)
            for folder in (project / name).parents:
                if folder == project or not folder.is_dir() or any(folder.iterdir()):
                    break
                folder.rmdir()


def remove(path: Path) -> None:
    """Remove a file or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        for child in path.iterdir():
            remove(child)
        path.rmdir()
    else:
        path.unlink(missing_ok=True)


def allow_running(context: dict, project: Path) -> None:
    """Mark scripts as such, since cookiecutter takes no modes out of an archive."""
    if context.get("_template", "").lower().endswith(".zip"):
        for path in project.rglob("*"):
            if path.is_file() and path.read_bytes()[:2] == b"#!":
                path.chmod(0o755)


def is_throwaway(context: dict, project: Path) -> bool:
    """Recognise a render that `cruft diff` or `cruft update` compares and deletes."""
    if "_output_dir" in context:  # cookiecutter names it, cruft does not
        return False
    import tempfile  # not above: it takes as long to import as all the rest

    parent = project.parent
    return (
        re.fullmatch(r"tmp[a-z0-9_]{8}", parent.name) is not None
        and parent.parent == Path(tempfile.gettempdir()).resolve()
        and len(list(parent.iterdir())) == 1
    )


def remember(context: dict, project: Path) -> None:
    """Write what cruft writes, so that the project can follow its template."""
    template, revision, checkout = find_origin(context)
    unshared = {"_output_dir", "_repo_dir", "_checkout"}
    answers = {key: value for key, value in context.items() if key not in unshared}
    state = {
        "template": template,
        "commit": revision,
        "checkout": checkout,
        "context": {"cookiecutter": answers | {"_template": template, "_commit": revision}},
        "directory": None,
    }
    text = json.dumps(state, ensure_ascii=False, indent=2, separators=(",", ": "))
    (project / ".cruft.json").write_text(text + "\n", encoding="utf-8")


def find_origin(context: dict) -> tuple[str, str, str | None]:
    """Name the template, its commit and the checkout asked for, so that others find them again."""
    if "_output_dir" not in context:
        if "_commit" not in context:
            raise RuntimeError("this version of cruft writes it later, so commit it yourself")
        return context["_template"], context["_commit"], None
    folder = find_template(context)
    if not (folder / ".git").exists():
        return find_archive(context, folder)
    asked = ("status", "--porcelain=v2", "--branch")
    lines = run("git", "--no-optional-locks", *asked, cwd=folder).split("\n")
    if not all(line.startswith("# ") for line in lines):
        raise RuntimeError("the template has changes that are not committed")
    facts = dict(line.split(" ", 2)[1:] for line in lines)
    cloned = not context["_repo_dir"].startswith(context["_template"])
    url = str(folder.resolve())
    if cloned or facts.get("branch.ab", "").startswith("+0 "):  # others have this commit, too
        url = run("git", "config", "remote.origin.url", cwd=folder)
    return share(url), facts["branch.oid"], context["_checkout"] if cloned else None


def share(url: str) -> str:
    """An address without a secret, and as a path where cruft writes one."""
    return re.sub(r"^(https?://)[^/@]*@|^file://", r"\1", url)


def find_archive(context: dict, folder: Path) -> tuple[str, str, None]:
    """Name the repository that a forge archived, and the commit that git wrote into the archive."""
    note, name = folder / ".git_archival.txt", context["_template"]
    stated = re.match(
        r"node: ([0-9a-f]{40})$", note.read_text("utf-8") if note.exists() else "", re.M
    )
    if not stated:
        raise RuntimeError("the template is not a git repository")
    forge = re.match(r"(https?://.+?)(?:/-)?/(?:archive|get)/", name)
    url = forge[1] if forge else str(Path(os.environ.get("PWD", ""), name).resolve())
    return share(url), stated[1], None


def find_template(context: dict) -> Path:
    """Find the template: cookiecutter, our parent, stands in it but may know a relative name."""
    named = Path(os.environ.get("PWD", ""), context["_repo_dir"])
    parent = Path(f"/proc/{os.getppid()}/cwd")
    known = Path(context["_repo_dir"]).is_absolute() or not parent.exists()
    return named if known else parent


def initialise(context: dict, project: Path) -> None:
    """Give the project a repository and the drivers of its `.gitconfig`."""
    refuse_nesting(project)
    head = project / ".git" / "HEAD"
    if not head.exists():
        git(project, "-c", "init.defaultBranch=main", "init", "--quiet")
        if "main" not in head.read_text("utf-8"):  # git before 2.28
            git(project, "symbolic-ref", "HEAD", "refs/heads/main")
    git(project, "config", "--local", "include.path", "../.gitconfig", r"^\.\./\.gitconfig$")


def refuse_nesting(project: Path) -> None:
    """Leave a project alone that another repository contains, unless told otherwise."""
    outer = [folder for folder in project.parents if (folder / ".git").exists()]
    if outer and not (project / ".git").exists() and os.environ.get("CD4ML_INIT") != "1":
        raise RuntimeError(f"the project lies in the repository {outer[0]}")


def git(project: Path, *arguments: str, **variables: str) -> str:
    """Run git on the project's own repository, never on one around it."""
    variables["GIT_CEILING_DIRECTORIES"] = str(project.parent)
    return run("git", *arguments, cwd=project, **variables)


def lock(context: dict, project: Path) -> None:
    """Pin the dependencies, if that takes neither an installation nor long."""
    if (project / "uv.lock").exists():
        return
    if os.environ.get("CD4ML_LOCK") == "0":
        raise RuntimeError("CD4ML_LOCK is 0")
    run(os.environ.get("UV") or "uv", "lock", cwd=project, timeout=LOCK_SECONDS)


def commit(context: dict, project: Path) -> None:
    """Commit the render as it is: an update merges against it."""
    refuse_nesting(project)
    if (project / ".git" / "index").exists():  # else nothing was ever added
        with suppress(RuntimeError):
            git(project, "rev-parse", "--verify", "--quiet", "HEAD")
            return
    origin = project / ".cruft.json"
    revision = json.loads(origin.read_text("utf-8"))["commit"][:7] if origin.exists() else ""
    plain = [word for setting in PLAIN for word in ("-c", setting)]
    git(project, *plain, "add", "--all", **FRUGAL)
    # As young as the files, the index would make git hash them all once more.
    later = time.time() + 1
    os.utime(project / ".git" / "index", (later, later))
    message = f"Start from cd4ml-template {revision}".strip()
    arguments = ("commit", "--quiet", "--no-verify", "--no-gpg-sign", "--message", message)
    git(project, *plain, *arguments, **FRUGAL, **name_people(context, project))


def name_people(context: dict, project: Path) -> dict[str, str]:
    """Name the author as answered, and as committer whom git does not know already."""
    people, known = {}, git(project, "config", "--list", "--name-only").split("\n")
    for part in ("name", "email"):
        answer = " ".join(context[f"author_{part}"].split())
        people[f"GIT_AUTHOR_{part.upper()}"] = answer
        if f"user.{part}" not in known:
            people[f"GIT_COMMITTER_{part.upper()}"] = answer
    return people


if __name__ == "__main__":
    try:
        main()
    except (Exception, KeyboardInterrupt) as error:
        say(f"Stopped early, the project is there ({error!r}). Run again with -f to finish it.")
    finally:
        os._exit(0)
