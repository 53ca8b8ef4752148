"""Versions are deployed, rolled back and reviewed on each target, with the same promises.

Stubs of docker and kubectl stand for the hosts; registry, git, proxy and processes are real.
"""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import pytest
import registry
import yaml
from conftest import ROOT, TOOLS

STUBS = Path(__file__).with_name("stubs")
CLIENTS = {"compose": "docker", "kubernetes": "kubectl"}
TARGETS = sorted(CLIENTS)
CLOSED = {"DASHBOARD_PASSWORD": "of $the team"}
NAME = "app.kubernetes.io/name"
OPERATOR = "dask-kubernetes==2026.3.0"


@dataclass
class World:
    """A project, its registry and the hosts that it may deploy to."""

    target: str
    project: Path
    folder: Path
    address: str
    variables: dict
    run: object
    git: object

    def publish(self, version, fault=""):
        """Commit, tag and push an image of it; the commit."""
        self.git(self.project, "commit", "--quiet", "--allow-empty", "--message", version)
        self.git(self.project, "tag", version)
        commit = self.git(self.project, "rev-parse", "HEAD")
        labels = {"org.opencontainers.image.revision": commit, "test.fault": fault}
        labels |= {"ml.model.hash": f"model-{version}", "ml.data.hash": f"data-{version}"}
        self.digests = getattr(self, "digests", {}) | {
            version: registry.push(self.address, "promotion_ranker", commit[:12], labels)
        }
        return commit

    def publish_dashboard(self, version, fault=""):
        """Push the image of the dashboard of a commit."""
        commit = self.git(self.project, "rev-parse", version)
        labels = {"org.opencontainers.image.revision": commit, "test.fault": fault}
        registry.push(self.address, "promotion_ranker-dashboard", commit[:12], labels)

    def verb(self, *words, check=0, **variables):
        """Run a verb; what it prints."""
        command = (sys.executable, "-m", "delivery", *words)
        done = self.run(*command, cwd=self.project, check=False, **self.variables | variables)
        assert done.returncode == check, done.stdout + done.stderr
        assert "Traceback" not in done.stderr
        assert CLOSED["DASHBOARD_PASSWORD"] not in done.stdout + done.stderr
        if check:
            assert re.fullmatch(r"ERROR: .+\n", done.stderr), done.stderr
        return done.stderr if check else done.stdout

    def deploy(self, version, environment="staging", *words, **more):
        words = ("--version", version, "--environment", environment, *words)
        return self.verb("deploy", *words, **more)

    def table(self):
        return json.loads(self.verb("status", "--json"))

    def state(self, host="local"):
        return json.loads((self.folder / f"{host}.json").read_text())

    def ask(self, environment):
        """What people get under the host name of an environment; the revision, or nothing."""
        found = self._look(f"{environment}.localhost", "/version")
        return found and found["revision"]

    def see(self, environment):
        """The revisions of an environment's dashboard and of whom it asks, or nothing."""
        found = self._look(f"dashboard-{environment}.localhost", "/")
        assert not found or found["closed"], "everybody may look"
        return found and (found["revision"], found["asks"])

    def _look(self, host, path):
        if self.target == "compose":
            return self._get(self.state()["ports"][1], host, path)
        objects = self.state()["objects"]
        for ingress in (o for o in objects.values() if o["kind"] == "Ingress"):
            (rule,), here = ingress["spec"]["rules"], ingress["metadata"]["namespace"]
            if rule["host"] == host:
                name = rule["http"]["paths"][0]["backend"]["service"]["name"]
                chosen = objects[f"service/{here}/{name}"]["spec"]["selector"].items()
                pods = [p for p in self.state()["pods"] if p["namespace"] == here]
                found = [p for p in pods if chosen <= p["labels"].items()]
                return [self._get(pod["port"], host, path) for pod in found][-1]
        return None

    def _get(self, port, host, path):
        request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", headers={"Host": host})
        try:
            with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code == 404:  # no environment of this name
                return None
            raise


@pytest.fixture(scope="module")
def address(needs, tmp_path_factory):
    with registry.running(needs("docker-registry"), tmp_path_factory.mktemp("images")) as address:
        yield address


@pytest.fixture(params=TARGETS)
def target(request):
    return request.param


@pytest.fixture
def world(target, bake, tmp_path, run, git, address, needs):
    """A project of a target with two versions that work."""
    project = tmp_path / "promotion_ranker"
    shutil.copytree(bake(deploy=target), project, symlinks=True)
    file = project / "deploy/environments.yaml"
    file.write_text(re.sub(r"ready_seconds: 60", "ready_seconds: 3", file.read_text()))
    text = file.read_text().replace("  keep_days", "  ready_seconds: 3\n  keep_days")
    file.write_text(text)
    hosts, programs = tmp_path / "hosts", tmp_path / "bin"
    hosts.mkdir()
    programs.mkdir()
    client = programs / CLIENTS[target]
    client.write_text(f'#!/bin/sh\nexec {sys.executable} {STUBS / CLIENTS[target]}.py "$@"\n')
    client.chmod(0o755)
    ports = [registry.free_port(), registry.free_port()]
    empty = {"containers": {}, "networks": [], "ports": ports}
    empty |= {"namespaces": [], "objects": {}, "sets": {}, "pods": [], "count": 0}
    (hosts / "local.json").write_text(json.dumps(empty))
    variables = {
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
        "IMAGE_REGISTRY": address,
        "STUB_FOLDER": hosts,
        "DEPLOYED_BY": "Ada, of the team",
        "PYTHONDONTWRITEBYTECODE": None,
    }
    if target == "kubernetes":
        variables["REAL_KUBECTL"] = needs("kubectl")
    found = World(target, project, hosts, address, variables, run, git)
    found.publish("v1")
    found.publish("v2")
    yield found
    for pid in (hosts / "pids").read_text().split() if (hosts / "pids").exists() else ():
        subprocess.run(["kill", "-9", pid], capture_output=True, check=False)


def revision(world, version):
    return world.git(world.project, "rev-parse", version)


def test_a_version_is_deployed_and_replaced_and_the_table_says_so(world):
    assert "nothing is deployed" in world.verb("status")
    assert world.digests["v1"] in world.deploy("v1")
    assert world.ask("staging") == revision(world, "v1")
    world.deploy("v2")
    assert world.ask("staging") == revision(world, "v2")
    world.deploy(revision(world, "v1")[:10], "production")
    assert world.ask("production") == revision(world, "v1")
    production, staging = world.table()
    assert staging["version"], staging["revision"] == ("v2", revision(world, "v2"))
    assert staging["digest"] == world.digests["v2"]
    assert (staging["model_hash"], staging["data_hash"]) == ("model-v2", "data-v2")
    assert staging["who"] == "Ada, of the team"
    assert staging["health"] == production["health"] == "ok"
    assert staging["url"] == "http://staging.localhost"
    shown = world.verb("status")
    assert world.digests["v2"].removeprefix("sha256:")[:12] in shown
    assert "Ada, of the team" in shown


@pytest.mark.slow
@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ("unready", "the features are 9 days old"),
        ("lies", "/version says revision 0000"),
        ("exits", "no container of v3 runs|container .* is not running"),
    ],
)
def test_a_version_that_is_not_healthy_is_rolled_back_by_itself(world, fault, reason):
    world.deploy("v1")
    world.deploy("v2")
    world.publish("v3", fault)
    said = world.deploy("v3", check=1)
    assert re.search(reason, said)
    assert "v3 was rolled back" in said
    assert "v2 still serves in staging" in said
    assert world.ask("staging") == revision(world, "v2")
    assert [row["version"] for row in world.table()] == ["v2"]
    world.verb("rollback", "--environment", "staging")  # and v3 is not what served before
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_the_first_version_of_an_environment_may_fail(world):
    world.publish("v3", "unready")
    assert "nothing serves, as before" in world.deploy("v3", check=1)
    assert world.table() == []
    world.deploy("v1")
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_roll_back_is_a_button_that_can_be_pressed_twice(world):
    assert "nothing to roll back to" in world.verb("rollback", "--environment=staging", check=1)
    world.deploy("v1")
    assert "nothing to roll back to" in world.verb("rollback", "--environment=staging", check=1)
    assert world.ask("staging") == revision(world, "v1")
    world.deploy("v2")
    said = world.verb("rollback", "--environment=staging", DEPLOYED_BY="Grace")
    assert world.digests["v1"] in said
    assert world.ask("staging") == revision(world, "v1")
    assert [(row["version"], row["who"]) for row in world.table()] == [("v1", "Grace")]
    world.verb("rollback", "--environment=staging")
    assert world.ask("staging") == revision(world, "v2")


@pytest.mark.slow
def test_an_older_version_can_be_deployed_and_the_same_one_again(world):
    world.deploy("v2")
    world.deploy("v1")
    assert world.ask("staging") == revision(world, "v1")
    before = world.table()
    assert "v1 serves already" in world.deploy("v1")
    assert world.table() == before


@pytest.mark.slow
def test_a_version_that_stopped_working_is_seen_and_can_be_deployed_again(world):
    world.deploy("v1")
    (port,) = world.folder.glob("*.port")
    Path(f"{port}.broken").touch()
    done = world.run(
        *(sys.executable, "-m", "delivery", "status"),
        cwd=world.project,
        check=False,
        **world.variables,
    )
    assert done.returncode == 1
    assert "the features are 9 days old" in done.stdout
    world.deploy("v1")
    assert [row["health"] for row in world.table()] == ["ok"]


@pytest.mark.slow
def test_a_canary_gets_its_share_and_goes_by_a_roll_back(world):
    assert "serves nothing a canary" in world.deploy("v1", "staging", "--share", "10", check=2)
    world.deploy("v1")
    assert "to 25 % of requests" in world.deploy("v2", "staging", "--share", "25")
    stable, canary = world.table()
    assert (stable["version"], stable["share"]) == ("v1", 100)
    assert (canary["version"], canary["share"]) == ("v2", 25)
    if world.target == "compose":
        said = [world.ask("staging") for _ in range(100)]
        assert 20 <= said.count(revision(world, "v2")) <= 30
        assert said.count(revision(world, "v1")) == 100 - said.count(revision(world, "v2"))
    assert "canary v2 is gone" in world.verb("rollback", "--environment=staging")
    assert {world.ask("staging") for _ in range(5)} == {revision(world, "v1")}
    world.deploy("v2", "staging", "--share", "25")
    world.deploy("v2")
    assert [(row["version"], row["share"]) for row in world.table()] == [("v2", 100)]
    assert {world.ask("staging") for _ in range(5)} == {revision(world, "v2")}
    world.verb("rollback", "--environment=staging")
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_a_review_app_comes_up_twice_beside_main_and_goes_twice(world):
    world.deploy("v1")
    first = world.verb("review-app", "up", "--number", "42")
    assert "http://review-42.localhost" in first
    assert "serves already" in world.verb("review-app", "up", "--number=42")
    assert world.ask("review-42") == revision(world, "v2")
    assert world.ask("staging") == revision(world, "v1")
    world.verb("review-app", "up", "--number", "7", "--version", "v1")
    for _ in range(2):
        world.verb("review-app", "down", "--number", "42")
        assert world.ask("review-42") is None
    assert [row["environment"] for row in world.table()] == ["review-7", "staging"]
    assert "that of a pull request" in world.verb("review-app", "up", check=2)
    assert "that of a pull request" in world.verb(
        "review-app", "down", "--number", "4; rm", check=2
    )


@pytest.mark.slow
def test_a_dashboard_comes_and_goes_with_the_service_that_it_asks(world):
    v1, v2 = (revision(world, version) for version in ("v1", "v2"))
    world.publish_dashboard("v1")
    assert "dashboard" not in world.deploy("v1")
    assert world.see("staging") is None
    said = world.deploy("v1", **CLOSED)
    assert "http://staging.localhost, its dashboard at http://dashboard-staging.localhost" in said
    assert world.see("staging") == (v1, v1)
    world.publish_dashboard("v2")
    world.verb("review-app", "up", "--number", "42", **CLOSED)
    assert "serves already" in world.verb("review-app", "up", "--number=42", **CLOSED)
    assert world.see("review-42") == (v2, v2)
    assert world.see("staging") == (v1, v1)
    assert [row["health"] for row in world.table()] == ["ok", "ok"]
    for _ in range(2):
        world.verb("review-app", "down", "--number", "42")
        assert world.see("review-42") is world.ask("review-42") is None
    assert world.see("staging") == (v1, v1)
    command = ("grep", "-rF", CLOSED["DASHBOARD_PASSWORD"], world.project)
    assert world.run(*command, cwd=world.project, check=False).returncode == 1


@pytest.mark.slow
def test_a_dashboard_follows_every_deploy_and_roll_back_and_a_canary_has_none(world):
    v1, v2 = (revision(world, version) for version in ("v1", "v2"))
    for version in ("v1", "v2"):
        world.publish_dashboard(version)
    back = ("rollback", "--environment=staging")
    world.deploy("v1", **CLOSED)
    world.deploy("v2", "staging", "--share=10", **CLOSED)
    assert world.see("staging")[0] == v1
    world.deploy("v2", **CLOSED)
    assert world.see("staging") == (v2, v2)
    world.verb(*back, IMAGE_REGISTRY=None, **CLOSED)
    assert world.see("staging") == (v1, v1)
    world.verb(*back)  # nobody says what would close it
    assert world.see("staging") is None
    assert world.ask("staging") == v2
    world.verb("review-app", "up", "--number", "1", **CLOSED)
    file = world.project / "deploy/environments.yaml"
    file.write_text(file.read_text().replace("keep_days: 14", "keep_days: 0"))
    world.verb("review-app", "sweep")
    assert world.see("review-1") is None
    assert len(alive(world)) == (2 if world.target == "compose" else 1)  # the proxy, and v2


@pytest.mark.slow
def test_a_dashboard_that_is_missing_or_not_healthy_is_no_version(world):
    v1 = revision(world, "v1")
    world.publish_dashboard("v1")
    world.deploy("v1", **CLOSED)
    said = world.deploy("v2", check=1, **CLOSED)
    assert "promotion_ranker-dashboard has no image of v2" in said
    assert "`make image PART=dashboard PUSH=1` there" in said
    assert world.see("staging") == (v1, v1)
    world.publish_dashboard("v2", "unready")
    said = world.deploy("v2", check=1, **CLOSED)
    reasons = {"compose": "/_stcore/health says HTTP Error 503", "kubernetes": "timed out waiting"}
    assert reasons[world.target] in said
    assert "v1 still serves in staging" in said
    assert (world.ask("staging"), world.see("staging")) == (v1, (v1, v1))


@pytest.mark.slow
def test_old_review_apps_are_swept_and_nothing_else(world):
    file = world.project / "deploy/environments.yaml"
    world.deploy("v1")
    world.verb("review-app", "up", "--number", "1")
    world.verb("review-app", "sweep")
    assert world.ask("review-1")
    file.write_text(file.read_text().replace("keep_days: 14", "keep_days: 0"))
    assert "review-1 is down" in world.verb("review-app", "sweep")
    assert world.verb("review-app", "sweep") == ""
    assert world.ask("review-1") is None
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("nonsense", "staging"), "git knows no version nonsense"),
        (("--all", "staging"), "expected one argument|git knows no version"),
        (("v1", "moon"), "moon is no environment of deploy/environments.yaml: it has production"),
        (("v1", "review"), "review is no environment"),
        (("v1", "staging", "--share", "0"), "--share is a percentage from 1 to 100, not 0"),
    ],
)
def test_what_is_not_there_is_named(world, words, sentence):
    world.deploy("v1")
    command = ("deploy", f"--version={words[0]}", "--environment", *words[1:])
    assert re.search(sentence, world.verb(*command, check=2))
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_an_image_that_is_not_there_is_named_and_what_serves_goes_on(world):
    world.deploy("v1")
    world.git(world.project, "commit", "--quiet", "--allow-empty", "--message", "unpushed")
    assert "has no image of HEAD" in world.deploy("HEAD", check=1)
    commit = world.git(world.project, "rev-parse", "HEAD")
    other = {"org.opencontainers.image.revision": "f" * 40}
    registry.push(world.address, "promotion_ranker", commit[:12], other)
    assert "was not made of" in world.deploy("HEAD", check=1)
    closed = f"127.0.0.1:{registry.free_port()}"
    assert "does not answer" in world.deploy("v2", check=1, IMAGE_REGISTRY=closed)
    assert "IMAGE_REGISTRY names no registry" in world.deploy("v2", check=2, IMAGE_REGISTRY=None)
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_a_roll_back_needs_no_registry(world):
    world.deploy("v1")
    world.deploy("v2")
    if world.target == "compose":  # a host keeps the image; a cluster's node may not
        registry.delete(world.address, "promotion_ranker", world.digests["v1"])
    world.verb("rollback", "--environment=staging", IMAGE_REGISTRY=None)
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_a_host_that_does_not_answer_is_named(world):
    file = world.project / "deploy/environments.yaml"
    rows = yaml.safe_load(file.read_text())
    rows["production"]["at"] = "ssh://deploy@gone.example.com"
    world.deploy("v1")
    file.write_text(yaml.safe_dump(rows))
    for words in (("deploy", "--version=v1"), ("rollback",)):
        said = world.verb(*words, "--environment=production", check=1)
        assert "gone.example.com" in said
    assert world.ask("staging") == revision(world, "v1")


@pytest.mark.slow
def test_a_missing_client_is_named(world):
    empty = world.folder / "empty"
    empty.mkdir()
    (empty / "git").symlink_to(shutil.which("git"))
    assert f"{CLIENTS[world.target]} is not installed" in world.deploy("v1", check=2, PATH=empty)


@pytest.mark.slow
def test_two_deploys_at_once_are_never_mixed(world):
    world.deploy("v1")
    world.publish("v3")
    words = ("deploy", "--environment", "staging", "--version")
    command = (sys.executable, "-m", "delivery", *words)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        jobs = [
            pool.submit(world.run, *command, v, cwd=world.project, check=False, **world.variables)
            for v in ("v2", "v3")
        ]
        done = [job.result() for job in jobs]
    codes = sorted(job.returncode for job in done)
    assert codes in ([0, 0], [0, 1])
    if codes == [0, 1]:
        refused = next(job for job in done if job.returncode)
        assert "another deploy to staging is under way" in refused.stderr or (
            "already exists" in refused.stderr or "is in use" in refused.stderr
        )
    (row,) = world.table()
    assert world.ask("staging") == row["revision"]
    assert row["version"] in ("v2", "v3")


@pytest.mark.slow
def test_a_held_environment_is_refused_and_a_forgotten_lock_is_not(world):
    world.deploy("v1")
    world.publish("v3", "unready")
    rows = world.project / "deploy/environments.yaml"
    rows.write_text(rows.read_text().replace("ready_seconds: 3", "ready_seconds: 600"))
    file = world.folder / "local.json"
    command = [sys.executable, "-m", "delivery", "deploy", "--version=v3", "--environment=staging"]
    variables = os.environ | {k: str(v) for k, v in world.variables.items() if v is not None}
    deadline = time.monotonic() + 120
    held = subprocess.Popen(command, cwd=world.project, env=variables, stderr=subprocess.PIPE)
    try:
        while "-lock" not in file.read_text():
            assert held.poll() is None, held.stderr.read()
            assert time.monotonic() < deadline, "nothing is locked"
            time.sleep(0.05)
        assert "another deploy to staging is under way since" in world.deploy("v2", check=1)
    finally:
        held.kill()
        held.wait()
        held.stderr.close()
    assert "is under way" in world.deploy("v2", check=1)
    text = re.sub(r"(created|creationTimestamp)(\W+)20", r"\1\g<2>19", file.read_text())
    file.write_text(text)
    world.deploy("v2")
    assert world.ask("staging") == revision(world, "v2")
    assert [row["version"] for row in world.table()] == ["v2"]
    assert len({p["port"] for p in alive(world)}) == 1 + (world.target == "compose")


def alive(world):
    state = world.state()
    rows = [*state["pods"], *state["containers"].values()]
    return [row for row in rows if row["pid"] and runs(row["pid"])]


def runs(pid):
    """Whether a process is there and is not a mere entry that nobody has asked for."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_without_a_target_the_verbs_say_so(bake, run):
    for words in (
        ("deploy", "--version=v1", "--environment=staging"),
        ("rollback", "--environment=staging"),
        ("status",),
        ("review-app", "sweep"),
    ):
        command = (sys.executable, "-m", "delivery", *words)
        done = run(*command, cwd=bake(deploy="none"), check=False)
        assert done.returncode == 2
        assert done.stderr.startswith("ERROR: this project was made without a deploy target")
    assert not (bake(deploy="none") / "deploy").exists()


def test_the_files_of_compose_are_those_of_its_specification(bake, run):
    for name in ("compose.yaml", "proxy.yaml"):
        file = bake() / "deploy" / name
        run(TOOLS / "check-jsonschema", "--builtin-schema=compose-spec", file, cwd=bake())
        for service in yaml.safe_load(file.read_text())["services"].values():
            assert service["read_only"] is True
            assert service["cap_drop"] == ["ALL"]
            assert service["security_opt"] == ["no-new-privileges:true"]
            assert service["mem_limit"]
            assert service["pids_limit"]
            assert service["restart"] == "unless-stopped"


@pytest.mark.parametrize("overlay", ["staging", "production", "review"])
def test_the_overlays_are_those_that_a_cluster_takes(bake, run, needs, overlay):
    import kubernetes_validate

    folder = bake(deploy="kubernetes") / "deploy/kubernetes/overlays" / overlay
    text = run(needs("kubectl"), "kustomize", folder, cwd=folder).stdout
    parts = {"service": {}, "dashboard": {}}
    for document in yaml.safe_load_all(text):
        for version in ("1.28", "1.32"):
            kubernetes_validate.validate(document, version, strict=True)
        assert document["metadata"]["name"] == document["metadata"]["labels"][NAME]
        parts[document["metadata"]["name"]][document["kind"]] = document
    found, dashboard = parts.values()
    both = {"Deployment", "Service", "Ingress", "NetworkPolicy"}
    assert set(dashboard) == both | {"Secret"}
    assert set(found) == both | {"Namespace", "HorizontalPodAutoscaler", "PodDisruptionBudget"}
    for kinds, path in ((found, "/readyz"), (dashboard, "/_stcore/health")):
        (container,) = kinds["Deployment"]["spec"]["template"]["spec"]["containers"]
        assert container["securityContext"]["readOnlyRootFilesystem"]
        assert container["readinessProbe"]["httpGet"]["path"] == path
        assert container["resources"]["limits"]["memory"]
    (secret,) = container["envFrom"]
    assert secret == {"secretRef": {"name": "dashboard"}}, "it would start without a password"
    assert "data" not in dashboard["Secret"]
    assert "stringData" not in dashboard["Secret"]
    (asked, _) = dashboard["NetworkPolicy"]["spec"]["egress"]
    chosen = asked["to"][0]["podSelector"]["matchLabels"]
    assert chosen.items() <= found["Deployment"]["spec"]["template"]["metadata"]["labels"].items()
    replicas = found["HorizontalPodAutoscaler"]["spec"]["minReplicas"]
    assert replicas == (2 if overlay == "production" else 1)


def strict(schema):
    """The schema, refusing keys that it does not name: a cluster would drop them silently."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    closed = {"additionalProperties": False} if "properties" in schema else {}
    return closed | {key: strict(value) for key, value in schema.items()}


@pytest.fixture(scope="session")
def operator():
    """What Dask's operator takes, a schema for each kind: its own package holds them."""
    home = ROOT / "build" / OPERATOR
    if not home.exists():
        command = (TOOLS / "uv", "pip", "install", "--quiet", "--no-deps", "--target", home)
        subprocess.run([*command, OPERATOR], check=True)
    (folder,) = home.glob("dask_kubernetes/operator/deployment/helm/*/crds")
    found = [yaml.safe_load(path.read_text())["spec"] for path in folder.iterdir()]
    return {
        (f"{row['group']}/{version['name']}", row["names"]["kind"]): strict(
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]
        )
        for row in found
        for version in row["versions"]
    }


def test_the_cluster_of_workers_is_one_that_dask_s_operator_takes(bake, run, needs, operator):
    import jsonschema
    import kubernetes_validate

    project = bake(deploy="kubernetes")
    folder = project / "deploy/kubernetes/cluster"
    text = run(needs("kubectl"), "kustomize", folder, cwd=folder).stdout
    found = {document["kind"]: document for document in yaml.safe_load_all(text)}
    for document in found.values():
        kind = (document["apiVersion"], document["kind"])
        jsonschema.validate(document["spec"], operator[kind])
    cluster, autoscaler = found["DaskCluster"], found["DaskAutoscaler"]["spec"]
    scheduler, worker = (cluster["spec"][role] for role in ("scheduler", "worker"))
    for kind, spec in (
        ("Pod", scheduler["spec"]),
        ("Pod", worker["spec"]),
        ("Service", scheduler["service"]),
    ):
        document = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        kubernetes_validate.validate(document, "1.32", strict=True)
    engine = yaml.safe_load((project / "params.yaml").read_text())["engine"]
    assert autoscaler["cluster"] == cluster["metadata"]["name"]
    assert autoscaler["minimum"] == worker["replicas"] == engine["workers"]
    (container,) = worker["spec"]["containers"]
    assert container["image"] == "registry.example.com/worker:latest"
    assert container["resources"]["requests"]["cpu"] == str(engine["threads"])
    assert "\nFROM tools AS worker\n" in (project / "Dockerfile").read_text()
