# Needs make and Python 3.11 or newer. Each target keeps its tools in .venv, and the tests run in the
# environments of tox, in .tox.

PYTHON ?= python3
ARGS ?=
VENV := .venv
BIN := $(VENV)/bin
CATALOGS := flask_orgkeys/pages/translations
PIP := $(BIN)/uv pip install --quiet --python $(BIN)/python

TOX := $(BIN)/tox run --quiet --installpkg dist/*.whl
VERSIONS := py312 py313 sqlalchemy20 lowest bare
# Files that a test leaves on disk are waited for; in memory, if it is large enough, they are not.
export PYTEST_DEBUG_TEMPROOT := $(shell df --output=avail -B1G /dev/shm 2>/dev/null \
  | awk 'NR == 2 && $$1 > 1 { print "/dev/shm" }')
# Leaves out the servers' databases, and all that starts browsers or many processes.
QUICK := -m 'not wall_clock' -k 'not (memory or postgresql or mariadb or psycopg or pymysql)' \
  -n 2 --dist loadfile --no-loadscope-reorder \
  $(addprefix --ignore=tests/,browser promises test_benchmarks.py test_cost.py test_docs.py \
    test_readme.py integrations/test_migrations.py integrations/test_pytest_plugin.py)
# What the sdist is made of; "docs" without the dot would be the target.
SOURCES := $(shell find $(addsuffix /.,flask_orgkeys tests typing_tests example_app benchmarks docs) \
             *.md LICENSE Makefile pyproject.toml \
             '(' -name __pycache__ -o -name _build ')' -prune -o -print 2>/dev/null)

TEST_VERSIONS := $(addprefix test-,$(VERSIONS))

.PHONY: help demo quick test test-versions $(TEST_VERSIONS) package tools venv docs translations lint \
  types bench bench-peers clean

help:
	@echo "make demo     serve the example application on http://127.0.0.1:5000 (PORT=... for another)"
	@echo "make quick    run the tests that need neither a server nor a browser, from the checkout, in a minute"
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

quick: $(VENV)/tests.stamp
	$(BIN)/python -m pytest -q $(QUICK) $(ARGS)

test: $(VENV)/package.stamp dist/stamp
	$(TOX) -e tests -- $(ARGS)

test-versions: $(TEST_VERSIONS)

$(TEST_VERSIONS): test-%: $(VENV)/package.stamp dist/stamp
	$(TOX) -e $* -- $(ARGS)

package: dist/stamp

# All that the other targets run in parallel need, so that none of them installs anything.
tools: $(VENV)/lint.stamp $(VENV)/types.stamp $(VENV)/docs.stamp dist/stamp

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

$(VENV)/pip.stamp:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "flask-orgkeys needs Python 3.11 or newer, and '$(PYTHON)' is not that." >&2; \
	  echo "Name another: make $(MAKECMDGOALS) PYTHON=python3.12" >&2; \
	  exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip --disable-pip-version-check --quiet install uv
	@touch $@

$(VENV)/demo.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --editable .
	@touch $@

$(VENV)/tests.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --editable . --group tests
	@touch $@

$(VENV)/package.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --group package
	@touch $@

dist/stamp: $(SOURCES) | $(VENV)/package.stamp
	rm -rf dist
	$(BIN)/python -m build --outdir dist . >/dev/null
	$(BIN)/check-wheel-contents dist
	@touch $@

$(VENV)/docs.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --editable . --group docs
	@touch $@

$(VENV)/lint.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --group lint
	@touch $@

$(VENV)/types.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --editable . --group types
	@touch $@

$(VENV)/bench.stamp: $(VENV)/pip.stamp pyproject.toml
	$(PIP) --editable . --group bench
	@touch $@
