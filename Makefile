# make quickstart: from nothing to a searched, ranked and pictured model on drawn faces.
# make test: lint, types and every test. make test-all: the slow ones too. make docs: the documentation in site/.
# make fuzz MINUTES=60, make mutate MUTANTS=300, make kills KILLS=300: campaigns that look for faults (CONTRIBUTING.md).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
QUICK := quickstart
MINUTES := 60
MUTANTS := 300
KILLS := 300

.PHONY: quickstart setup test test-all lint format fuzz mutate kills docs clean
.DEFAULT_GOAL := help

help:
	@sed -n '/^#/!q; s/^# //p' $(firstword $(MAKEFILE_LIST))

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit("rcn-search needs Python 3.11 or newer" if sys.version_info < (3, 11) else 0)'
	@$(PYTHON) -m venv $(VENV)

# The tested versions. pip finds the CPU or the CUDA build of torch 2.13.0, whichever the machine's index has first.
$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo Installing into $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo Installing into $(VENV), with what the tests need
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@ $(VENV)/.installed

setup: $(VENV)/.installed-dev

quickstart: $(VENV)/.installed
	@$(BIN)/rcn-search data generate $(QUICK)/data --train 1500 --val 200 --test 300
	@$(BIN)/rcn-search tune search_spaces/quickstart.yaml --data $(QUICK)/data --study $(QUICK)/study \
		--leaderboard $(QUICK)/leaderboard --auto-resume
	@$(BIN)/rcn-search leaderboard --leaderboard $(QUICK)/leaderboard --dataset synthetic
	@$(BIN)/rcn-search figures faces $(QUICK)/study/test/predictions.parquet --data $(QUICK)/data --out $(QUICK)/faces.png
	@echo Now look at $(QUICK)/faces.png. Then:
	@echo . $(BIN)/activate
	@echo rcn-search study status $(QUICK)/study
	@echo rcn-search tune rcn --data YOUR_DATA

lint: setup
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: lint
	$(BIN)/python -m pytest --numprocesses 2 -m 'not slow'

test-all: lint
	$(BIN)/python -m pytest --numprocesses 2

fuzz: setup
	$(BIN)/python -m tests.fuzz.run --minutes $(MINUTES) --out .fuzz

mutate: setup
	$(BIN)/python benchmarks/mutation_sample.py --mutants $(MUTANTS) --out .mutants.jsonl

kills: setup
	$(BIN)/python benchmarks/kills.py --kills $(KILLS) --out .kills.jsonl

docs: setup
	NO_MKDOCS_2_WARNING=true $(BIN)/python -m mkdocs build --quiet
	@echo site/index.html

clean:
	rm -rf $(QUICK) site .mypy_cache .ruff_cache .pytest_cache
