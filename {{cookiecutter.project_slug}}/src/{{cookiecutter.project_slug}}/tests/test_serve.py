"""The service over HTTP: what it answers, refuses, survives and writes down."""

import asyncio
import concurrent.futures
import http.client
import json
import math
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

import pytest

from .. import features, model, params, serve, store
from ..contract import TASK
from ..errors import StageError
from ..ranking import Ranker
from ..serving import state
from ..serving.messages import Ranking
from .conftest import PACKAGE
from .server import refusal, serving, settings

PLAYER = 7
FORBIDDEN = {"dvc", "duckdb", "jupyterlab", "pandas", "pickle", "scipy", "sklearn", "xgboost"}


@pytest.fixture(scope="module")
def service(finished, tmp_path_factory):
    """One service for the tests that only ask."""
    folder = tmp_path_factory.mktemp("service") / "project"
    shutil.copytree(finished, folder)
    settings(folder, max_body_bytes=2000)
    with serving(folder, API_KEYS="", GIT_REVISION="abc", GIT_TIME="2026-07-01") as server:
        yield server


def words(row):
    """The features of a ranking as a caller of /predict gives them."""
    given = {}
    for name, options in TASK.encoding.items():
        if name in row:
            value = row[name]
            given[name] = options[int(value)] if options else value
    return {
        name: int(value) if TASK.features.model_fields[name].annotation is int else value
        for name, value in given.items()
    }


def test_a_ranking_is_that_of_the_model_bit_for_bit(service, finished, monkeypatch):
    monkeypatch.chdir(finished)
    expected = Ranker().rank(PLAYER, None)
    status, answer = service.post("/rank", {"player_id": PLAYER})
    assert status == 200
    Ranking.model_validate_json(json.dumps(answer))
    assert [item["promotion_id"] for item in answer["ranking"]] == expected.actions
    assert [item["expected_revenue"] for item in answer["ranking"]] == expected.expected
    baseline = model.open_baseline(finished / "models")
    means = dict(zip(baseline.action_ids.tolist(), baseline.means.tolist(), strict=True))
    assert all(item["baseline"] == means[item["promotion_id"]] for item in answer["ranking"])
    assert (answer["served"], answer["cold_start"]) == ("model", False)
    assert answer["model"] == model.digest(finished / "models" / model.ONNX)
    assert answer["known_until"].endswith("Z")
    assert answer["feature_age_seconds"] > 86_400


def test_the_caller_may_choose_among_what(service):
    _, answer = service.post("/rank", {"player_id": PLAYER, "promotions": [5, 3]})
    assert {item["promotion_id"] for item in answer["ranking"]} == {3, 5}


def test_raw_features_give_the_same_ranking_as_the_look_up(service):
    _, looked_up = service.post("/rank", {"player_id": PLAYER})
    status, answer = service.post("/predict", {"features": words(service.log()[-1]["features"])})
    assert status == 200
    assert answer["ranking"] == looked_up["ranking"]
    assert (answer["known_until"], answer["feature_age_seconds"]) == (None, None)


def test_an_unknown_player_gets_the_baseline_and_is_told(service, finished):
    status, answer = service.post("/rank", {"player_id": 2**62})
    assert status == 200
    assert (answer["served"], answer["cold_start"]) == ("baseline", True)
    means = model.open_baseline(finished / "models").means
    assert [item["expected_revenue"] for item in answer["ranking"]] == sorted(means)[::-1]
    assert answer["feature_age_seconds"] is None


FEATURES = '{"features": {"country": "DE", "platform": "ios", "tenure_days": %s}}'


def whole(**changes):
    """A request with every feature."""
    given = dict.fromkeys(TASK.features.model_fields, 1) | {"country": "DE", "platform": "ios"}
    return json.dumps({"features": given | changes})


@pytest.mark.parametrize(
    ("path", "body", "status", "says"),
    [
        ("/rank", "", 400, "the body is not JSON"),
        ("/rank", '{"player_id": 7', 400, "the body is not JSON"),
        ("/rank", b'{"player_id": "\xff"}', 400, "the body is not JSON"),
        ("/rank", "[7]", 422, "the body must be an object"),
        ("/rank", "{}", 422, "player_id is missing"),
        ("/rank", '{"player_id": "7"}', 422, "player_id must be a valid integer"),
        ("/rank", '{"player_id": true}', 422, "player_id must be a valid integer"),
        ("/rank", '{"player_id": 7.5}', 422, "player_id must be a valid integer"),
        ("/rank", '{"player_id": null}', 422, "player_id must be a valid integer"),
        ("/rank", '{"player_id": NaN}', 422, "player_id must be a valid integer"),
        ("/rank", '{"player_id": -1}', 422, "player_id must be greater than or equal to 0"),
        ("/rank", '{"player_id": 9223372036854775808}', 422, "player_id must be less than"),
        ("/rank", '{"player_id": %s}' % ("9" * 1900), 422, "player_id must be less than"),
        ("/rank", '{"player_id": %s}' % ("9" * 2**20), 413, "larger than 2000 bytes"),
        ("/rank", '{"player_id": 7, "spend": 1}', 422, "spend is not a field of this request"),
        ("/rank", '{"player_id": 7, "promotions": []}', 422, "promotions must not be empty"),
        ("/rank", '{"player_id": 7, "promotions": [99]}', 422, "promotion_id 99 is none"),
        ("/rank", '{"player_id": 7, "promotions": [3, 3]}', 422, "promotions must be distinct"),
        ("/rank", '{"player_id": 7, "promotions": ["3"]}', 422, "promotions.0 must be a valid int"),
        ("/predict", FEATURES % "1", 422, "features.days_since_session is missing"),
        ("/predict", FEATURES % "NaN", 422, "features.tenure_days must be a finite number"),
        ("/predict", FEATURES % "1e999", 422, "features.tenure_days must be a finite number"),
        ("/predict", FEATURES.replace("DE", "XX") % "1", 422, "features.country must be 'BR'"),
        ("/predict", whole(tenure_days=1e39), 422, "features.tenure_days is too large"),
        ("/predict", whole(sessions_7d=10**400), 422, "features.sessions_7d is too large"),
        ("/predict", '{"features": [1]}', 422, "features must be an object"),
        ("/rank", "[" * 1900, 400, "the body is not JSON"),
    ],
)
def test_bad_input_is_named_in_one_sentence(service, path, body, status, says):
    body = body if isinstance(body, bytes) else body.encode()
    answered, answer = service.post(path, body)
    assert (answered, list(answer)) == (status, ["error"])
    assert says in answer["error"]
    assert len(answer["error"]) < 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/nothing", 404), ("GET", "/rank", 405), ("PUT", "/", 405), ("GET", "/../etc", 404)],
)
def test_other_paths_and_methods_are_refused(service, method, path, status):
    assert service.raw(method, path)[0] == status


def test_states_metrics_and_pages(service, finished):
    assert service.get("/healthz") == (200, {"alive": True})
    status, ready = service.get("/readyz")
    assert (status, ready["ready"], ready["warning"]) == (200, True, None)
    version = service.get("/version")[1]
    lineage = json.loads((finished / "models" / "lineage.json").read_text())
    assert (version["revision"], version["revision_time"]) == ("abc", "2026-07-01")
    assert version["model"] == lineage["files"]["model.onnx"]
    assert version["data"] == lineage["data"]
    assert version["data_until"] == "2026-02-20"
    service.post("/rank", {"player_id": PLAYER})
    assert service.metric("rankings_total") >= 1
    assert service.metric("ranking_feature_age_seconds_count") >= 1
    assert math.isclose(
        service.metric("feature_age_seconds"), ready["feature_age_seconds"], abs_tol=9
    )
    assert service.get("/openapi.json")[1]["paths"].keys() >= {"/rank", "/predict", "/readyz"}
    for path in ("/", "/docs"):
        status, headers, content = service.raw("GET", path)
        assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
        assert b"//" not in content.replace(b'href="/', b"")  # nothing from elsewhere


def test_the_log_has_one_line_a_request_with_the_allowed_fields(service):
    before = len(service.log())
    _, answer = service.post("/rank", {"player_id": PLAYER})
    service.post("/rank", {"player_id": "bad"})
    service.get("/healthz")
    lines = service.log()[before:]
    assert [line["status"] for line in lines] == [200, 422]
    assert {line["route"] for line in lines} == {"/rank"}
    allowed = set(params.load(service.out.parent / "params.yaml").serve.log_fields)
    assert set(lines[0]) == set(lines[1]) == allowed
    assert lines[0]["entity_id"] == PLAYER
    assert lines[1]["entity_id"] is None
    assert lines[0]["ranking"] == [item["promotion_id"] for item in answer["ranking"]]


def test_the_process_holds_none_of_the_pipelines_libraries(service):
    code = f"import sys, {PACKAGE}.serve; print(*(n.split('.')[0] for n in sys.modules))"
    output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout
    loaded = set(output.split())
    assert "onnxruntime" in loaded
    assert not loaded & (FORBIDDEN - {"pickle"})  # numpy imports pickle; its use is tested below


def test_nothing_is_unpickled_and_nothing_is_compiled_at_start(copy):
    code = (
        "import pickle, runpy, sys\n"
        "def refuse(*_, **__): raise SystemExit('unpickled')\n"
        "pickle.load = pickle.loads = pickle.Unpickler = refuse\n"
        "compiled = []\n"
        "sys.addaudithook(lambda name, args: name == 'compile' and compiled.append(args[1]))\n"
        f"from {PACKAGE}.serve import create\n"
        "create()\n"
        "files = [str(name) for name in compiled if str(name).endswith('.py')]\n"
        "sys.exit(str(files) if files else 0)\n"
    )
    command, variables = [sys.executable, "-c", code], dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)
    for _ in range(2):  # the first start may write what the second finds
        result = subprocess.run(command, env=variables, capture_output=True, text=True)
    assert result.stderr == ""
    assert result.returncode == 0


def test_the_model_starts_no_thread_and_reports_to_nobody(copy, tmp_path):
    code = (
        "import numpy, os\n"
        "before = os.listdir('/proc/self/task')\n"  # numpy has some of its own
        f"from {PACKAGE}.ranking import Ranker\n"
        "Ranker().rank(7, None)\n"
        "print(before == os.listdir('/proc/self/task'))\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    variables = {name: value for name, value in os.environ.items() if name != "CI"}
    result = subprocess.run(
        [sys.executable, "-c", code],
        env=variables | {"HOME": str(home), "XDG_CACHE_HOME": str(home)},
        capture_output=True,
        text=True,
    )
    assert result.stdout == "True\n", result.stderr
    assert list(home.iterdir()) == []  # a telemetry would leave an id and a database here


def test_a_fault_inside_shows_neither_its_trace_nor_a_path(copy, monkeypatch, caplog):
    settings(copy, log=str(copy / "log"))
    service, sent = serve.create(), []
    monkeypatch.setattr(Ranker, "rank_together", lambda *_: 1 / 0)
    messages = [{"type": "http.request", "body": b'{"player_id": 7}'}]

    async def receive():
        return messages.pop()

    async def send(message):
        sent.append(message)

    asyncio.run(service({"method": "POST", "path": "/rank", "headers": []}, receive, send))
    assert sent[0]["status"] == 500
    assert json.loads(sent[1]["body"]) == {"error": "the service failed; its own log says why"}
    assert "ZeroDivisionError" in caplog.text
    line = json.loads((copy / "log").read_text())
    assert {name for name in line if line[name]} == {"time", "route", "status", "seconds"}


def test_with_keys_only_who_has_one_is_served(copy):
    with serving(copy, API_KEYS="first, second") as server:
        request = {"player_id": PLAYER}
        for given in ({}, {"Authorization": "Bearer third"}, {"Authorization": "first, second"}):
            assert server.post("/rank", request, **given)[0] == 401
        assert server.post("/rank", request, Authorization="Bearer second")[0] == 200
        assert server.get("/readyz")[0] == 200


def test_the_baseline_can_be_served_instead_and_old_features_are_not_ready(copy):
    settings(copy, max_feature_age_days=0.5)
    with serving(copy, SERVE_MODEL="baseline") as server:
        _, answer = server.post("/rank", {"player_id": PLAYER})
        assert (answer["served"], answer["cold_start"]) == ("baseline", False)
        assert server.get("/version")[1]["served"] == "baseline"
        status, answer = server.get("/readyz")
        assert status == 503
        assert "days old, and at most 0.5 are allowed" in answer["error"]


def test_one_request_too_many_at_once_is_told_when_to_come_back(copy):
    settings(copy, max_concurrent=2, max_body_seconds=1.5)
    with serving(copy) as server:
        head = b"POST /rank HTTP/1.1\r\nhost: x\r\ncontent-length: 16\r\n\r\n"
        waiting = [socket.create_connection(("127.0.0.1", server.port)) for _ in range(2)]
        for one in waiting:
            one.sendall(head + b'{"player_i')
        time.sleep(0.3)
        status, headers, content = server.raw("POST", "/rank", b'{"player_id": 7}')
        assert (status, headers["retry-after"]) == (503, "1")
        assert json.loads(content) == {"error": "too many requests at once; try again"}
        assert server.get("/healthz")[0] == 200
        waiting[0].sendall(b'd": 7}')
        assert waiting[0].recv(100).startswith(b"HTTP/1.1 200")
        assert waiting[1].recv(100).startswith(b"HTTP/1.1 408")
        assert server.post("/rank", {"player_id": PLAYER})[0] == 200
        for one in waiting:
            one.close()


class Load:
    """Clients that ask without a pause, each request on a connection of its own."""

    def __init__(self, server, clients=4):
        self.answers, self.failures, self._stop = [], [], threading.Event()
        self._pool = concurrent.futures.ThreadPoolExecutor(clients)
        self._asking = [self._pool.submit(self._ask, server) for _ in range(clients)]

    def _ask(self, server):
        while not self._stop.is_set():
            try:
                self.answers.append(server.post("/rank", {"player_id": PLAYER}))
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(error)
                time.sleep(0.01)

    def end(self):
        self._stop.set()
        self._pool.shutdown()
        for asking in self._asking:
            asking.result()
        return [answer for _, answer in self.answers]


def test_sigterm_under_load_answers_what_was_accepted(copy):
    with serving(copy) as server:
        load = Load(server)
        time.sleep(0.5)
        server.stop()
        answers = load.end()
    assert len(answers) == len(server.log()) > 20
    assert {status for status, _ in load.answers} == {200}


def test_after_kill_9_under_load_a_new_start_serves_the_same(copy):
    with serving(copy) as server:
        load = Load(server)
        time.sleep(0.3)
        server.stop(signal.SIGKILL)
        first = load.end()[0]["ranking"]
    assert all(answer["ranking"] == first for _, answer in load.answers)
    with serving(copy) as server:
        assert server.post("/rank", {"player_id": PLAYER})[1]["ranking"] == first


def newer_features(folder):
    """The same features with other numbers: a store in which nobody ever spent or played."""
    old = store.Store(features.ONLINE)
    ids = list(range(old.meta["count"]))
    rows, known_until = old.get(ids)
    rows = rows.copy()
    rows[:, 2:] = 0
    new = folder / "new.lmdb"
    chunk = features.np.array(ids), known_until + 10**6, rows
    store.build(new, old.meta["features"], "2026-03-01T00:00:00", [chunk])
    return new


def test_a_swap_under_load_fails_no_request_and_a_bad_one_leaves_the_old(copy):
    with serving(copy) as server:
        before = server.post("/rank", {"player_id": PLAYER})[1]["ranking"]
        load = Load(server, clients=2)
        new = newer_features(copy)
        half = copy / "half.lmdb"
        half.write_bytes(new.read_bytes()[:8192])
        half.replace(features.ONLINE)
        time.sleep(1.3)
        assert "online.lmdb" in server.get("/readyz")[1]["warning"]
        assert server.metric("features_refused") == 1
        assert server.post("/rank", {"player_id": PLAYER})[1]["ranking"] == before
        features.ONLINE.unlink()
        time.sleep(1.1)
        assert server.post("/rank", {"player_id": PLAYER})[1]["ranking"] == before
        new.replace(features.ONLINE)
        time.sleep(1.3)
        assert server.get("/readyz")[1]["warning"] is None
        after = server.post("/rank", {"player_id": PLAYER})[1]["ranking"]
        answers = load.end()
    assert after != before
    assert load.failures == []
    assert {status for status, _ in load.answers} == {200}
    assert all(answer["ranking"] in (before, after) for answer in answers)


def test_a_full_disk_under_the_log_is_counted_and_the_service_goes_on(copy):
    if not os.path.exists("/dev/full"):  # noqa: PTH110
        pytest.skip("this system has no /dev/full")
    settings(copy, log="/dev/full")
    with serving(copy) as server:
        for _ in range(3):
            assert server.post("/rank", {"player_id": PLAYER})[0] == 200
        assert server.metric("prediction_log_failures_total") == 3
        assert server.err.read_text().count("No space left") == 1


def test_a_clock_behind_the_data_gives_an_age_of_zero(copy, monkeypatch):
    monkeypatch.setattr(state.time, "time", lambda: 0.0)
    assert state.age(10**15) == 0
    content = json.loads(state.ready(Ranker(), limit=1).body)
    assert (content["ready"], content["feature_age_seconds"]) == (True, 0)


def test_two_workers_serve_alike_and_count_together(copy, tmp_path):
    settings(copy, workers=2)
    with serving(copy, PROMETHEUS_MULTIPROC_DIR=str(tmp_path)) as server:
        answers = [server.post("/rank", {"player_id": PLAYER})[1]["ranking"] for _ in range(20)]
        assert all(answer == answers[0] for answer in answers)
        time.sleep(0.2)  # each worker notes a ranking after it has answered
        assert server.metric("rankings_total") == 20
        assert len(server.log()) == 20


@pytest.mark.parametrize(
    ("environment", "says"),
    [
        ({"SERVE_MODEL": "best"}, "SERVE_MODEL is model or baseline, not best"),
        ({"PORT": "http"}, "PORT is a number, not http"),
        ({"API_KEYS": "a,,b"}, "API_KEYS has an empty key"),
    ],
)
def test_a_wrong_environment_is_named(copy, monkeypatch, environment, says):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StageError, match=says):
        serve.main()


def test_a_damaged_model_does_not_start(copy):
    os.truncate(model.FOLDER / model.ONNX, 5000)
    assert "model.onnx is not the file that lineage.json names" in refusal(copy)
