# Every command of the template; `make` lists them.
UV := $(shell command -v uv || echo .venv/bin/uv)
RUN := "$(UV)" run --quiet
BUILD := build
# no cache: it would be rendered. Notebooks are checked in the render: they import the package by its name
IN_PLACE := --no-cache --exclude '*.ipynb'
DEMO := $(BUILD)/promotion_ranker

help: ## list the commands
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 10

setup: uv ## make the environment of the template
	"$(UV)" sync --quiet

demo: setup ## render the default answers, run the pipeline, ask the service for a ranking
	rm -rf $(DEMO) $(DEMO)-storage
	CD4ML_INIT=1 $(RUN) cookiecutter . --no-input --output-dir $(BUILD)
	$(MAKE) -C $(DEMO) setup reproduce
	$(RUN) python demo.py $(DEMO)
	@echo "The report: file://$(CURDIR)/$(DEMO)/reports/report.html"

check: setup ## lint and the fast tests
	$(RUN) ruff check $(IN_PLACE) --ignore N999,RUF200
	$(RUN) ruff format $(IN_PLACE) --check
	$(RUN) pytest -q -n 2 -m "not slow"

test: check ## the fast tests, then the slow ones
	$(RUN) pytest -q -n 2 --dist loadgroup -m slow

bench: demo ## time generation, update, pipeline, service and storages beside their floors
	$(RUN) python benchmarks/generation.py
	$(RUN) python benchmarks/update.py
	$(RUN) python benchmarks/pipeline.py
	$(RUN) python benchmarks/serving.py $(DEMO)
	$(RUN) python benchmarks/scale.py $(DEMO)
	$(RUN) python benchmarks/rivals.py $(DEMO)
	$(RUN) python benchmarks/storage.py --megabytes 64 --files 200 # without both: what docs/storage.md shows

# without uv on PATH, one is put into .venv, where `uv sync` keeps it
uv:
	@command -v "$(UV)" >/dev/null || { python3 -m venv .venv && .venv/bin/python -m pip install --quiet uv; }

.PHONY: help setup demo check test bench uv
