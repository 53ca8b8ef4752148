"""The scheduled job proposes a release, against a remote and a provider on loopback."""

import json
import os
import re
import shutil

import pytest
from conftest import TOOLS, copy
from forges import serving
from projects import SLUG, commit, edit, write, write_tool
from releases import FOLDER, VERB, set_state
from test_delivery_providers import FORGES, SECRET, TOKENS, VARIABLES

STUB = """
from pathlib import Path
def reproduce(arguments):
    Path("dvc.lock").write_text("made anew")
    return int(Path("broken").exists())
def report(arguments):
    Path("reports/delivery").mkdir(parents=True)
    from . import providers
    base = f"Compared with {providers.context().base}."
    lines = ["No metric moved.", base, *["More of it."] * 400]
    Path("reports/delivery/report.md").write_text("\\n".join(lines))
    return int(Path("refused").exists())
VERBS |= {"reproduce": "__main__.reproduce", "report": "__main__.report"}
"""
BRANCH = "template-update/v3.0.0"
TITLE = "Update the template from v1.0.0 to v3.0.0"
everywhere = pytest.mark.parametrize("provider", FORGES)


@pytest.fixture
def provider():
    """What runs the job, where a test does not say."""
    return "github"


@pytest.fixture
def project(provider, generate, git, tmp_path):
    """A project of v1.0.0, whose pipeline is a stand-in."""
    project = copy(generate("v1.0.0", ci=provider), tmp_path / SLUG)
    main = project / "delivery" / "__main__.py"
    edit(main, "\n\ndef main(", f"\n{STUB}\n\ndef main(")
    commit(git, project, "Reproduce fast")
    return project


@pytest.fixture
def push(git, tmp_path):
    """Give a project a remote of its own."""

    def push(project):
        git(tmp_path, "init", "--quiet", "--bare", "remote.git")
        git(project, "remote", "add", "origin", tmp_path / "remote.git")
        git(project, "push", "--quiet", "--no-verify", "origin", "HEAD:refs/heads/main")
        return tmp_path / "remote.git"

    return push


@pytest.fixture
def remote(project, push):
    """The remote of the project."""
    return push(project)


@pytest.fixture
def job(user, provider, tmp_path):
    """Run the scheduled job in a project, as its provider does."""
    event = tmp_path / "event.json"
    event.write_text('{"schedule": "x"}')
    tools = write_tool(tmp_path / "tools" / "make", "exit 0\n")
    with serving(FORGES[provider]()) as forge:
        scheduled = {
            "azure": {"BUILD_REASON": "Schedule", "SYSTEM_COLLECTIONURI": f"{forge.url}/"},
            "bitbucket": {"PIPELINE_EVENT": "schedule", "BITBUCKET_API_URL": forge.url},
            "github": {
                "GITHUB_API_URL": forge.url,
                "GITHUB_EVENT_NAME": "schedule",
                "GITHUB_EVENT_PATH": event,
            },
            "gitlab": {"CI_PIPELINE_SOURCE": "schedule", "CI_API_V4_URL": forge.url},
        }
        variables = VARIABLES[provider] | scheduled[provider] | {TOKENS[provider]: SECRET}
        variables |= {"PATH": f"{tools}{os.pathsep}{TOOLS}{os.pathsep}{os.environ['PATH']}"}

        def job(project, command=VERB, **more):
            own = variables | {"no_proxy": "*"} | more
            return user(*command, "--pull-request", cwd=project, check=False, **own)

        job.forge = forge
        yield job


def proposal(job):
    """The one pull request: title, branch, text, and whether it is a draft."""
    (pull,) = job.forge.pulls
    return job.forge.proposal(pull)


@everywhere
def test_every_provider_has_the_scheduled_job(bake, provider):
    project = bake(ci=provider)
    texts = [path.read_text() for path in project.rglob("*.yml") if ".git" not in path.parts]
    (text,) = (text for text in texts if "-m delivery template-update --pull-request" in text)
    assert "schedule" in text


@everywhere
def test_scheduled_job_opens_a_pull_request_once(git, remote, job, tmp_path):
    before = git(remote, "rev-parse", "main")
    git(tmp_path, "clone", "--quiet", "--depth=1", "--branch=main", remote.as_uri(), "runner")
    runner = tmp_path / "runner"
    git(runner, "checkout", "--quiet", "--detach")
    done = job(runner)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].endswith(("pull/1", "pullrequest/1"))
    title, branch, text, is_draft = proposal(job)
    assert (title, branch, is_draft) == (TITLE, BRANCH, False)
    reported = {"- New question: squad=nobody", "No metric moved.", f"Compared with {before}."}
    assert reported <= set(text.splitlines())
    assert git(remote, "log", "--format=%s", f"main..{BRANCH}") == f"Reproduce\n{TITLE}"
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


@everywhere
def test_scheduled_job_opens_a_draft_with_the_list_of_conflicts(project, git, remote, job):
    write(project, {"docs/plan.md": "one\nzwei\nthree\n"})
    commit(git, project)
    done = job(project)
    assert done.returncode == 0, done.stderr
    title, branch, text, is_draft = proposal(job)
    assert (title, branch, is_draft) == (TITLE, BRANCH, True)
    assert "- Needs you: docs/plan.md (changed here and by the template)" in text
    assert "<<<<<<<" in git(remote, "show", f"{BRANCH}:docs/plan.md")
    assert "No metric moved" not in text


FAILURES = {
    "broken": "`delivery reproduce` fails",
    "refused": "`delivery report` refuses",
}


@pytest.mark.parametrize("failure", FAILURES)
def test_scheduled_job_opens_a_draft_when_the_pipeline_fails(project, git, remote, job, failure):
    write(project, {failure: ""})
    commit(git, project)
    assert job(project).returncode == 0
    *_, text, is_draft = proposal(job)
    assert is_draft
    assert f"- Needs you: {FAILURES[failure]}" in text
    assert ("No metric moved" in text) == (failure == "refused")


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


@pytest.mark.slow
@pytest.mark.xdist_group("project")
def test_scheduled_job_says_what_a_release_does_to_the_model(
    living, template, user, git, push, job, tmp_path
):
    project, stage = copy(living, tmp_path / SLUG), tmp_path / "stage"
    shutil.copytree(living.parent / f"{SLUG}-storage", tmp_path / f"{SLUG}-storage")
    git(tmp_path, "clone", "--quiet", template, stage)
    edit(stage / FOLDER / "params.yaml", "  rounds: 30\n", "  rounds: 10\n")
    git(stage, "commit", "--all", "--quiet", "--message", "Train for less long")
    git(stage, "tag", "v1.0.0")
    set_state(git, project, template=str(stage))
    remote = push(project)
    user("make", "setup", cwd=project)
    python = (".venv/bin/python", *VERB[2:])
    done = job(project, python, PATH=user.keywords["PATH"])
    assert done.returncode == 0, done.stderr
    *_, text, is_draft = proposal(job)
    assert not is_draft, text
    branch = "template-update/v1.0.0"
    old, new = (git(remote, "show", f"{tip}:reports/metrics.json") for tip in ("main", branch))
    assert json.loads(old) != json.loads(new)
    assert re.search(r"^\| `train.rounds` \| `30` \| `10` \|$", text, re.MULTILINE), text
    changes = re.findall(r"^\| `[\w.]+` \| .+ \| (.+) \|$", text, re.MULTILINE)
    assert any(change != "=" for change in changes)
