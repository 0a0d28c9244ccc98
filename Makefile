# Needs Python 3.11 or later and a package index; everything else goes into .venv.
ifeq ($(OS),Windows_NT)
# Git's
SHELL := bash.exe
PYTHON ?= python
PROGRAMS := Scripts
else
PYTHON ?= $(shell command -v python3.11 || command -v python3)
PROGRAMS := bin
endif
RECIPE ?= recipes/digits_mlp.yaml
BIN := .venv/$(PROGRAMS)
UV := $(shell command -v uv)
# compiled at once: hundreds of processes of the tests import TensorFlow, some where Python may not keep bytecode
INSTALL := $(if $(UV),uv pip install --compile-bytecode --python .venv,$(BIN)/pip install) --quiet --constraint constraints.txt

SIDE_BY_SIDE := --numprocesses 2 --dist loadfile

.PHONY: setup tune test test-all test-lowest test-wheel test-backends bench docs figures lint constraints clean

setup: .venv/.installed

# a .venv that a cut connection left half done is made again
.venv/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv --clear .venv
	$(INSTALL) --editable '.[test,dev]'
	touch $@

tune: setup
	$(BIN)/kbn tune $(RECIPE)

# all but those marked slow, which whoever changes kbn need not wait for
test: setup
	$(BIN)/pytest $(SIDE_BY_SIDE) -m 'not slow'

test-all: setup
	$(BIN)/pytest $(SIDE_BY_SIDE) --durations 40

# the lowest versions that pyproject.toml allows, in an environment of their own
test-lowest:
	$(PYTHON) -m venv --clear .venv-lowest
	$(if $(UV),uv pip install --compile-bytecode --python .venv-lowest,.venv-lowest/$(PROGRAMS)/pip install) --quiet \
	  --constraint constraints-lowest.txt --editable '.[test]'
	.venv-lowest/$(PROGRAMS)/pytest $(SIDE_BY_SIDE)

# sdist and wheel, built without a network and tried where the repository is not: about a minute
test-wheel: setup
	$(BIN)/pytest tests/wheel

test-backends: setup
	$(INSTALL) --editable '.[backends]'
	$(BIN)/pytest tests/*/test_backends.py tests/run/test_adapters.py

bench: setup
	$(INSTALL) --editable '.[bench]'
	$(BIN)/python benchmarks/norm.py
	$(BIN)/python benchmarks/suggestion.py
	$(BIN)/python benchmarks/search.py --out search.jsonl
	$(BIN)/python benchmarks/tracking.py

# docs/_build/index.html; a warning is an error
docs: setup
	$(INSTALL) --editable '.[docs]'
	$(BIN)/python -m sphinx --quiet --fail-on-warning --keep-going docs docs/_build

# those of the explanations, into docs/images
figures: setup
	$(BIN)/python docs/figures/draw.py

lint: setup
	$(BIN)/ruff format --check
	$(BIN)/ruff check
	$(BIN)/ruff check --preview --select PLW1514  # text names its encoding, which differs between systems
	$(BIN)/mypy
	$(BIN)/lint-imports

constraints:
	$(PYTHON) -m venv --clear .venv-newest
	.venv-newest/$(PROGRAMS)/pip install --quiet '.[test,dev,docs,backends,bench]'
	{ echo "# Exact versions of kbn's dependencies and of its extras. Made by: make constraints"; \
	  .venv-newest/$(PROGRAMS)/pip freeze --all --exclude kbn --exclude pip | sed 's/+cpu$$//'; } > constraints.txt
	rm -rf .venv-newest

clean:
	rm -rf .venv
