"""The floor: an ASGI application that reads JSON and gives a constant; `bare.py PORT`."""

import json
import sys

import onnxruntime  # noqa: F401 - its memory is part of the floor
import uvicorn

BODY = b'{"ok":true}'
HEADERS = [(b"content-type", b"application/json"), (b"content-length", b"11")]


async def app(scope, receive, send) -> None:  # noqa: ANN001 - as the standard has them
    """Answer any request."""
    json.loads((await receive())["body"])
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": BODY})


uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", ws="none", access_log=False)
