"""Start the service, and end at its first 200 of /readyz; `start.py PORT`."""

import os
import sys
import threading
import time
import urllib.request

from promotion_ranker import serve


def look(url: str) -> None:
    """Ask until it is ready."""
    while True:
        try:
            urllib.request.urlopen(url)  # noqa: S310
            os._exit(0)
        except OSError:
            time.sleep(0.002)


os.environ["PORT"] = sys.argv[1]
address = f"http://127.0.0.1:{sys.argv[1]}/readyz"
threading.Thread(target=look, args=(address,), daemon=True).start()
serve.main()
