"""Push, pull and check the stored data and models; relocation.py moves to another storage."""

import hashlib
import json
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from dvc.exceptions import CheckoutError, UploadError

from . import DeliveryError
from .failure import Heard, explain, first_line
from .place import Place, read_place, read_table
from .repository import open_repository, require_answer

JOBS = 8
COMMITTED = {"revs": ["HEAD"], "all_tags": True, "workspace": False}
AGAIN = "then run it again, what has arrived is kept"


def push(arguments: list[str]) -> int:
    """Push what this commit needs to the storage."""
    with opened("push") as repo:
        try:
            pushed = complete(repo)
        except UploadError as refused:  # a server may lock what two uploads touch at once
            require_answer(repo)
            print(f"{refused.amount} files were refused: once more")
            pushed = complete(repo)
    print(f"{pushed} files pushed")
    return 0


def complete(repo: Any) -> int:
    """Send what the storage lacks, and again what a push that was cut short has left there."""
    under_way = Path(repo.tmp_dir, "push")
    if under_way.exists():  # some servers keep half an object
        names, remote = list_objects(repo), repo.cloud.get_remote_odb()
        faults = find_faults(remote, repo.cache.local, names)
        send(repo.cache.local, remote, {o: f for o, f in faults.items() if f == "corrupt"})
    under_way.touch()
    pushed = repo.push()
    under_way.unlink()
    return pushed


def pull(arguments: list[str]) -> int:
    """Pull what this commit needs from the storage, each object checked by its hash."""
    with opened("pull") as repo:
        try:
            print(f"{repo.pull()['stats']['fetched']} files pulled")
            return 0
        except CheckoutError as error:
            reason = first_line(error)
        finally:
            sweep(repo.cache.local)
        remote = repo.cloud.get_remote_odb()
        require_bucket(remote)
        for oid in list(list_objects(repo))[:1]:
            find_fault(remote, oid)  # raises what DVC took for an absence: a refusal, a dead server
        hint = "`make storage-check` says which objects are missing or corrupt"
        raise DeliveryError(f"pull failed: {reason} ...: {hint}")


def sweep(cache: Any) -> None:
    """Remove what arrived in part; DVC has made read-only what it found whole."""
    from dvc_objects.errors import ObjectFormatError

    for oid in list(cache.all()):
        with suppress(ObjectFormatError, FileNotFoundError):
            cache.check(oid)


def check(arguments: list[str]) -> int:
    """Hash what the storage holds for this commit and the tags; --repair mends it."""
    with opened("storage-check") as repo:
        names, remote = list_objects(repo, **COMMITTED), repo.cloud.get_remote_odb()
        faults = find_faults(remote, repo.cache.local, names)
        if len(faults) == len(names):
            require_bucket(remote)
        if faults and "--repair" in arguments:
            send(repo.cache.local, remote, faults)
            faults = find_faults(remote, repo.cache.local, {oid: names[oid] for oid in faults})
    for oid, fault in faults.items():
        print(f"{fault}: {oid} ({names[oid]})")
    if faults:
        hint = "where the cache holds them, `make storage-check REPAIR=1` mends it"
        raise DeliveryError(f"{len(faults)} of {len(names)} objects are not good: {hint}")
    print(f"{len(names)} objects are there and whole")
    return 0


def ask() -> None:
    """See that the storage lets us in, and that its bucket is there.

    Raises:
        DeliveryError: it does not, or is not.
    """
    with opened("") as repo:
        remote = repo.cloud.get_remote_odb()
        with suppress(FileNotFoundError):  # folders are made by the first push
            remote.fs.info(remote.path)
        require_bucket(remote)


def list_objects(repo: Any, **where: Any) -> dict[str, str]:
    """The path of every object that is needed, by hash; folders by their list."""
    names = {}
    for _ in repo.brancher(**where):
        for out in repo.index.outs:
            made = out.hash_info and out.hash_info.name == "md5"
            if out.use_cache and out.can_push and made:
                names[out.hash_info.value] = repo.fs.relpath(out.fs_path, repo.root_dir)
    return names


def find_faults(store: Any, other: Any, names: dict[str, str]) -> dict[str, str]:
    """What is `missing` or `corrupt` in a store, by hash; adds the files of folders to the names.

    The list of a folder is read from the other store where this one does not hold it.
    """
    for oid in [oid for oid in names if oid.endswith(".dir")]:
        for entry in list_folder(store, oid) or list_folder(other, oid):
            names.setdefault(entry["md5"], f"{names[oid]}/{entry['relpath']}")
    with ThreadPoolExecutor(JOBS) as pool:
        found = pool.map(lambda oid: find_fault(store, oid), names)
        return {oid: fault for oid, fault in zip(names, found, strict=True) if fault}


def list_folder(store: Any, oid: str) -> list[dict[str, str]]:
    """The entries of a folder, if the store holds its list and the list is whole."""
    return [] if find_fault(store, oid) else json.loads(store.fs.cat_file(store.oid_to_path(oid)))


def find_fault(store: Any, oid: str) -> str:
    """Read an object in full: `missing`, `corrupt`, or nothing wrong."""
    digest = hashlib.md5(usedforsecurity=False)
    try:
        with store.fs.open(store.oid_to_path(oid), "rb") as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except FileNotFoundError:
        return "missing"
    return "" if digest.hexdigest() == oid.partition(".")[0] else "corrupt"


def require_bucket(remote: Any) -> None:
    """Tell a missing bucket from missing objects; folders are made when something is pushed."""
    from dvc_objects.fs.base import ObjectFileSystem

    bucket = remote.path.partition("/")[0]
    if isinstance(remote.fs, ObjectFileSystem) and not remote.fs.exists(bucket):
        raise FileNotFoundError(f"there is no bucket {bucket}") from None


def send(source: Any, target: Any, faults: dict[str, str]) -> None:
    """Replace objects of the target by those that the source holds whole; folders' lists last."""
    good = [oid for oid in faults if not find_fault(source, oid)]
    for oid in good:
        if faults[oid] == "corrupt":
            target.delete(oid)
    for batch in ([o for o in good if ".dir" not in o], [o for o in good if ".dir" in o]):
        paths = [source.oid_to_path(oid) for oid in batch]
        target.add(paths, source.fs, batch, check_exists=False, verify=False)


@contextmanager
def opened(action: str, place: Place | None = None) -> Generator[Any]:
    """DVC's repository of this project; what goes wrong inside is said in a sentence.

    Without an action the sentence is the reason alone.

    Raises:
        DeliveryError: why, and what to do.
    """
    heard = Heard()
    try:
        place = place or read_place(read_table())
        with open_repository(place) as repo:
            require_answer(repo)
            yield repo
    except DeliveryError:
        raise
    except Exception as error:
        place = place or Place(".dvc/config", "", {})
        reason = explain([*heard.errors, error], place.url, place.login)
        said = f"{action} failed: {reason}; {AGAIN}" if action else reason
        raise DeliveryError(said) from error
