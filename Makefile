# Everything runs in an environment of its own: nothing is taken from the machine but Python and make.
PYTHON ?= python3
VENV ?= .venv
DEV_VENV ?= .venv-dev
DEV = $(DEV_VENV)/bin

.PHONY: demo test test-slow lint model clean

demo: $(VENV)/installed  ## Rerank a real example with the bundled model; prints the JSON response.
	@printf '%s\n' \
	  'The llama is a domesticated South American camelid, used by Andean cultures as a pack animal.' \
	  'The giant panda is a bear species endemic to China.' \
	  'Guanacos are wild South American camelids that live in the mountains of Peru and Chile.' \
	  'The wild Bactrian camel is endemic to Northwest China and southwestern Mongolia.' \
	  | $(VENV)/bin/fastrerank rerank --query 'What animals can I find near Peru?' --top-n 2

test: $(DEV_VENV)/installed  ## The default suite.
	$(DEV)/pytest

test-slow: $(DEV_VENV)/installed  ## Real exports, clean installs.
	$(DEV)/pytest -m slow

lint: $(DEV_VENV)/installed
	$(DEV)/ruff check
	$(DEV)/ruff format --check
	$(DEV)/mypy
	$(DEV)/mypy --config-file export/mypy.ini export

# The checkpoint that becomes the bundled model: make model CHECKPOINT=directory
CHECKPOINT ?= ../shared/data/model
model: $(DEV_VENV)/installed
	$(DEV)/fastrerank export $(CHECKPOINT) src/fastrerank/models/default --force --precision int8 \
	  --name fastrerank-minilm-l6 --license 'Apache-2.0 (trained in part on CC BY-SA 4.0 data)'

$(VENV)/installed: pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check .
	touch $@

$(DEV_VENV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV_VENV)
	$(DEV)/pip install --quiet --disable-pip-version-check --upgrade 'pip>=25.1'
	$(DEV)/pip install --quiet -c constraints.txt --editable '.[export]' --group dev
	touch $@

clean:
	rm -rf $(VENV) $(DEV_VENV) build dist src/*.egg-info .pytest_cache .hypothesis .mypy_cache .ruff_cache
