"""The scheduled job proposes a release, against a remote and a provider on loopback."""

import os

import pytest
from conftest import TOOLS
from forges import serving
from projects import commit, edit, write, write_tool
from releases import outdated, set_state  # noqa: F401
from test_delivery_providers import FORGES, GITHUB, SECRET

STUB = """
from pathlib import Path
def reproduce(arguments):
    Path("dvc.lock").write_text("made anew")
    return int(Path("broken").exists())
def report(arguments):
    Path("reports/delivery").mkdir(parents=True)
    Path("reports/delivery/report.md").write_text("No metric moved.")
    return 0
VERBS |= {"reproduce": "__main__.reproduce", "report": "__main__.report"}
"""


@pytest.fixture
def remote(project, git, tmp_path):
    """The project's own remote; its pipeline is a stand-in."""
    main = project / "delivery" / "__main__.py"
    edit(main, "\n\ndef main(", f"\n{STUB}\n\ndef main(")
    commit(git, project, "Reproduce fast")
    git(tmp_path, "init", "--quiet", "--bare", "remote.git")
    git(project, "remote", "add", "origin", tmp_path / "remote.git")
    git(project, "push", "--quiet", "origin", "HEAD:refs/heads/main")
    return tmp_path / "remote.git"


@pytest.fixture
def job(update, remote, tmp_path):
    """Run the scheduled job in a project, as GitHub does."""
    tools = write_tool(tmp_path / "tools" / "make", "exit 0\n")
    (tmp_path / "event.json").write_text('{"schedule": "x"}')
    with serving(FORGES["github"]()) as forge:
        variables = GITHUB | {
            "GITHUB_API_URL": forge.url,
            "GITHUB_EVENT_NAME": "schedule",
            "GITHUB_EVENT_PATH": tmp_path / "event.json",
            "GITHUB_TOKEN": SECRET,
            "PATH": f"{tools}{os.pathsep}{TOOLS}{os.pathsep}{os.environ['PATH']}",
            "no_proxy": "*",
        }

        def job(project, **more):
            return update(project, "--pull-request", check=False, **variables | more)

        job.forge = forge
        yield job


BRANCH = "template-update/v3.0.0"


@pytest.mark.parametrize("provider", FORGES)
def test_every_provider_has_the_scheduled_job(bake, provider):
    project = bake(ci=provider)
    texts = [path.read_text() for path in project.rglob("*.yml") if ".git" not in path.parts]
    (text,) = (text for text in texts if "-m delivery template-update --pull-request" in text)
    assert "schedule" in text


def test_scheduled_job_opens_a_pull_request_once(project, git, remote, job, tmp_path):
    before = git(remote, "rev-parse", "main")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=main", remote.as_uri(), "runner")
    runner = tmp_path / "runner"
    git(runner, "checkout", "--quiet", "--detach")
    done = job(runner)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "pull/1"
    (pull,) = job.forge.pulls
    title = "Update the template from v1.0.0 to v3.0.0"
    assert (pull["title"], pull["head"], pull["draft"]) == (title, BRANCH, False)
    assert {"- New question: squad=nobody", "No metric moved."} <= set(pull["body"].splitlines())
    assert git(remote, "log", "--format=%s", f"main..{BRANCH}") == f"Reproduce\n{title}"
    assert git(remote, "show", f"{BRANCH}:dvc.lock") == "made anew"
    assert git(remote, "rev-parse", "main") == before
    git(tmp_path, "clone", "--quiet", "--branch=main", remote.as_uri(), "next week")
    done = job(tmp_path / "next week")
    assert done.stdout == f"{BRANCH} waits to be merged or removed.\n"
    git(remote, "update-ref", "refs/heads/main", BRANCH)
    git(remote, "update-ref", "-d", f"refs/heads/{BRANCH}")
    git(tmp_path, "clone", "--quiet", "--branch=main", remote.as_uri(), "merged")
    done = job(tmp_path / "merged")
    assert (done.returncode, done.stdout) == (0, "There is no later release of the template.\n")
    assert len(job.forge.pulls) == 1


def test_scheduled_job_opens_a_draft_with_the_list_of_conflicts(project, git, remote, job):
    write(project, {"docs/plan.md": "one\nzwei\nthree\n"})
    commit(git, project)
    assert job(project).returncode == 0
    (pull,) = job.forge.pulls
    assert pull["draft"]
    assert "- Needs you: docs/plan.md (changed here and by the template)" in pull["body"]
    assert "<<<<<<<" in git(remote, "show", f"{BRANCH}:docs/plan.md")
    assert "No metric moved" not in pull["body"]


def test_scheduled_job_opens_a_draft_when_the_pipeline_breaks(project, git, remote, job):
    write(project, {"broken": ""})
    commit(git, project)
    assert job(project).returncode == 0
    (pull,) = job.forge.pulls
    assert pull["draft"]
    assert "- Needs you: `delivery reproduce` fails" in pull["body"]


def test_scheduled_job_that_may_not_push_opens_an_issue(project, git, remote, job):
    write_tool(remote / "hooks" / "pre-receive", "echo no workflows for you >&2; exit 1\n")
    for _ in range(2):
        assert job(project).returncode == 0
        git(project, "checkout", "--quiet", "main")
    (issue,) = job.forge.issues
    assert "no workflows for you" in issue["body"]
    assert job.forge.pulls == []
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"


def test_scheduled_job_fails_where_the_template_cannot_be_reached(project, git, remote, job):
    set_state(git, project, template="http://127.0.0.1:9/t.git")
    assert job(project).returncode == 2
    assert git(remote, "for-each-ref", "--format=%(refname)") == "refs/heads/main"
    assert job.forge.calls == []
    assert git(project, "symbolic-ref", "--short", "HEAD") == "main"
