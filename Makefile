# make demo: the main job on real input.   make test: checks and the whole test suite.
PYTHON ?= python3
VENV := .venv
NATIVE := $(shell find native -type f) CMakeLists.txt

.PHONY: demo test clean

demo: $(VENV)/.installed
	scripts/demo

test: $(VENV)/.dev-installed
	scripts/system-packages
	scripts/test

$(VENV)/bin/python:
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml $(NATIVE) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --editable .
	touch $@

$(VENV)/.dev-installed: pyproject.toml constraints.txt $(NATIVE) | $(VENV)/bin/python
	$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist .demo
