"""Each provider's file: taken by its linters, and the same verbs in the same order everywhere."""

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from ci_faults import FAULTS
from conftest import TOOLS
from node import node  # noqa: F401
from runners import Event, Refused, azure, bitbucket, github, gitlab

FILES = {
    "azure": ["azure-pipelines.yml", ".azure", "renovate.json"],
    "bitbucket": ["bitbucket-pipelines.yml", "renovate.json"],
    "github": [".github"],
    "gitlab": [".gitlab-ci.yml", "renovate.json"],
}
PROVIDERS = sorted(FILES)
PYTHON = ".venv/bin/python -m delivery "

# THE table: what each job does, in this order, whoever runs it; `make setup` comes first in all.
# A verb that a later issue brings is a row here, and a line in each provider's file.
JOBS = {
    "check": ["make check", "check"],
    "reproduce": ["reproduce"],
    "report": ["reproduce", "report"],
    "notebooks": ["reproduce", "notebooks"],
    "image": ["reproduce", "login", "image --push"],
    "review app": ["login", "review-app up"],
    "review app down": ["login", "review-app down"],
    "sweep": ["login", "review-app sweep"],
    "deploy": ["login", "deploy"],
    "rollback": ["login", "rollback"],
    "monitor": ["monitor"],
    "retrain": ["reproduce", "retrain"],
    "template update": ["template-update --pull-request"],
}
PROPOSALS = ("retrain", "template update")
STORED = {"check", "reproduce", "monitor", "template-update --pull-request"}  # read the storage
EVERY = {"check": [], "reproduce": [], "report": ["reproduce"], "image": ["check", "reproduce"]}
CHANGE = EVERY | {"notebooks": ["reproduce"]}
REVIEWED, TAGGED = {"REVIEW_APPS": "true"}, {"TAG_ENVIRONMENT": "staging"}
SCHEDULED = REVIEWED | {"MONITOR": "true", "RETRAIN": "true"}
BUTTON = {"VERB": "deploy", "ENVIRONMENT": "production", "VERSION": "v1"}
BACK = {"VERB": "rollback", "ENVIRONMENT": "production", "VERSION": ""}
SECRETS = ("AWS_SECRET_ACCESS_KEY", "AZURE_STORAGE_CONNECTION_STRING", "DASHBOARD_PASSWORD")
SECRETS += ("DEPLOY_KUBECONFIG", "REGISTRY_PASSWORD", "SSH_PRIVATE_KEY")
SECRETS += ("STORAGE_PASSWORD", "STORAGE_TOKEN")
KEYS = {name: f"the {name}" for name in SECRETS}
STORAGE = {
    name: f"the {name}"
    for name in SECRETS
    if name not in ("DASHBOARD_PASSWORD", "DEPLOY_KUBECONFIG", "REGISTRY_PASSWORD")
}

# what happens, and which jobs it starts after which others
WHEN = {
    "pull request": (Event("pull_request"), CHANGE),
    "pull request, nothing of notebooks": (Event("pull_request", notebooks=False), CHANGE),
    "pull request with review apps": (
        Event("pull_request", variables=REVIEWED, secrets=KEYS),
        CHANGE | {"review app": ["image"]},
    ),
    "pull request of a fork": (
        Event("pull_request", fork=True, variables=REVIEWED, secrets=KEYS),
        CHANGE,
    ),
    "closed": (Event("closed", variables=REVIEWED), {"review app down": []}),
    "closed without review apps": (Event("closed"), {}),
    "push to main": (Event("push", variables=REVIEWED | TAGGED, secrets=KEYS), EVERY),
    "tag": (Event("tag", variables=TAGGED), EVERY | {"deploy": ["image"]}),
    "tag that is deployed nowhere": (Event("tag"), EVERY),
    "button": (Event("button", inputs=BUTTON), {"deploy": []}),
    "button to go back": (Event("button", inputs=BACK), {"rollback": []}),
    "schedule": (Event("schedule", variables=REVIEWED), {"sweep": []}),
    "schedule without review apps": (Event("schedule", variables=TAGGED), {}),
    "schedule of the monitor": (
        Event("schedule", schedule="monitor", variables=SCHEDULED, secrets=STORAGE),
        {"monitor": []},
    ),
    "schedule to retrain": (
        Event("schedule", schedule="retrain", variables=SCHEDULED, secrets=STORAGE),
        {"retrain": []},
    ),
    "schedule of the template": (
        Event("schedule", schedule="template-update", secrets=STORAGE),
        {"template update": []},
    ),
    "schedule of the monitor, which is off": (Event("schedule", schedule="monitor"), {}),
    "schedule to retrain, which is off": (Event("schedule", schedule="retrain"), {}),
    "button of the monitor": (Event("button", button="monitor"), {"monitor": []}),
    "button to retrain": (Event("button", button="retrain"), {"retrain": []}),
    "button of the template": (Event("button", button="template-update"), {"template update": []}),
}
QUIET = "pull request, nothing of notebooks"
# where a provider differs, and why
OTHERWISE = {
    ("azure", "closed"): {},  # nothing starts a run on closing: the sweep takes it down
    ("bitbucket", "closed"): {},
    ("bitbucket", "pull request of a fork"): {},  # runs in the fork
    ("bitbucket", QUIET): EVERY,  # decided before the job starts
    ("gitlab", QUIET): EVERY,
    # whoever wants none makes no such schedule
    ("bitbucket", "schedule of the monitor, which is off"): {"monitor": []},
    ("bitbucket", "schedule to retrain, which is off"): {"retrain": []},
    ("gitlab", "schedule of the monitor, which is off"): {"monitor": []},
    ("gitlab", "schedule to retrain, which is off"): {"retrain": []},
}


@pytest.fixture(scope="session")
def repository(bake, scratch, git):
    """Give the files of a provider in a small repository, with a change on a branch."""
    made = {}

    def repository(provider: str) -> Path:
        if provider in made:
            return made[provider]
        project, folder = bake(ci=provider), scratch / "ci" / provider
        folder.mkdir(parents=True)
        for name in FILES[provider]:
            place = project / name
            shutil.copytree(place, folder / name) if place.is_dir() else shutil.copy(place, folder)
        (folder / "src").mkdir()
        for name in ("dvc.lock", "uv.lock", "params.yaml", "dvc.yaml", "src/model.py"):
            (folder / name).write_text("as it was\n")
        git(folder, "init", "--quiet", "--initial-branch=main")
        git(folder, "remote", "add", "origin", "https://forge.example/team/ranker.git")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Start")
        git(folder, "update-ref", "refs/remotes/origin/main", "HEAD")
        made[provider] = folder
        return folder

    return repository


@pytest.fixture
def changed(repository, git, tmp_path):
    """Copy a provider's repository, change a text in a file, and commit a change of a notebook."""

    def changed(provider, name="", old="", new="", notebooks=True) -> Path:
        folder = Path(shutil.copytree(repository(provider), tmp_path / provider))
        if name:
            text = (folder / name).read_text()
            assert old in text, "the fault fits no more: seed it anew"
            (folder / name).write_text(text.replace(old, new))
        (folder / ("look.ipynb" if notebooks else "look.py")).touch()
        git(folder, "checkout", "--quiet", "-b", "change")
        git(folder, "add", "--all")
        git(folder, "commit", "--quiet", "--message", "Change")
        return folder

    return changed


@pytest.fixture
def plan(node, git):  # noqa: F811
    """Plan the jobs of a provider for an event."""

    def plan(provider, folder, event):
        event.sha = git(folder, "rev-parse", "HEAD")
        event.base = git(folder, "rev-parse", "origin/main")
        if event.kind == "button" and provider in ("github", "azure"):
            given = {name.lower(): value for name, value in event.inputs.items()}
            event = replace(event, inputs=given)
        module = {"azure": azure, "bitbucket": bitbucket, "github": github, "gitlab": gitlab}
        more = (node,) if provider in ("github", "gitlab") else ()
        return module[provider].plan(folder, event, *more)

    return plan


def verbs(job) -> list[str]:
    """The commands of a job, as the table has them."""
    env = {name: str(value) for name, value in job.env.items()}
    lines = [line for step in job.steps for line in step.script.split("\n") if step.after_success]
    found = []
    for line in lines:
        shown = re.sub(r'"?\$(\w+)"?', lambda match: env.get(match[1], match[0]), line)
        if shown.startswith(PYTHON):
            found.append(shown.removeprefix(PYTHON).partition(" --environment")[0])
        elif line.endswith("make setup"):
            found.append("make setup")
        elif not re.match(r"test |apt-get |git (checkout|remote|config) ", line):
            found.append(line)
    # GitLab's tools are installed first; who pushes says as whom
    assert found.pop(0) == "make setup", f"{job.name} does not begin with its environment"
    return found


def name_of(job) -> str:
    """The row of the table that a job is."""
    names = [name for name, wanted in JOBS.items() if wanted == verbs(job)]
    assert names, f"{job.name} does {verbs(job)}, and the table has no such job"
    return names[0]


def compare(provider, moment, jobs) -> None:
    """Assert that jobs, and what each waits for, are those of the table."""
    wanted = OTHERWISE.get((provider, moment), WHEN[moment][1])
    names = {job.name: name_of(job) for job in jobs}
    assert sorted(names.values()) == sorted(wanted)
    for job in jobs:
        needs = {names[name] for name in job.needs}
        if provider == "bitbucket":  # knows no needs, only before and after
            assert needs >= set(wanted[names[job.name]])
        else:
            assert needs == set(wanted[names[job.name]]), job.name


def inspect(provider, moment, jobs) -> None:
    """Assert what the verbs of each job want of the machine that runs it."""
    event = WHEN[moment][0]
    for job in jobs:
        name = name_of(job)
        given = [job.env, *(step.env for step in job.steps)]
        told = {key: value for env in given for key, value in env.items()}
        assert job.depth == 0, f"{name}: the report and the versions want the whole history"
        assert job.minutes, f"{name} has no time limit"
        paths = {cache.path: cache for cache in job.caches}
        assert any(path.endswith("uv") for path in paths), f"{name} caches no libraries"
        if "reproduce" in JOBS[name]:
            assert ".dvc/cache" in paths, f"{name} caches no outputs"
            key = paths[".dvc/cache"].key
            assert re.search(r"dvc-?[0-9a-f]{64}|dvc.yaml|REF_SLUG", key), f"{name}: key {key}"
            fallback = paths[".dvc/cache"].fallback
            assert fallback or provider == "bitbucket", f"{name}: no cache of before is tried"
        pages = {"monitor": "reports/monitor.html"}
        if name in ("report", "notebooks", "monitor"):
            page = pages.get(name, "reports/delivery")
            assert [path.rstrip("/*") for path in job.artifacts] == [page]
        if STORED & set(JOBS[name]) and provider != "azure":
            assert job.permissions.get("id-token") == "write", f"{name} cannot log in to the cloud"
        alone = ("deploy", "rollback", "review", "monitor", *PROPOSALS)
        if name.startswith(alone) and provider in ("github", "gitlab"):
            assert job.exclusive, f"{name} may run twice at once"
        secrets = {value for value in told.values() if value in KEYS.values()}
        if event.fork:
            assert not secrets, f"{name} of a fork sees {secrets}"
        elif event.secrets and event.kind != "button":
            lacking = set(event.secrets.values()) - secrets
            assert not lacking, f"{name} lacks {lacking}"
        if provider == "github":
            inspect_permissions(name, job)


def inspect_permissions(name, job) -> None:
    """Assert that a job of GitHub may do what its verbs do, and nothing else."""
    wanted = {"contents": "read"}
    if STORED & set(JOBS[name]):
        wanted["id-token"] = "write"
    wanted |= {"image": {"packages": "write"}, "report": {"pull-requests": "write"}}.get(name, {})
    if name in ("deploy", "rollback", "review app"):
        wanted["packages"] = "read"
    if name == "monitor":
        wanted["issues"] = "write"
    if name in PROPOSALS:
        wanted |= dict.fromkeys(("contents", "id-token", "pull-requests"), "write")
    if name == "template update":
        wanted["issues"] = "write"
    assert job.permissions == wanted, name
    tokens = [step.env.get("GITHUB_TOKEN") for step in job.steps]
    assert any(tokens) == (name in ("report", "monitor", *PROPOSALS)), f"{name}: token"


@pytest.mark.parametrize("moment", WHEN)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_same_verbs_in_the_same_order_everywhere(changed, plan, provider, moment):
    event = WHEN[moment][0]
    jobs = plan(provider, changed(provider, notebooks=event.notebooks), event)
    compare(provider, moment, jobs)
    inspect(provider, moment, jobs)


@pytest.mark.parametrize(
    "event", [Event("pull_request"), Event("button", button="retrain")], ids=["change", "retrain"]
)
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_address_of_a_cluster_reaches_the_jobs_that_reproduce(changed, plan, provider, event):
    address = {"ENGINE_ADDRESS": "tcp://dask.example.com:8786"}
    jobs = plan(provider, changed(provider), replace(event, variables=address))
    made = [job for job in jobs if {"reproduce", "retrain"} & {*JOBS[name_of(job)]}]
    assert made
    for job in made:
        given = [job.env, *(step.env for step in job.steps)]
        assert address.items() <= {k: v for env in given for k, v in env.items()}.items()


@pytest.mark.parametrize("inputs", [BUTTON, BACK], ids=["deploy", "rollback"])
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_button_knows_what_opens_registry_host_and_dashboard(changed, plan, provider, inputs):
    (job,) = plan(provider, changed(provider), Event("button", inputs=inputs, secrets=KEYS))
    given = [job.env, *(step.env for step in job.steps)]
    for name in ("DASHBOARD_PASSWORD", "DEPLOY_KUBECONFIG", "REGISTRY_PASSWORD", "SSH_PRIVATE_KEY"):
        assert KEYS[name] in [env.get(name) for env in given], name


def lint(provider, folder) -> None:
    """Assert that schema and linters have nothing to say."""
    schemas = {
        "azure": [("azure-pipelines", ["azure-pipelines.yml", ".azure/steps.yml"])],
        "bitbucket": [("bitbucket-pipelines", ["bitbucket-pipelines.yml"])],
        "github": [
            ("dependabot", [".github/dependabot.yml"]),
            ("github-actions", [".github/actions/setup/action.yml"]),
            ("github-workflows", sorted((folder / ".github/workflows").glob("*.yml"))),
        ],
        "gitlab": [("gitlab-ci", [".gitlab-ci.yml"])],
    }[provider]
    if provider != "github":
        schemas.append(("renovate", ["renovate.json"]))
    for name, files in schemas:
        options = ["--builtin-schema", f"vendor.{name}"]
        if name in ("azure-pipelines", "gitlab-ci"):
            options += ["--data-transform", name, "--regex-variant", "nonunicode"]
        call(folder, "check-jsonschema", *options, *files)
    if provider == "github":
        call(folder, "zizmor", "--quiet", "--offline", "--persona", "auditor", ".")
        call(folder, "actionlint", "-color=false", "-shellcheck", TOOLS / "shellcheck")
        for file in (folder / ".github/workflows").glob("*.yml"):  # by tag, it knows the inputs
            file.write_text(re.sub(r"@[0-9a-f]{40} # (v\d+)\S*", r"@\1", file.read_text()))
        call(folder, "actionlint", "-color=false", "-shellcheck", TOOLS / "shellcheck")


def check_scripts(jobs) -> None:
    """Assert that shellcheck has nothing to say about the commands."""
    text = "\n".join(f"# {job.name}\n{step.script}" for job in jobs for step in job.steps)
    command = [TOOLS / "shellcheck", "--shell=bash", "--severity=style", "--exclude=SC2155", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


def call(folder, program, *words) -> None:
    """Assert that a linter is content."""
    command = [str(TOOLS / program), *map(str, words)]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{program}: {done.stdout}{done.stderr}"


@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_linters_are_content(changed, plan, provider):
    folder = changed(provider)
    moments = ["pull request with review apps", "tag", "button"]
    for moment in [*moments, *(name for name in WHEN if name.startswith("schedule "))]:
        check_scripts(plan(provider, folder, WHEN[moment][0]))
    lint(provider, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("provider", "fault"),
    [(provider, fault) for provider in PROVIDERS for fault in FAULTS[provider]],
)
def test_a_fault_of_the_file_is_found(changed, plan, provider, fault):
    """Kill the fault by the layer that the table names, and by no other in its place."""
    killer, moment, name, old, new = FAULTS[provider][fault]
    folder, event = changed(provider, name, old, new), WHEN[moment][0]
    if killer == "lint":
        with pytest.raises(AssertionError):
            lint(provider, folder)
        return
    if killer == "parser":
        with pytest.raises(Refused):
            plan(provider, folder, event)
        return
    jobs, facts = plan(provider, folder, event), (provider, moment)
    find = {"table": lambda: compare(*facts, jobs), "inspection": lambda: inspect(*facts, jobs)}
    with pytest.raises(AssertionError):
        find[killer]()


def test_each_provider_has_its_share_of_faults():
    assert {provider: len(rows) for provider, rows in FAULTS.items() if len(rows) < 15} == {}
