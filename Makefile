# Everything runs in an environment of its own: nothing is taken from the machine but Python and make.
PYTHON ?= python3
VENV ?= .venv
DEV_VENV ?= .venv-dev
DEV = $(DEV_VENV)/bin
CLIENTS ?= build/clients

.PHONY: demo test test-all test-clients test-slow lint model bench clean

demo: $(VENV)/installed  ## Rerank a real example with the bundled model; prints the JSON response.
	@printf '%s\n' \
	  'Llamas are kept as pack animals in the Andes of Peru.' \
	  'The giant panda is a bear species endemic to China.' \
	  'Guanacos are wild camelids that live in the mountains of Peru and Chile.' \
	  'Lima, the capital of Peru, lies on the coast of the Pacific.' \
	  | $(VENV)/bin/fastrerank rerank --json --query 'Which animals live in the mountains of Peru?' --top-n 2

test: $(DEV_VENV)/installed  ## The default suite.
	FASTRERANK_REQUIRE_CLIENTS=all $(DEV)/pytest

test-clients:  ## The official clients whose versions do not fit in with the others, each apart.
	$(PYTHON) tests/clients/run.py --build $(CLIENTS)

test-all: test test-slow test-clients

test-slow: $(DEV_VENV)/installed  ## Real exports, clean installs.
	$(DEV)/pytest -m slow

lint: $(DEV_VENV)/installed
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy

# The bundled models, from the trained weights in the repository.
MODELS = build/models
LICENSE_OF_WEIGHTS = Apache-2.0; trained in part on CC BY-SA 4.0 data
define add_model
	$(DEV)/python -m fastrerank.export.train unpack export/train/weights/$(2) --out build/checkpoints/$(basename $(2))
	$(DEV)/fastrerank export build/checkpoints/$(basename $(2)) $(MODELS) --add $(1) --precision int8 --license "$(LICENSE_OF_WEIGHTS)"
endef
model: $(DEV_VENV)/installed
	rm -rf $(MODELS) build/checkpoints
	$(call add_model,medium,fastrerank-minilm-l6.safetensors)
	$(call add_model,default,fastrerank-minilm-duo.json)
	$(call add_model,small,fastrerank-minilm-l3.safetensors)
	rm -rf src/fastrerank/models
	mv $(MODELS) src/fastrerank/models

# Every system, every workload: make bench; a part: make bench ARGS='run --quick --workload long'
ARGS ?= run
BENCH_ENV = benchmarks/.envs/benchmark
bench: $(BENCH_ENV)/installed
	$(BENCH_ENV)/bin/python -m benchmarks $(ARGS)

$(BENCH_ENV)/installed: benchmarks/requirements.txt
	$(PYTHON) -m venv $(BENCH_ENV)
	$(BENCH_ENV)/bin/pip install --quiet --disable-pip-version-check -r benchmarks/requirements.txt
	touch $@

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	rm -rf build/lib  # setuptools takes into a wheel what an older one has left there
	$(VENV)/bin/pip install --quiet --disable-pip-version-check .
	touch $@

$(DEV_VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV_VENV)
	$(DEV)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(DEV)/pip install --quiet -c constraints.txt --editable '.[export,httpx,openvino,serve,train]' --group dev
	touch $@

clean:
	rm -rf $(VENV) $(DEV_VENV) build dist src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
