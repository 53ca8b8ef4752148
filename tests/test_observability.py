"""Prometheus, its alerts and the dashboard of Grafana: real rules, a real scrape, real queries."""

import datetime
import json
import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request

import pytest
import yaml
from service import ask, serving

WAIT_SECONDS = 60


@pytest.fixture
def folder(bake, tmp_path):
    return shutil.copytree(bake() / "observability", tmp_path / "observability")


def test_every_alert_fires_when_it_should_and_only_then(folder, run, needs):
    promtool = needs("promtool")
    run(promtool, "check", "config", "prometheus.yaml", cwd=folder)
    run(promtool, "test", "rules", "alerts_test.yaml", cwd=folder)
    (rules,) = (
        group["rules"] for group in yaml.safe_load((folder / "alerts.yaml").read_text())["groups"]
    )
    names = [rule["alert"] for rule in rules]
    for case in yaml.safe_load((folder / "alerts_test.yaml").read_text())["tests"]:
        assert [test["alertname"] for test in case["alert_rule_test"]] == names, case["name"]


def test_an_alert_that_is_broken_is_found(folder, run, needs):
    text = (folder / "alerts.yaml").read_text()
    for old, new in (("2 * 86400", "9 * 86400"), ("> 0.01 *", "> 0.001 *")):
        assert old in text
        (folder / "alerts.yaml").write_text(text.replace(old, new))
        command = (needs("promtool"), "test", "rules", "alerts_test.yaml")
        assert run(*command, cwd=folder, check=False).returncode == 1


def test_the_compose_file_keeps_its_schema_and_names_files_that_are_there(folder, run):
    tool = (sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec")
    run(*tool, "compose.yaml", cwd=folder)
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert {"service", "prometheus", "grafana"} <= set(services)
    logs = {name for name, service in services.items() if service.get("profiles") == ["logs"]}
    assert logs == {"fluent-bit", "elasticsearch", "kibana"}
    for service in services.values():
        assert re.fullmatch(r".+:v?\d[\w.]+|\$\{IMAGE.*", service["image"])
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        for volume in service.get("volumes", []):
            if volume.startswith("."):
                assert (folder / volume.split(":")[0]).is_file(), volume


def sections(text):
    """The sections of a configuration of Fluent Bit: kind and settings."""
    found = []
    for line in filter(None, (line.strip() for line in text.splitlines())):
        if head := re.fullmatch(r"\[([A-Z]+)\]", line):
            found.append((head[1], {}))
        elif not line.startswith("#"):
            name, value = line.split(None, 1)
            found[-1][1][name] = value
    return found


def test_the_prediction_log_and_nothing_else_goes_its_way(folder):
    """Fluent Bit is no package of Debian's: its file is read, and its parsers are told here."""
    kinds = sections((folder / "fluent-bit.conf").read_text())
    (source,) = (settings for kind, settings in kinds if kind == "INPUT")
    (output,) = (settings for kind, settings in kinds if kind == "OUTPUT")
    filters = [settings for kind, settings in kinds if kind == "FILTER"]
    assert {settings["match"] for settings in [*filters, output]} == {source["tag"]}
    services = yaml.safe_load((folder / "compose.yaml").read_text())["services"]
    assert output["host"] in services
    assert f"{source['path'].split('/*')[0]}:" in "".join(services["fluent-bit"]["volumes"])
    parsed, kept = filters
    assert parsed["key_name"] == "log"
    iso = datetime.datetime.now(datetime.UTC).isoformat()  # as the service writes it
    assert re.match({"docker": r"\d{4}-\d\d-\d\dT", "json": r"\d\d/\w+/"}[parsed["parser"]], iso)
    field, pattern = kept["regex"].split(None, 1)
    assert field == "route"
    assert re.search(pattern, "/rank")
    assert not re.search(pattern, "")


def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@pytest.fixture(scope="module")
def prometheus(living, needs, tmp_path_factory):
    """The address of a Prometheus that scrapes the service every second; rankings were given."""
    folder = tmp_path_factory.mktemp("prometheus")
    shutil.copytree(living / "observability", folder / "observability")
    config, port = folder / "observability" / "prometheus.yaml", free_port()
    with serving(living, folder) as service:
        text = config.read_text().replace("service:8000", service.removeprefix("http://"))
        config.write_text(text.replace("15s", "1s"))
        command = [
            needs("prometheus"),
            f"--config.file={config}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
        ]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            end = time.monotonic() + WAIT_SECONDS
            while len(query(f"http://127.0.0.1:{port}", "count_over_time(up[1m]) > 4")) == 0:
                assert process.poll() is None, (folder / "log").read_text()
                assert time.monotonic() < end, (folder / "log").read_text()
                for body in ({"player_id": 7}, {"player_id": 10**9}, {"player_id": "bad"}):
                    ask(service, "/rank", body)
                time.sleep(0.3)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(timeout=30)


def query(address, expression):
    """What Prometheus answers: label sets and values; nothing while it starts."""
    url = f"{address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310
            return json.load(answer)["data"]["result"]
    except urllib.error.HTTPError as error:
        pytest.fail(f"{expression}: {error.read().decode()}")
    except OSError:
        return []


@pytest.mark.slow
@pytest.mark.xdist_group("service")
def test_every_panel_shows_what_the_real_service_tells(living, prometheus):
    board = json.loads((living / "observability/grafana/dashboard.json").read_text())
    source = yaml.safe_load((living / "observability/grafana/source.yaml").read_text())
    shown = {}
    for panel in board["panels"]:
        assert panel["datasource"]["uid"] == source["datasources"][0]["uid"]
        for target in panel["targets"]:
            shown[panel["title"]] = query(prometheus, target["expr"])
            assert shown[panel["title"]], f"{panel['title']}: {target['expr']}"
            values = [row["value"][1] for row in shown[panel["title"]]]
            assert "NaN" not in values, panel["title"]
    assert float(shown["Is it up?"][0]["value"][1]) == 1
    assert float(shown["Share of requests that fail"][0]["value"][1]) == 0
    assert float(shown["Share of rankings for somebody unknown"][0]["value"][1]) == pytest.approx(
        0.5, abs=0.1
    )
    assert {row["metric"]["status"] for row in shown["Refused requests a second, by status"]} == {
        "422"
    }


@pytest.mark.slow
@pytest.mark.xdist_group("service")
def test_every_series_that_an_alert_reads_is_told_by_the_service(living, prometheus):
    (group,) = yaml.safe_load((living / "observability/alerts.yaml").read_text())["groups"]
    for rule in group["rules"]:
        for name in re.findall(r"\b(?!le\b)[a-z]+_[a-z_]+\b(?=[{\[)])", rule["expr"]):
            assert query(prometheus, name), f"{rule['alert']}: {name}"
