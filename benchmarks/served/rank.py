"""The service as it is, on the same server and settings as its floors; `rank.py PORT`."""

import sys

import uvicorn
from promotion_ranker.serve import create

uvicorn.run(create(), port=int(sys.argv[1]), lifespan="off", ws="none", access_log=False)
