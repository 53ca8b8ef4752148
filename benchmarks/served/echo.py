"""The service, but a ranking that is parsed, validated and answered with a constant."""

import sys

import uvicorn
from promotion_ranker.serve import create
from promotion_ranker.serving.messages import Answer, Rank, parse


async def echo(body: bytes) -> Answer:
    """Answer without a look-up and a model."""
    parse(Rank, body)
    return Answer(b'{"ok":true}')


app = create()
app._posts["/rank"] = echo
uvicorn.run(app, port=int(sys.argv[1]), lifespan="off", ws="none", access_log=False)
