# Needs make and Python 3.11 or newer. Each target keeps its tools in .venv, and the tests run in the
# environments of tox, in .tox.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CATALOGS := flask_orgkeys/pages/translations
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet

TOX := $(BIN)/tox run --quiet --installpkg dist/*.whl
VERSIONS := py312,py313,sqlalchemy20,lowest,bare
# What the sdist is made of; "docs" without the dot would be the target.
SOURCES := $(shell find $(addsuffix /.,flask_orgkeys tests typing_tests example_app benchmarks docs) \
             *.md LICENSE Makefile pyproject.toml \
             '(' -name __pycache__ -o -name _build ')' -prune -o -print 2>/dev/null)

.PHONY: help demo test test-versions package venv docs translations lint types bench bench-peers clean

help:
	@echo "make demo     serve the example application on http://127.0.0.1:5000 (PORT=... for another)"
	@echo "make test     run the tests against the built wheel (ARGS='-k revoke' for some of them)"
	@echo "              (make test-versions: on the other Pythons, and on older dependencies)"
	@echo "make package  build the sdist, and from it the wheel, into dist"
	@echo "make venv     make .venv, with which to run single tests: .venv/bin/pytest tests/test_x.py"
	@echo "make docs     build the documentation into docs/_build/html"
	@echo "make translations"
	@echo "              bring the catalogs up to date with the words of the pages"
	@echo "make lint     check style and formatting"
	@echo "make types    check the types"
	@echo "make bench    measure what a request with a key costs (ARGS=--quick for a small run)"
	@echo "              (make bench-peers: next to other packages)"
	@echo "make clean    remove .venv, caches and builds"
	@echo "PYTHON=...    the Python to make .venv from, now $(PYTHON)"

demo: $(VENV)/demo.stamp
	$(BIN)/python -m example_app.demo

test: $(VENV)/package.stamp dist/stamp
	$(TOX) -e tests -- $(ARGS)

test-versions: $(VENV)/package.stamp dist/stamp
	$(TOX) -e $(VERSIONS) -- $(ARGS)

package: dist/stamp

venv: $(VENV)/tests.stamp

docs: $(VENV)/docs.stamp
	$(BIN)/sphinx-build -n -W --keep-going -q docs docs/_build/html

translations: $(VENV)/tests.stamp
	$(BIN)/pybabel --quiet extract --mapping pyproject.toml --no-location --sort-output --omit-header \
	  --keyword UnfitText --keyword orgkeys_text --keyword orgkeys_text_plural:1,2 \
	  --output $(CATALOGS)/orgkeys.pot flask_orgkeys
	$(BIN)/pybabel --quiet update --domain orgkeys --input-file $(CATALOGS)/orgkeys.pot \
	  --output-dir $(CATALOGS) --no-fuzzy-matching --ignore-pot-creation-date
	$(BIN)/pybabel --quiet compile --domain orgkeys --directory $(CATALOGS)

lint: $(VENV)/lint.stamp
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(VENV)/types.stamp
	$(BIN)/mypy
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright typing_tests
	PATH="$(CURDIR)/$(BIN):$$PATH" pyright --verifytypes flask_orgkeys --ignoreexternal

bench: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks $(ARGS)

bench-peers: $(VENV)/bench.stamp
	$(BIN)/python -m benchmarks --peers $(ARGS)

clean:
	rm -rf $(VENV) .venv-peers .tox build dist docs/_build .mypy_cache .pytest_cache .ruff_cache .hypothesis *.egg-info
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

# pip knows --group from 25.1 on.
$(VENV)/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "flask-orgkeys needs Python 3.11 or newer, and '$(PYTHON)' is not that." >&2; \
	  echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(PIP) install --upgrade 'pip>=25.1'
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --editable .
	@touch $@

$(VENV)/tests.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --editable . --group tests
	@touch $@

$(VENV)/package.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --group package
	@touch $@

dist/stamp: $(SOURCES) | $(VENV)/package.stamp
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >/dev/null
	$(BIN)/check-wheel-contents dist
	@touch $@

$(VENV)/docs.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --editable . --group docs
	@touch $@

$(VENV)/lint.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --group lint
	@touch $@

$(VENV)/types.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --editable . --group types
	@touch $@

$(VENV)/bench.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) install --editable . --group bench
	@touch $@
