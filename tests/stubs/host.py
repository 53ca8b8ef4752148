"""What the stubs of docker and kubectl share: a folder as the host, and real processes on it."""

import contextlib
import fcntl
import json
import os
import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path(os.environ.get("STUB_FOLDER", "."))
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def fail(sentence, code=1):
    """End as the real client does."""
    print(sentence, file=sys.stderr)
    sys.exit(code)


@contextlib.contextmanager
def state(host):
    """The host's state, changed by one client at a time; what failed half-way is written, too."""
    file = FOLDER / f"{host}.json"
    with (FOLDER / f"{host}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        content = json.loads(file.read_text()) if file.exists() else {}
        try:
            yield content
        finally:
            file.write_text(json.dumps(content, indent=1))


def pull(image):
    """The labels of an image in its registry; only a digest names one."""
    import urllib.error  # not above: most calls need no HTTP, and every call pays for an import

    name, _, digest = image.partition("@")
    if not digest.startswith("sha256:"):
        fail(f"{image} has no digest")
    host, _, repository = name.partition("/")
    try:
        manifest = _get(f"http://{host}/v2/{repository}/manifests/{digest}")
        blob = manifest["config"]["digest"]
        return _get(f"http://{host}/v2/{repository}/blobs/{blob}")["config"]["Labels"]
    except urllib.error.HTTPError:
        fail(f"Error response from daemon: manifest for {image} not found: manifest unknown")
    except OSError as error:
        fail(f"Error response from daemon: {host}: {error}")


def _get(url):
    import urllib.request

    request = urllib.request.Request(url, headers={"Accept": MANIFEST})  # noqa: S310
    with urllib.request.urlopen(request) as answer:  # noqa: S310
        return json.load(answer)


def keep_secret(words):
    """Refuse a command line that holds the password: every user of the machine could read it."""
    secret = os.environ.get("DASHBOARD_PASSWORD")
    if secret and any(secret in word for word in words):
        fail("a password has no place on a command line")


def start(labels, name, environment):
    """Start the stand-in of an image, which says whether it is the dashboard; process and port."""
    file = FOLDER / f"{name}.port"
    file.unlink(missing_ok=True)
    variables = {
        "GIT_REVISION": labels["org.opencontainers.image.revision"],
        "MODEL_HASH": labels.get("ml.model.hash", ""),
        "DATA_HASH": labels.get("ml.data.hash", ""),
        "FAULT": labels.get("test.fault", ""),
        "PORT_FILE": str(file),
        **environment,
    }
    exposes = 8000 if variables["MODEL_HASH"] else 8501
    program = [sys.executable, str(Path(__file__).with_name("stand_in.py"))]
    silent = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    process = subprocess.Popen(
        program, env=variables, **silent, stderr=subprocess.DEVNULL, start_new_session=True
    )
    with (FOLDER / "pids").open("a") as pids:
        pids.write(f"{process.pid}\n")
    while not file.exists() and process.poll() is None:
        time.sleep(0.01)
    port = int(file.read_text()) if file.exists() else 0
    return {"pid": process.pid, "port": port, "exposes": exposes}


def alive(container):
    """Whether its process runs."""
    try:
        text = Path(f"/proc/{container['pid']}/stat").read_text()
    except OSError:
        return False
    return text.rpartition(")")[2].split()[0] != "Z"


def stop(container):
    """End its process, as SIGTERM does."""
    if alive(container):
        os.kill(container["pid"], 15)
        while alive(container):
            time.sleep(0.01)


def execute(container, words):
    """Run a command in a container."""
    if not alive(container):
        fail(f"Error response from daemon: container {container['name']} is not running")
    if words[:2] != ["python", "-c"]:
        fail(f"exec: {words[0]}: not found", 127)
    name = "PORT" if container["exposes"] == 8000 else "STREAMLIT_SERVER_PORT"
    variables = container["environment"] | {name: str(container["port"])}
    done = subprocess.run([sys.executable, *words[1:]], env=variables, check=False)
    sys.exit(done.returncode)
