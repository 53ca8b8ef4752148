"""A service in the place of the real one: it says what its image is made of, or has a fault.

Without a model it is a dashboard: it says whether a password closes it, and whom it asks.
"""

import json
import os
import sys
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

FAULT = os.environ.get("FAULT", "")
FACTS = {name: os.environ[name.upper()] for name in ("model_hash", "data_hash")}
REVISION = "0" * 40 if FAULT == "lies" else os.environ["GIT_REVISION"]


class Page(BaseHTTPRequestHandler):
    """/_stcore/health, and what a person sees at /."""

    def do_GET(self):
        if self.path not in ("/_stcore/health", "/") or FAULT:
            return self.send_error(503 if FAULT else 404)
        body = b"ok"
        if self.path == "/":
            place = os.environ["SERVICE"]
            place = Path(place).read_text() if place.startswith("/") else place  # of a cluster
            with urllib.request.urlopen(f"{place}/version") as answer:  # noqa: S310
                asked = json.load(answer)["revision"]
            closed = bool(os.environ.get("DASHBOARD_PASSWORD"))
            body = json.dumps({"revision": REVISION, "asks": asked, "closed": closed}).encode()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


class Answer(BaseHTTPRequestHandler):
    """/readyz and /version."""

    def do_GET(self):
        if self.path not in ("/readyz", "/version"):
            return self.send_error(404)
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
handler = Answer if os.environ["MODEL_HASH"] else Page
if port := os.environ.get("PORT") or os.environ.get("STREAMLIT_SERVER_PORT"):  # in a container
    ThreadingHTTPServer(("0.0.0.0", int(port)), handler).serve_forever()  # noqa: S104
server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
target = Path(os.environ["PORT_FILE"])
target.with_suffix(".new").write_text(str(server.server_port))
target.with_suffix(".new").rename(target)
server.serve_forever()
