"""`make doctor` tells what is missing and how to mend it, whatever is there, and shows no value."""

import re
import shutil
import sys

import pytest
import registry
from conftest import copy


def lines(done):
    """State and remedy of each line, by name."""
    found = re.findall(r"^  (ok|missing) +(.+?)(?:  +.+: (.+))?$", done.stdout, re.MULTILINE)
    return {name.strip(): (state, remedy) for state, name, remedy in found}


def test_it_works_before_the_set_up_and_says_what_comes_first(project, run):
    done = run("make", "doctor", cwd=project, check=False)
    assert "Traceback" not in done.stdout + done.stderr
    assert done.returncode == 2  # what make makes of a failure
    found = lines(done)
    assert found["environment"] == ("missing", "make setup")
    assert found["git repository"][0] == "ok"
    assert found["notebook drivers"] == ("ok", "")  # the template switched them on
    assert found["commit hooks"] == ("missing", "make setup")
    assert found["IMAGE_REGISTRY"] == ("missing", "export IMAGE_REGISTRY=ghcr.io/team")
    for name in ("engine", "storage", "deploy target"):
        assert found[name][0] in {"ok", "missing"}


def test_it_works_without_libraries_git_and_a_repository(project, run, tmp_path):
    shutil.rmtree(project / ".git")
    (tmp_path / "empty").mkdir()
    command = (sys.executable, "-S", "-m", "delivery", "doctor")
    done = run(*command, cwd=project, check=False, PATH=tmp_path / "empty")
    assert done.returncode == 2
    assert done.stderr == ""
    found = lines(done)
    assert found["git repository"][0] == "missing"
    assert found["engine"] == found["deploy target"] == ("missing", "make setup")


def test_each_line_follows_what_is_there(project, run, git, needs, tmp_path):
    doctor = (sys.executable, "-m", "delivery", "doctor")

    def look(**variables):
        done = run(*doctor, cwd=project, check=False, **variables)
        assert "hunter2" not in done.stdout + done.stderr
        return lines(done)

    git(project, "config", "--local", "--unset", "include.path")
    before = look()
    assert before["git name"] == ("missing", 'git config user.name "Ada Lovelace"')
    assert before["git remote"] == ("missing", "git remote add origin URL")
    git(project, "config", "user.name", "Ada")
    git(project, "remote", "add", "origin", "https://user:hunter2@example.com/x.git")
    git(project, "config", "--local", "include.path", "../.gitconfig")
    (project / ".git/hooks").mkdir(exist_ok=True)
    (project / ".git/hooks/pre-commit").touch()
    (project / "uv.lock").touch()
    after = look(SSH_PRIVATE_KEY="hunter2", DASHBOARD_PASSWORD="hunter2", HOME=tmp_path)
    for name in ("git name", "git remote", "notebook drivers", "commit hooks", "lock"):
        assert before[name][0] == "missing", name
        assert after[name] == ("ok", ""), name
    assert after["SSH_PRIVATE_KEY"][0] == after["DASHBOARD_PASSWORD"][0] == "ok"
    remedy = "set it here, and among the secrets of your CI"
    assert before["DASHBOARD_PASSWORD"] == ("missing", remedy)
    assert before["SSH_PRIVATE_KEY"][0] == after["SSH_KNOWN_HOSTS"][0] == "missing"
    with registry.running(needs("docker-registry"), tmp_path / "images", closed=True) as address:
        who = {"IMAGE_REGISTRY": address, "REGISTRY_USER": "ci"}
        assert look(**who, REGISTRY_PASSWORD="hunter2")["registry"] == ("missing", "docker login")
        assert look(**who, REGISTRY_PASSWORD="secret")["registry"][0] == "ok"
    assert look(**who, REGISTRY_PASSWORD="secret")["registry"][0] == "missing"


@pytest.mark.parametrize("deploy", ["kubernetes", "none"])
def test_a_target_that_is_not_there_is_named(bake, run, tmp_path, deploy):
    (tmp_path / "git").symlink_to(shutil.which("git"))
    command = (sys.executable, "-m", "delivery", "doctor")
    done = run(*command, cwd=bake(deploy=deploy), check=False, PATH=tmp_path)
    sentence = "kubectl is not installed" if deploy == "kubernetes" else "without a deploy target"
    assert sentence in done.stdout
    assert ("DEPLOY_KUBECONFIG" in done.stdout) == (deploy == "kubernetes")


def test_the_secrets_of_the_storage_are_told_by_name_alone(bake, run, tmp_path):
    project = copy(bake(storage="webdav", storage_url="webdav://127.0.0.1:9/x"), tmp_path / "it")
    (project / ".dvc/config.local").write_text("['remote \"storage\"']\n    user = hunter2\n")
    command = (sys.executable, "-m", "delivery", "doctor")
    done = run(*command, cwd=project, check=False, STORAGE_TOKEN="hunter2", STORAGE_PASSWORD="")
    assert "hunter2" not in done.stdout + done.stderr
    found = lines(done)
    assert found["STORAGE_TOKEN"] == found["STORAGE_USER"] == ("ok", "")
    assert found["STORAGE_PASSWORD"][0] == "missing"
    assert found["storage"][0] == "missing"
    assert "webdav://127.0.0.1:9/x does not answer" in done.stdout


@pytest.mark.slow
def test_a_project_that_is_set_up_is_well(living, user, tmp_path):
    project = copy(living, tmp_path / "promotion_ranker")
    user("make", "setup", cwd=project)
    who = {"GIT_CONFIG_COUNT": "2", "GIT_CONFIG_KEY_0": "user.name", "GIT_CONFIG_VALUE_0": "Ada"}
    who |= {"GIT_CONFIG_KEY_1": "user.email", "GIT_CONFIG_VALUE_1": "ada@example.com"}
    found = lines(user("make", "doctor", cwd=project, **who))
    assert found["environment"] == found["commit hooks"] == found["storage"] == ("ok", "")
    config = project / ".dvc/config"
    config.write_text(config.read_text().replace("url = ", "url = webdav://127.0.0.1:9/"))
    found = lines(user("make", "doctor", cwd=project, **who))
    assert found["storage"][0] == "missing"
