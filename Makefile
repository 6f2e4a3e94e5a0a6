# Everything runs in .venv, which is made on first use, brought up to date when pyproject.toml changes
# and made anew for another Python: make test PYTHON=python3.12.

PYTHON ?= python3
VENV ?= .venv
JOBS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$((n > 4 ? 4 : n)))
BIN := $(VENV)/bin
MEDIA ?= $(firstword $(wildcard ../shared/media) examples/videos)
VERSION := $(shell $(PYTHON) -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>/dev/null)
MADE := $(VENV)/made-with-python-$(VERSION)

.DELETE_ON_ERROR:
.PHONY: help demo test lint types wheel bench soak clean ci

help:
	@echo "make demo | test | lint | types | wheel | bench | soak | ci | clean   [PYTHON=python3.12]"

demo: $(VENV)/has-tour  ## the tour: the videos in examples/videos become demo-corpus/
	$(BIN)/reelscript demo -o demo-corpus

test: $(VENV)/has-test  ## all tests but the long ones
	$(BIN)/python -m pytest -n $(JOBS) --dist loadgroup -m "not soak"

lint: $(VENV)/has-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports --no-logo

types: $(VENV)/has-lint $(VENV)/has-test  ## the libraries too, for what they say of their types
	$(BIN)/mypy

wheel: $(VENV)/has-lint  ## builds wheel and sdist, and uses the wheel outside of the tree
	.ci/check-wheel $(BIN)/python

bench: $(VENV)/has-test  ## one file a question; each prints what it measured (learning.py, of hours, by itself)
	@for script in $(filter-out benchmarks/learning.py,$(wildcard benchmarks/*.py)); do \
	  echo "== $$script"; $(BIN)/python "$$script" || exit 1; \
	done

soak: $(VENV)/has-test  ## minutes: builds killed 30 times; is memory flat over long builds?
	$(BIN)/python -m tests.chaos $(MEDIA) --kills 30 --publish
	$(BIN)/python -m pytest -m soak -s -v

ci: ; .ci/run

clean:
	rm -rf $(VENV) build dist demo-corpus demo-corpus.work demo-corpus.run *.egg-info
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache

$(MADE):
ifeq ($(VERSION),)
	$(error $(PYTHON) does not run: name one with PYTHON=..., version 3.11 or newer)
endif
	$(PYTHON) -m venv --clear $(VENV)
	touch $@

# has-EXTRA: the project is installed, editable, with that extra of pyproject.toml.
$(VENV)/has-%: pyproject.toml $(MADE)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[$*]"
	touch $@
