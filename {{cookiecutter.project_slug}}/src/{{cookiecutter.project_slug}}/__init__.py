"""The model and everything that makes it: one module a stage of dvc.yaml."""

import os

# no pool of threads that nothing here uses, and sums that do not depend on the number of cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
