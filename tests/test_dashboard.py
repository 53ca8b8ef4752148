"""The dashboard as people see it: with real reports and the real service, without, in a browser."""

import os
import re
import shutil
import socket
import subprocess
import time
import urllib.request

import pytest
from browser import browse
from conftest import copy
from service import serving

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("service")]
APP = "src/promotion_ranker/dashboard.py"
WAIT_SECONDS = 90
AT = f"""
import sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file("{APP}", default_timeout=60).run()
def told():
    kinds = "title header subheader markdown success error warning info caption".split()
    return "\\n".join(element.value for kind in kinds for element in at.get(kind))
"""
ASK = """
assert not at.exception, at.exception
assert "The model earns" in told(), told()
assert "Weakest: **" in told()
at.number_input[0].set_value(7).run()
assert not at.exception
print("by id", [frame.value.iloc[0].to_dict() for frame in at.dataframe])
at.number_input[0].set_value(10**9).run()
assert "this is the ranking for everybody" in told(), told()
at.radio[0].set_value("a player as described").run()
assert not at.exception, at.exception
assert "Why?" in told() and "First in line" in told(), told()
before = at.dataframe[-1].value
spend = next(field for field in at.number_input if field.label == "spend_84d")
spend.set_value(500.0).run()
after = at.dataframe[-1].value
assert after.iloc[0, 1] > before.iloc[0, 1], (before, after)
print("well")
"""
WITHOUT = """
assert not at.exception, at.exception
assert "does not answer" in told(), told()
assert "The monitor has not looked yet" in told()
print("well")
"""
PASSWORD = "of the team, é"  # noqa: S105
ENTER = f"""
def shows():
    return "The model earns" in told() or bool(at.tabs)
(field,) = at.text_input
assert field.proto.type == field.proto.PASSWORD and not shows()
for wrong in ("of the team", " ", "{PASSWORD} "):
    at.text_input[0].set_value(wrong).run()
    assert not at.exception, at.exception
    assert "This is not the password." in told() and not shows(), told()
at.text_input[0].set_value("{PASSWORD}").run()
assert not at.exception, at.exception
assert "The model earns" in told() and "Password" not in [f.label for f in at.text_input]
at.number_input[0].set_value(7).run()
assert shows(), "asked again"
at = AppTest.from_file("{APP}", default_timeout=60).run()
assert not shows(), "open to the next session"
print("well")
"""
CLOSED = """
assert not at.exception and not at.text_input and not at.tabs
assert "set DASHBOARD_PASSWORD" in told() and "The model earns" not in told(), told()
print("well")
"""


@pytest.fixture(scope="module")
def project(living, user, tmp_path_factory):
    """A project with the dashboard's group installed."""
    project = copy(living, tmp_path_factory.mktemp("dashboard") / "project")
    user("uv", "sync", "--frozen", "--quiet", "--group", "dashboard", cwd=project)
    return project


@pytest.fixture(scope="module")
def address(project, tmp_path_factory):
    with serving(project, tmp_path_factory.mktemp("service")) as found:
        yield found


def look(user, project, code, **environment):
    return user(project / ".venv/bin/python", "-c", AT + code, cwd=project, **environment).stdout


def test_people_see_the_worth_the_weakness_and_a_ranking_with_its_reasons(user, project, address):
    assert look(user, project, ASK, SERVICE=address).endswith("well\n")


def test_without_a_service_or_a_monitor_it_says_what_to_do(user, project):
    assert look(user, project, WITHOUT, SERVICE="http://127.0.0.1:9").endswith("well\n")


def test_the_password_is_asked_for_and_only_it_opens_the_page(user, project, address):
    said = look(user, project, ENTER, SERVICE=address, DASHBOARD_PASSWORD=PASSWORD)
    assert said.endswith("well\n")


def test_whom_other_machines_reach_without_a_password_shows_nothing(user, project, tmp_path):
    for name in ("src", "reports"):  # and no address: Streamlit then listens on all
        (tmp_path / name).symlink_to(project / name)
    command = (project / ".venv/bin/python", "-c", AT + CLOSED)
    assert user(*command, cwd=tmp_path, DASHBOARD_PASSWORD="").stdout.endswith("well\n")


def test_without_reports_it_names_the_command(user, project, tmp_path):
    other = tmp_path / "empty"
    (other / APP).parent.mkdir(parents=True)
    (other / APP).write_text((project / APP).read_text())
    shutil.copytree(project / ".streamlit", other / ".streamlit")
    code = 'assert "make reproduce" in told()'
    user(project / ".venv/bin/python", "-c", AT + code, cwd=other)


def test_it_shows_itself_in_a_browser(project, address, needs, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [project / ".venv/bin/streamlit", "run", APP, f"--server.port={port}"]
    with (tmp_path / "log").open("wb") as log:
        variables = os.environ | {"SERVICE": address}
        process = subprocess.Popen(command, cwd=project, env=variables, stdout=log, stderr=log)
    try:
        end = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/_stcore/health", timeout=5).close()
                break
            except OSError:
                assert process.poll() is None, (tmp_path / "log").read_text()
                assert time.monotonic() < end
                time.sleep(0.2)
        with browse(needs("chromium"), tmp_path / "profile") as page:
            page.open(f"http://127.0.0.1:{port}/")
            page.until("document.body?.innerText.includes('The model earns')", WAIT_SECONDS)
            for number, words in enumerate(
                ("off by", "Weakest:", "First in line", "The service answers")
            ):
                page.evaluate(f"document.querySelectorAll('[role=tab]')[{number}].click()")
                page.until(f"document.body.innerText.includes('{words}')", WAIT_SECONDS)
                time.sleep(1)  # charts are drawn after the words
                page.screenshot(tmp_path / f"{number}.png")
            hosts = {
                url.split("/")[2] for url in page.requested if re.match(r"(http|ws)s?://", url)
            }
            assert hosts == {f"127.0.0.1:{port}"}
            assert page.errors == []
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_the_project_does_without_the_dashboard(living):
    assert not list(living.glob(".venv/lib/python*/site-packages/streamlit"))
