"""What a push and a pull cost beside the plain client of each storage's protocol.

`python benchmarks/storage.py [--megabytes 1024] [--files 2000] [ANSWER …]` starts each storage's
server on loopback, renders a project with that answer, and moves one large file and many small ones
(10 kB) with the project's verbs, then with cp, the cloud's own library (8 at a time) or sftp. What
could not be measured is said on its line, and the exit code is 1.
"""

import argparse
import filecmp
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests"))
import storages  # noqa: E402

THREADS, SMALL = 8, 10_000
Transfer = Callable[[Path], None]  # of a folder: all its files there, or all of them here
Client = tuple[Transfer, Transfer]


class Straight(NamedTuple):
    """No wire: the tests' relay, in Python, would be what is measured."""

    port: int

    def close(self) -> None:
        """Nothing is open."""


def each(one: Callable[[Path], object], names: list[str]) -> Transfer:
    """Move every file of a folder, some at a time."""

    def every(folder: Path) -> None:
        with ThreadPoolExecutor(THREADS) as pool:
            list(pool.map(one, [folder / name for name in names]))

    return every


def copy(place: storages.Place, names: list[str]) -> Client:
    """A copy with cp."""
    there = Path(place.url("plain"))
    there.mkdir()

    def cp(source: Path, target: Path) -> None:
        subprocess.run(["cp", *(source / name for name in names), target], check=True)

    return lambda folder: cp(folder, there), lambda folder: cp(there, folder)


def amazon(place: storages.Place, names: list[str]) -> Client:
    """Amazon's own library."""
    import botocore.session

    address = f"http://127.0.0.1:{place.wire.port}"
    keys = {name.lower(): place.variables[name] for name in place.variables if "_KEY" in name}
    client = botocore.session.get_session().create_client(
        "s3", endpoint_url=address, region_name="us-east-1", **keys
    )

    def put(path: Path) -> None:
        with path.open("rb") as file:
            client.put_object(Bucket="my-bucket", Key=f"plain/{path.name}", Body=file)

    def get(path: Path) -> None:
        with path.open("wb") as file:
            found = client.get_object(Bucket="my-bucket", Key=f"plain/{path.name}")
            shutil.copyfileobj(found["Body"], file, 1 << 20)

    return each(put, names), each(get, names)


def google(place: storages.Place, names: list[str]) -> Client:
    """Google's own library."""
    from google.cloud import storage
    from google.oauth2.service_account import Credentials

    address, key = (
        place.variables[name]
        for name in ("STORAGE_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS")
    )
    login = Credentials.from_service_account_file(
        key, scopes=["https://www.googleapis.com/auth/devstorage.read_write"]
    )
    options = {"api_endpoint": address}
    bucket = storage.Client(login.project_id, login, client_options=options).bucket("my-bucket")
    return (
        each(lambda path: bucket.blob(f"plain/{path.name}").upload_from_filename(path), names),
        each(lambda path: bucket.blob(f"plain/{path.name}").download_to_filename(path), names),
    )


def azure(place: storages.Place, names: list[str]) -> Client:
    """Microsoft's own library."""
    from azure.storage.blob import ContainerClient

    (secret,) = place.variables.values()
    container = ContainerClient.from_connection_string(secret, "my-container")

    def put(path: Path) -> None:
        with path.open("rb") as file:
            container.upload_blob(f"plain/{path.name}", file)

    def get(path: Path) -> None:
        with path.open("wb") as file:
            container.download_blob(f"plain/{path.name}").readinto(file)

    return each(put, names), each(get, names)


def sftp(place: storages.Place, names: list[str]) -> Client:
    """OpenSSH's own client, one batch of commands."""
    url = urlsplit(place.url("plain"))
    options = ["-q", "-P", str(url.port), "-i", place.variables["STORAGE_KEYFILE"]]
    options += ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null"]

    def batch(text: str) -> None:
        command = ["sftp", *options, "-b", "-", f"{url.username}@{url.hostname}"]
        subprocess.run(command, input=text, text=True, check=True, capture_output=True)

    return (
        lambda folder: batch(f"mkdir {url.path}\nput {folder}/* {url.path}\n"),
        lambda folder: batch(f"get {url.path}/* {folder}\n"),
    )


def webdav(place: storages.Place, names: list[str]) -> Client:
    """The HTTP client that DVC's own WebDAV stands on."""
    from webdav4.client import Client as Dav

    address = place.url("plain").replace("webdav://", "http://")
    login = (place.variables["STORAGE_USER"], place.variables["STORAGE_PASSWORD"])
    dav = Dav(address, auth=login, timeout=600)
    return (
        each(lambda path: dav.upload_file(path, path.name), names),
        each(lambda path: dav.download_file(path.name, path), names),
    )


CLIENTS = {
    "local": copy,
    "s3": amazon,
    "s3_compatible": amazon,
    "gcs": google,
    "azure": azure,
    "ssh": sftp,
    "webdav": webdav,
}


def render(storage: str, url: str, folder: Path) -> Path:
    """Render a project with this storage and no pipeline."""
    command = [sys.executable, "-m", "cookiecutter", ROOT, "--no-input", "-o", folder]
    variables = os.environ | {"CD4ML_LOCK": "0", "CD4ML_INIT": "1"}
    answers = [f"storage={storage}", f"storage_url={url}"]
    subprocess.run([*command, *answers], env=variables, check=True, stdout=subprocess.DEVNULL)
    project = folder / "promotion_ranker"
    (project / "dvc.yaml").unlink()
    return project


def fill(folder: Path, sizes: list[int]) -> list[str]:
    """Write files of random bytes; their names."""
    folder.mkdir(parents=True)
    names = [f"{number}.bin" for number in range(len(sizes))]
    for name, size in zip(names, sizes, strict=True):
        with (folder / name).open("wb") as file:
            for start in range(0, size, 1 << 24):
                file.write(os.urandom(min(1 << 24, size - start)))
    return names


def measure(do: Callable[[], object]) -> float:
    """Wall seconds."""
    start = time.perf_counter()
    do()
    return time.perf_counter() - start


def compare(storage: str, sizes: list[int], folder: Path) -> Iterator[tuple[str, float, float]]:
    """Seconds of the project's verb and of the plain client, for push and pull."""
    with storages.place(
        storage, folder / "server", lambda name: shutil.which(name) or name
    ) as place:
        project = render(storage, place.url("dvc"), folder)
        data, back = project / "data" / "load", folder / "back"
        names = fill(data, sizes)
        back.mkdir()
        variables = os.environ | place.variables

        def run(*words: str) -> None:
            command = [sys.executable, "-m", *words]
            done = subprocess.run(command, cwd=project, env=variables, capture_output=True)
            if done.returncode:
                raise RuntimeError(done.stderr.decode())

        run("dvc", "add", "--quiet", "data/load")
        put, get = CLIENTS[storage](place, names)
        yield "push", measure(lambda: run("delivery", "push")), measure(lambda: put(data))
        shutil.rmtree(project / ".dvc" / "cache")
        shutil.rmtree(data)
        yield "pull", measure(lambda: run("delivery", "pull")), measure(lambda: get(back))
        assert filecmp.cmpfiles(data, back, names, shallow=False)[0] == names


def main() -> int:
    """Print a line a storage, load and direction."""
    known = json.loads((ROOT / "cookiecutter.json").read_text())["storage"]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1024)
    parser.add_argument("--files", type=int, default=2000)
    parser.add_argument("storages", nargs="*", default=known, metavar="ANSWER")
    given = parser.parse_args()
    loads = {
        f"1 x {given.megabytes} MiB": [given.megabytes << 20],
        f"{given.files} x 10 kB": [SMALL] * given.files,
    }
    print(f"{'storage':15}{'load':16}{'':6}{'verb s':>8}{'plain s':>9}{'ratio':>7}")
    failed, storages.Wire = 0, Straight
    for storage, (load, sizes) in product(given.storages, loads.items()):
        with tempfile.TemporaryDirectory() as folder:
            try:
                for way, ours, plain in compare(storage, sizes, Path(folder)):
                    line = f"{storage:15}{load:16}{way:6}{ours:8.2f}{plain:9.2f}{ours / plain:7.1f}"
                    print(line, flush=True)
            except Exception as error:  # a server may be too small for a load; the others are not
                print(f"{storage:15}{load:16}{' '.join(str(error).split())}", flush=True)
                failed = 1
    return failed


if __name__ == "__main__":
    sys.exit(main())
