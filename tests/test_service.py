"""The default project's service: in a browser, against hostile requests, while it is refreshed."""

import datetime
import os
import subprocess
import sys
from pathlib import Path

import pytest
from browser import browse
from service import Load, ask, serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("service")]


@pytest.fixture(scope="module")
def address(living, tmp_path_factory):
    with serving(living, tmp_path_factory.mktemp("service")) as found:
        yield found


def test_a_person_types_a_player_and_sees_the_ranking_beside_the_baseline(address, needs, tmp_path):
    with browse(needs("chromium"), tmp_path) as page:
        page.open(f"{address}/")
        page.until("document.activeElement?.id === 'id'")
        page.type("7")
        page.press_enter()
        page.until("document.querySelectorAll('tbody tr').length > 0")
        names = page.evaluate("[...document.querySelectorAll('tbody th')].map(x => x.textContent)")
        bars = page.evaluate(
            "[...document.querySelectorAll('tbody tr')].map("
            "x => [...x.querySelectorAll('i')].map(y => y.getBoundingClientRect().width))"
        )
        _, answer = ask(address, "/rank", {"player_id": 7})
        assert [int(name.split()[0]) for name in names] == [
            item["promotion_id"] for item in answer["ranking"]
        ]
        unit = bars[0][0] / answer["ranking"][0]["expected_revenue"]
        for (model, baseline), item in zip(bars, answer["ranking"], strict=True):
            assert model == pytest.approx(unit * item["expected_revenue"], rel=0.01)
            assert baseline == pytest.approx(unit * item["baseline"], rel=0.01)
        page.evaluate("document.querySelector('#id').value = ''")
        page.type("<b>no</b>")
        page.press_enter()
        page.until("document.querySelector('#message').className === 'refused'")
        message = page.evaluate("document.querySelector('#message').textContent")
        assert message == "player_id must be a valid integer"
        assert page.evaluate("document.querySelector('#result').hidden")
        page.open(f"{address}/docs")
        page.until("document.querySelectorAll('section').length >= 5")
        assert "promotion_id" in page.evaluate("document.body.textContent")
        assert page.errors == []
        assert {url.split("/")[2] for url in page.requested} == {address.split("/")[2]}


def test_no_request_of_thousands_made_from_the_document_breaks_the_service(address, tmp_path):
    command = [sys.executable, "-m", "uv", "tool", "run", "--from", "schemathesis>=4,<5", "st"]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance"
    checks += ",response_schema_conformance"
    options = ["--checks", checks, "--max-examples", "150", "--seed", "7", "--no-color"]
    result = subprocess.run(
        [*command, "run", f"{address}/openapi.json", *options],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout[-4000:] + result.stderr[-2000:]


def test_make_refresh_swaps_newer_features_in_without_a_failed_request(living, tmp_path):
    package = next(living.glob("src/*/__init__.py")).parent.name
    online = Path("data/features/online.lmdb")
    before = (living / online).read_bytes()
    with serving(living, tmp_path) as address, Load(address) as load:
        first = ask(address, "/version")[1]["features_until"]
        until = datetime.datetime.fromisoformat(first).date() + datetime.timedelta(days=2)
        try:
            command = ["make", "refresh", f"UNTIL={until}"]
            subprocess.run(command, cwd=living, env=os.environ | {"CI": "1"}, check=True)
            told = until + datetime.timedelta(days=1)
            for _ in range(1000):
                if ask(address, "/version")[1]["features_until"].startswith(str(told)):
                    break
            else:
                pytest.fail(f"{package} did not take the new features")
        finally:
            (living / online).with_name("before").write_bytes(before)
            (living / online).with_name("before").replace(living / online)
    assert load.faults == []
    assert set(load.statuses) == {200}
    assert len(load.statuses) > 100
