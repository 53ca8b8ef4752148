"""Start the service, by `make serve`.

The environment wins over params.yaml: HOST, PORT, SERVE_MODEL (model or baseline), API_KEYS
(comma-separated; then /rank and /predict need the header `Authorization: Bearer KEY`) and
FEATURES_STORE (the URL of a Redis that holds the online features; without it they are in the file).
"""

import hashlib
import os
import sys
import tempfile

import uvicorn

from . import params
from .errors import StageError
from .ranking import Ranker
from .serving.service import Service


def create() -> Service:
    """The application of one worker; raises StageError that says what is missing or wrong."""
    settings = params.load().serve
    served = os.environ.get("SERVE_MODEL", "model")
    if served not in ("model", "baseline"):
        raise StageError(f"SERVE_MODEL is model or baseline, not {served}")
    keys = [key.strip() for key in os.environ.get("API_KEYS", "").split(",")]
    if keys != [""] and "" in keys:
        raise StageError("API_KEYS has an empty key")
    digests = [hashlib.sha256(key.encode()).digest() for key in keys if key]
    return Service(settings, Ranker(served), digests)


def main() -> None:
    """Serve until SIGTERM, then answer what was accepted and end."""
    settings, service = params.load().serve, create()
    port = os.environ.get("PORT", str(settings.port))
    if not port.isdecimal():
        raise StageError(f"PORT is a number, not {port}")
    if settings.workers > 1:  # each is a process that makes its own; this one showed that it can
        os.environ.setdefault("PROMETHEUS_MULTIPROC_DIR", tempfile.mkdtemp(prefix="metrics-"))
    uvicorn.run(
        service if settings.workers == 1 else f"{__package__}.serve:create",
        factory=settings.workers > 1,
        workers=settings.workers,
        host=os.environ.get("HOST", settings.host),
        port=int(port),
        lifespan="off",
        ws="none",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=settings.drain_seconds,
    )


if __name__ == "__main__":
    try:
        main()
    except (StageError, OSError) as fault:
        sys.exit(f"ERROR: {fault}")
