"""A service in the place of the real one: it says what its image is made of, or has a fault."""

import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULT = os.environ.get("FAULT", "")
FACTS = {name: os.environ[name.upper()] for name in ("model_hash", "data_hash")}
REVISION = "0" * 40 if FAULT == "lies" else os.environ["GIT_REVISION"]


class Answer(BaseHTTPRequestHandler):
    """/readyz and /version."""

    def do_GET(self):
        ready = (
            FAULT != "unready" and not Path(os.environ.get("PORT_FILE", "") + ".broken").exists()
        )
        content = {"revision": REVISION, **FACTS}
        if self.path == "/readyz":
            content = {"ready": True} if ready else {"error": "the features are 9 days old"}
        body = json.dumps(content).encode()
        self.send_response(200 if ready or self.path != "/readyz" else 503)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


if FAULT == "exits":
    sys.exit("the model is missing")
if port := os.environ.get("PORT"):  # in a container
    ThreadingHTTPServer(("0.0.0.0", int(port)), Answer).serve_forever()  # noqa: S104
server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
target = Path(os.environ["PORT_FILE"])
target.with_suffix(".new").write_text(str(server.server_port))
target.with_suffix(".new").rename(target)
server.serve_forever()
