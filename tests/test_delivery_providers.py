"""Providers: what their variables say of a run, and what is written through their APIs."""

import base64
import json
import shutil
import sys
from types import SimpleNamespace

import pytest
from forges import Azure, Bitbucket, GitHub, GitLab, serving

MARKER = "[//]: # (the model's report)"
SECRET = "very-secret-value"  # noqa: S105
BASIC = "Basic " + base64.b64encode(f":{SECRET}".encode()).decode()
FORGES = {
    "azure": lambda: Azure(("Authorization", BASIC)),
    "bitbucket": lambda: Bitbucket(("Authorization", f"Bearer {SECRET}")),
    "github": lambda: GitHub(("Authorization", f"Bearer {SECRET}")),
    "gitlab": lambda: GitLab(("PRIVATE-TOKEN", SECRET)),
}
TOKENS = {
    "azure": "SYSTEM_ACCESSTOKEN",
    "bitbucket": "BITBUCKET_TOKEN",
    "github": "GITHUB_TOKEN",
    "gitlab": "GITLAB_TOKEN",
}
LIMITS = {"azure": 150_000, "bitbucket": 32_768, "github": 65_536, "gitlab": 1_000_000}
READ = """
import dataclasses, json
from delivery import providers
print(json.dumps(dataclasses.asdict(providers.context()), default=str))
"""
TELL = """
import sys
from delivery import providers
providers.tell(providers.context(), sys.stdin.read())
"""
CALL = """
import json, sys
from delivery import DeliveryError, providers
function, *arguments = json.loads(sys.stdin.read())
try:
    print(getattr(providers.find(), function)(providers.context(), *arguments))
except DeliveryError as refusal:
    sys.exit(str(refusal))
"""


@pytest.fixture(scope="module")
def repository(scratch, git):
    """A repository whose feature branch began before main's end, and their merge."""
    folder = scratch / "repository"
    folder.mkdir()
    git(folder, "init", "--quiet", "--initial-branch=main")

    def commit(message):
        git(folder, "commit", "--quiet", "--allow-empty", "--message", message)
        return git(folder, "rev-parse", "HEAD")

    commits = SimpleNamespace(first=commit("First"), fork_point=commit("Fork point"))
    git(folder, "checkout", "--quiet", "-b", "feature")
    commit("Feature")
    commits.feature = commit("More of the feature")
    git(folder, "checkout", "--quiet", "main")
    commits.main = commit("Main went on")
    git(folder, "tag", "v1.0.0")
    git(folder, "checkout", "--quiet", "--detach")
    git(folder, "merge", "--quiet", "--no-ff", "--message", "Merge", "feature")
    commits.merged = git(folder, "rev-parse", "HEAD")
    git(folder, "update-ref", "refs/remotes/origin/main", commits.main)
    git(folder, "branch", "--quiet", "-D", "main")
    return folder, commits


@pytest.fixture
def clone(repository, bake, tmp_path, git):
    """Make a checkout of a commit that holds the `delivery/` of a provider's project."""

    def clone(provider, commit):
        folder = tmp_path / "clone"
        shutil.copytree(repository[0], folder)
        git(folder, "checkout", "--quiet", "--detach", getattr(repository[1], commit))
        shutil.copytree(bake(ci=provider) / "delivery", folder / "delivery")
        return folder

    return clone


@pytest.fixture
def github_event(tmp_path):
    def write(repository, commits, source="team/ranker"):
        change = {
            "number": 7,
            "head": {"sha": commits.feature, "ref": "feature", "repo": source},
            "base": {"sha": commits.main, "ref": "main"},
        }
        if source:
            change["head"]["repo"] = {"full_name": source}
        path = tmp_path / "event.json"
        path.write_text(json.dumps({"pull_request": change} if repository else {"schedule": "x"}))
        return path

    return write


GITHUB = {
    "GITHUB_ACTIONS": "true",
    "GITHUB_REPOSITORY": "team/ranker",
    "GITHUB_SERVER_URL": "https://github.example",
    "GITHUB_RUN_ID": "123",
    "GITHUB_SHA": "{merged}",
    "GITHUB_REF_TYPE": "branch",
    "GITHUB_REF_NAME": "main",
}
GITLAB = {
    "GITLAB_CI": "true",
    "CI_PROJECT_ID": "1",
    "CI_PROJECT_PATH": "team/ranker",
    "CI_PROJECT_URL": "https://gitlab.example/team/ranker",
    "CI_PIPELINE_URL": "https://gitlab.example/team/ranker/-/pipelines/9",
    "CI_COMMIT_SHA": "{main}",
}
MERGE_REQUEST = {
    "CI_PIPELINE_SOURCE": "merge_request_event",
    "CI_COMMIT_SHA": "{feature}",
    "CI_MERGE_REQUEST_IID": "7",
    "CI_MERGE_REQUEST_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_PROJECT_PATH": "team/ranker",
    "CI_MERGE_REQUEST_PROJECT_URL": "https://gitlab.example/team/ranker",
    "CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "1",
    "CI_MERGE_REQUEST_SOURCE_BRANCH_NAME": "feature",
    "CI_MERGE_REQUEST_TARGET_BRANCH_NAME": "main",
    "CI_MERGE_REQUEST_DIFF_BASE_SHA": "{fork_point}",
}
AZURE = {
    "TF_BUILD": "True",
    "SYSTEM_COLLECTIONURI": "https://dev.example/org/",
    "SYSTEM_TEAMPROJECT": "The team",
    "BUILD_REPOSITORY_NAME": "ranker",
    "BUILD_BUILDID": "55",
    "BUILD_SOURCEBRANCH": "refs/heads/main",
    "BUILD_SOURCEVERSION": "{main}",
}
AZURE_PULL = {
    "BUILD_REASON": "PullRequest",
    "BUILD_SOURCEBRANCH": "refs/pull/7/merge",
    "BUILD_SOURCEVERSION": "{merged}",
    "SYSTEM_PULLREQUEST_PULLREQUESTID": "7",
    "SYSTEM_PULLREQUEST_SOURCECOMMITID": "{feature}",
    "SYSTEM_PULLREQUEST_SOURCEBRANCH": "refs/heads/feature",
    "SYSTEM_PULLREQUEST_TARGETBRANCH": "refs/heads/main",
    "SYSTEM_PULLREQUEST_ISFORK": "False",
}
BITBUCKET = {
    "BITBUCKET_BUILD_NUMBER": "12",
    "BITBUCKET_REPO_FULL_NAME": "team/ranker",
    "BITBUCKET_GIT_HTTP_ORIGIN": "https://bitbucket.example/team/ranker",
    "BITBUCKET_COMMIT": "{main}",
    "BITBUCKET_BRANCH": "main",
}
BITBUCKET_PULL = {
    "BITBUCKET_PR_ID": "7",
    "BITBUCKET_COMMIT": "{feature}",
    "BITBUCKET_BRANCH": "feature",
    "BITBUCKET_PR_DESTINATION_BRANCH": "main",
    "BITBUCKET_PR_DESTINATION_COMMIT": "{main}",
}
PULL = {"event": "pull_request", "head": "feature", "branch": "feature", "pull_request": 7}
PUSH = {"event": "push", "head": "main", "base": "fork_point", "branch": "main"}
TAG = {"event": "tag", "head": "main", "base": "fork_point", "tag": "v1.0.0", "branch": ""}
# provider, what is checked out, its variables, what has to be understood
RUNS = {
    "github-pull": ("merged", {"GITHUB_EVENT_NAME": "pull_request"}, PULL | {"base": "main"}),
    "github-head": (
        "feature",
        {"GITHUB_EVENT_NAME": "pull_request"},
        PULL | {"base": "fork_point", "fork": False},
    ),
    "github-fork": ("merged", {"GITHUB_EVENT_NAME": "pull_request", "FROM": "x/y"}, {"fork": True}),
    "github-gone": ("merged", {"GITHUB_EVENT_NAME": "pull_request", "FROM": ""}, {"fork": True}),
    "github-push": ("main", {"GITHUB_EVENT_NAME": "push", "GITHUB_SHA": "{main}"}, PUSH),
    "github-tag": (
        "main",
        {
            "GITHUB_EVENT_NAME": "push",
            "GITHUB_SHA": "{main}",
            "GITHUB_REF_TYPE": "tag",
            "GITHUB_REF_NAME": "v1.0.0",
        },
        TAG,
    ),
    "github-button": ("main", {"GITHUB_EVENT_NAME": "workflow_dispatch"}, {"event": "manual"}),
    "github-schedule": ("main", {"GITHUB_EVENT_NAME": "schedule"}, {"event": "schedule"}),
    "github-first": ("first", {"GITHUB_EVENT_NAME": "push"}, {"base": None}),
    "gitlab-pull": ("feature", MERGE_REQUEST, PULL | {"base": "fork_point", "fork": False}),
    "gitlab-fork": (
        "feature",
        MERGE_REQUEST | {"CI_MERGE_REQUEST_SOURCE_PROJECT_ID": "2", "CI_PROJECT_PATH": "x/ranker"},
        {"fork": True, "repository": "team/ranker"},
    ),
    "gitlab-merged": (
        "merged",
        MERGE_REQUEST
        | {
            "CI_COMMIT_SHA": "{merged}",
            "CI_MERGE_REQUEST_SOURCE_BRANCH_SHA": "{feature}",
            "CI_MERGE_REQUEST_DIFF_BASE_SHA": "",
        },
        PULL | {"base": "main"},
    ),
    "gitlab-push": ("main", {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_BRANCH": "main"}, PUSH),
    "gitlab-tag": ("main", {"CI_PIPELINE_SOURCE": "push", "CI_COMMIT_TAG": "v1.0.0"}, TAG),
    "gitlab-button": ("main", {"CI_PIPELINE_SOURCE": "web"}, {"event": "manual"}),
    "gitlab-schedule": ("main", {"CI_PIPELINE_SOURCE": "schedule"}, {"event": "schedule"}),
    "azure-pull": ("merged", AZURE_PULL, PULL | {"base": "main", "fork": False}),
    "azure-fork": ("merged", AZURE_PULL | {"SYSTEM_PULLREQUEST_ISFORK": "True"}, {"fork": True}),
    "azure-push": ("main", {"BUILD_REASON": "IndividualCI"}, PUSH),
    "azure-tag": (
        "main",
        {"BUILD_REASON": "IndividualCI", "BUILD_SOURCEBRANCH": "refs/tags/v1.0.0"},
        TAG,
    ),
    "azure-button": ("main", {"BUILD_REASON": "Manual"}, {"event": "manual"}),
    "azure-schedule": ("main", {"BUILD_REASON": "Schedule"}, {"event": "schedule"}),
    "bitbucket-pull": ("merged", BITBUCKET_PULL, PULL | {"base": "main"}),
    "bitbucket-push": ("main", {}, PUSH),
    "bitbucket-tag": ("main", {"BITBUCKET_TAG": "v1.0.0", "BITBUCKET_BRANCH": None}, TAG),
    "none-branch": ("feature", {}, {"event": "local", "head": "feature", "base": "fork_point"}),
    "none-main": ("main", {}, {"event": "local", "head": "main", "base": "fork_point"}),
    "none-first": ("first", {}, {"event": "local", "head": "first", "base": None}),
}
VARIABLES = {
    "azure": AZURE,
    "bitbucket": BITBUCKET,
    "github": GITHUB,
    "gitlab": GITLAB,
    "none": {},
}


def fill(variables, commits, event_path=None):
    """Put the commits into the variables of a run."""
    given = variables | ({"GITHUB_EVENT_PATH": str(event_path)} if event_path else {})
    return {k: v and v.format(**vars(commits)) for k, v in given.items() if k != "FROM"}


@pytest.mark.parametrize("name", RUNS)
def test_a_run_is_understood(name, clone, repository, github_event, run):
    provider = name.partition("-")[0]
    commit, given, expected = RUNS[name]
    commits = repository[1]
    event = github_event(
        "pull" in given.get("GITHUB_EVENT_NAME", ""), commits, given.get("FROM", "team/ranker")
    )
    variables = fill(VARIABLES[provider] | given, commits, event)
    done = run(sys.executable, "-c", READ, cwd=clone(provider, commit), **variables)
    found = json.loads(done.stdout)
    known = vars(commits)
    wanted = {k: known.get(v, v) if k in ("head", "base") else v for k, v in expected.items()}
    assert {key: found[key] for key in wanted} == wanted
    if provider != "none":
        assert found["run_url"].startswith(found["repository_url"].split("/_git")[0])


@pytest.fixture
def forge(request):
    """A fake of the provider's API, with the comments of 130 people and one pasted marker."""
    with serving(FORGES[request.param]()) as forge:
        for number in range(130):
            text = f"{MARKER}\n\nPasted by somebody." if number == 3 else f"Remark {number}"
            forge.comments.append(forge.comment(text, own=False))
        forge.comments.append(forge.comment(f"Something else by the bot.\n{MARKER}", own=True))
        yield request.param, forge


@pytest.fixture
def speak(forge, clone, repository, github_event, run):
    """Run some Python in a project of the forge's provider, on its pull request 7."""
    provider, fake = forge
    event = github_event(True, repository[1])
    pull = {
        "azure": AZURE_PULL | {"SYSTEM_COLLECTIONURI": f"{fake.url}/"},
        "bitbucket": BITBUCKET_PULL | {"BITBUCKET_API_URL": fake.url},
        "github": {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_API_URL": fake.url},
        "gitlab": MERGE_REQUEST | {"CI_API_V4_URL": fake.url},
    }[provider]
    variables = fill(VARIABLES[provider] | pull | {TOKENS[provider]: SECRET}, repository[1], event)
    folder = clone(provider, "merged")

    def speak(code, text, **changes):
        path = folder / "input"
        path.write_text(text)
        code = code.replace("sys.stdin", f"open({str(path)!r})")
        done = run(
            sys.executable, "-c", code, cwd=folder, check=False, **variables | changes, no_proxy="*"
        )
        assert SECRET not in done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        return done

    return speak


everywhere = pytest.mark.parametrize("forge", FORGES, indirect=True)


def texts(fake):
    return [fake.text(comment) for comment in fake.comments]


@everywhere
def test_one_comment_is_posted_then_updated_in_place(forge, speak):
    _, fake = forge
    before = texts(fake)
    first = speak(TELL, f"{MARKER}\n\nFirst.")
    assert (first.returncode, first.stderr) == (0, "")
    assert texts(fake) == [*before, f"{MARKER}\n\nFirst."]
    second = speak(TELL, f"{MARKER}\n\nSecond.")
    assert second.returncode == 0
    assert texts(fake) == [*before, f"{MARKER}\n\nSecond."]
    assert [call.split()[0] for call in fake.wrote()] in (["POST", "PUT"], ["POST", "PATCH"])
    assert first.stdout == second.stdout != ""


@everywhere
def test_a_long_report_is_cut_with_a_word_on_the_rest(forge, speak):
    provider, fake = forge
    speak(TELL, f"{MARKER}\n\n" + "A line of the report.\n" * 60_000)
    written = texts(fake)[-1]
    assert LIMITS[provider] - 200 < len(written) <= LIMITS[provider]
    assert written.endswith("see the full report among the artifacts of the run.")


@everywhere
@pytest.mark.parametrize("failure", [(429, {"Retry-After": "0"}), (502, {"Retry-After": "0"})])
def test_a_busy_forge_is_asked_again(forge, speak, failure):
    _, fake = forge
    fake.failures = [failure, failure]
    assert speak(TELL, f"{MARKER}\n\nReport.").stderr == ""
    assert texts(fake)[-1] == f"{MARKER}\n\nReport."


@everywhere
def test_a_forge_that_stays_busy_is_given_up_with_a_warning(forge, speak):
    _, fake = forge
    fake.failures = [(503, {"Retry-After": "0"})] * 50
    done = speak(TELL, f"{MARKER}\n\nReport.")
    assert done.returncode == 0
    assert "WARNING: no comment: GET " in done.stderr
    assert "was answered with 503" in done.stderr
    assert len(fake.calls) == 4


@everywhere
def test_a_refusal_names_the_token_and_its_permission(forge, speak):
    provider, fake = forge
    fake.failures = [(403, {})] * 50
    done = speak(TELL, f"{MARKER}\n\nReport.")
    assert done.returncode == 0
    assert f"it needs {TOKENS[provider]}" in done.stderr
    assert len(fake.calls) == 1, "a refusal is not asked again"


@everywhere
def test_a_missing_token_is_told_by_its_name(forge, speak):
    provider, fake = forge
    done = speak(TELL, f"{MARKER}\n\nReport.", **{TOKENS[provider]: None})
    assert done.returncode == 0
    assert f"{TOKENS[provider]} is not set" in done.stderr
    assert fake.calls == []


@pytest.mark.parametrize("forge", ["github"], indirect=True)
def test_no_token_goes_to_another_host(forge, speak):
    _, fake = forge
    with serving(FORGES["github"]()) as other:
        fake.failures = [(302, {"Location": f"{other.url}/repos/team/ranker/issues/7/comments"})]
        done = speak(TELL, f"{MARKER}\n\nReport.")
        assert "was answered with 302" in done.stderr
        assert other.calls == []


@pytest.mark.parametrize("forge", ["github"], indirect=True)
def test_a_fork_gets_no_comment(forge, speak, github_event, repository):
    _, fake = forge
    github_event(True, repository[1], "x/ranker")
    done = speak(TELL, f"{MARKER}\n\nReport.")
    assert done.returncode == 0
    assert "a fork has no token" in done.stderr
    assert fake.calls == []


@everywhere
def test_one_issue_is_opened_updated_and_closed(forge, speak):
    _, fake = forge

    def tell(title, is_open):
        text = f"[//]: # (monitor)\n\n{title}"
        done = speak(CALL, json.dumps(["issue", title, text, is_open]))
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    assert tell("All is well", False) == ""
    assert fake.issues == []
    opened = tell("The model drifts", True)
    assert tell("It drifts more", True) == opened
    (issue,) = fake.issues
    assert "It drifts more" in json.dumps(issue)
    assert tell("All is well", False) == opened
    state = issue.get("State") or issue["state"]
    assert state.lower() in ("closed", "done")
    tell("It drifts again", True)
    assert len(fake.issues) == 2


@everywhere
def test_one_pull_request_is_opened_then_updated(forge, speak):
    _, fake = forge
    ends = []
    for title in ("Retrain", "Retrain again"):
        arguments = ["pull_request", "retrain", title, f"{MARKER}\n\n{title}", True]
        done = speak(CALL, json.dumps(arguments))
        assert done.returncode == 0, done.stderr
        ends.append(done.stdout)
    (pull,) = fake.pulls
    assert pull["title"].endswith("Retrain again")
    assert pull.get("draft") or pull.get("isDraft") or pull["title"].startswith("Draft: ")
    assert ends[0] == ends[1]
    main = pull.get("base") or pull.get("target_branch") or pull.get("targetRefName")
    assert main in ("main", "refs/heads/main", None)  # None: Bitbucket's own default
