"""A base image made from this machine's own Python in seconds: nothing is pulled."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path

PROGRAMS = ("sh", "cat", "chmod", "env", "id", "ls", "mkdir", "rm", "sleep", "touch")
SYSTEM = ("libc.so.6", "libdl.so.2", "libm.so.6", "libpthread.so.0", "librt.so.1", "libutil.so.1")
LOADED = ("libgcc_s.so.1", "libstdc++.so.6", "libnss_dns.so.2", "libnss_files.so.2")
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
LEFT_OUT = {"__pycache__", "site-packages", "test", "tests", "idlelib", "tkinter", "turtledemo"}


def make(path: Path) -> None:
    """Write a tar with Python in /usr/local, the libraries it needs, a shell and certificates."""
    prefix = Path(sys.base_prefix)
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    programs = [Path("/bin", name) for name in PROGRAMS if Path("/bin", name).exists()]
    extensions = (prefix / "lib" / version / "lib-dynload").glob("*.so")
    extensions = (path for path in extensions if "tkinter" not in path.name)
    needed = _libraries([prefix / "bin" / version, *programs, *extensions])
    with tarfile.open(path, "w") as tar:
        for name in ("dev", "etc", "proc", "sys", "tmp", "usr/local/bin", "var"):
            _folder(tar, name)
        tar.add(prefix / "bin" / version, f"usr/local/bin/{version}")
        for link in ("python", "python3"):
            _link(tar, f"usr/local/bin/{link}", version)
        tar.add(prefix / "lib" / version, f"usr/local/lib/{version}", filter=_slim)
        for library in (prefix / "lib").glob("libpython*.so*"):
            tar.add(library, f"usr/local/lib/{library.name}")
        for library in needed:
            tar.add(library.resolve(), str(library).lstrip("/"))
        for program in programs:
            tar.add(program.resolve(), f"bin/{program.name}")
        tar.add(CERTIFICATES.resolve(), str(CERTIFICATES).lstrip("/"))
        _link(tar, "usr/lib/ssl/cert.pem", str(CERTIFICATES))
        _text(tar, "etc/passwd", "root:x:0:0:root:/root:/bin/sh\n")
        _text(tar, "etc/nsswitch.conf", "hosts: files dns\n")
        pip = 'import runpy, sys; sys.argv[0] = "pip"; runpy.run_module("pip", run_name="__main__")'
        _text(tar, "usr/local/bin/pip", f"#!/usr/local/bin/python3\n{pip}\n", 0o755)
        packages = f"lib/{version}/site-packages"
        tar.add(prefix / packages / "pip", f"usr/local/{packages}/pip")


def _libraries(files: list[Path]) -> list[Path]:
    output = subprocess.run(["/usr/bin/ldd", *files], capture_output=True, text=True).stdout
    found = {Path(path) for path in re.findall(r"(?:=> |^\s+)(/\S+)", output, re.MULTILINE)}
    folder = next(path.parent for path in found if path.name == "libc.so.6")
    for name in (*SYSTEM, *LOADED):
        for place in (folder, Path("/usr") / str(folder).lstrip("/")):
            if (place / name).exists():
                found.add(folder / name)
    return sorted(found)


def _slim(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    return None if LEFT_OUT & set(Path(entry.name).parts[4:]) else entry


def _folder(tar: tarfile.TarFile, name: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
    tar.addfile(entry)


def _link(tar: tarfile.TarFile, name: str, target: str) -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = tarfile.SYMTYPE, target
    tar.addfile(entry)


def _text(tar: tarfile.TarFile, name: str, text: str, mode: int = 0o644) -> None:
    entry = tarfile.TarInfo(name)
    entry.size, entry.mode = len(text), mode
    tar.addfile(entry, io.BytesIO(text.encode()))


if __name__ == "__main__":
    os.umask(0o022)
    make(Path(sys.argv[1]))
