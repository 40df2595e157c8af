# Every job of the project; `make` or `make help` lists them. Python 3.11 or newer and make are all
# that a machine needs. What a job installs goes into .venv, once: the second run needs no network.

VENV  ?= .venv
PY     = $(VENV)/bin/python
STAMPS = $(VENV)/.stamps
PIP    = $(PY) -m pip --disable-pip-version-check --quiet
LESSON = notebooks/01_tasks_objects_actors.ipynb

export PIP_DISABLE_PIP_VERSION_CHECK = 1
export YARN_ENABLE_TELEMETRY = 0

# JupyterLab refuses to start for root unless told; it listens on the loopback interface only.
ROOT_ARG = $(if $(filter 0,$(shell id -u)),--allow-root)

FRONT_END = $(wildcard package.json yarn.lock .yarnrc.yml tsconfig*.json webpack*.js) labextension/install.json \
  $(shell find labextension/src labextension/style labextension/schema \
    labextension/jupyter-config -type f 2>/dev/null)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help env install lab test test-py test-js test-ui snapshots test-long lint format bench bench-quick
.PHONY: build clean distclean

help:  ## List the jobs
	@awk 'BEGIN { FS = ":.*  ## " } \
	  /^[a-z-]+:.*  ## / { printf "  make %-12s %s\n", $$1, $$2 } \
	  /^##   / { print "  " substr($$0, 4) }' $(firstword $(MAKEFILE_LIST))

lab: install  ## Open JupyterLab on the first lesson, with the panel
	@mkdir -p $(VENV)/share/jupyter/lab/settings
	@echo '{"fanlight-lab:panel": {"openOnStart": true}}' \
	  > $(VENV)/share/jupyter/lab/settings/overrides.json
	$(VENV)/bin/jupyter lab --ip=127.0.0.1 $(ROOT_ARG) \
	  --LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate \
	  $(LESSON) $(LAB_ARGS)

test: install  ## Check everything: linters, types, Python, Jest, browser
	$(PY) tests/run.py lint js py ui

test-py: install  ## Run the Python tests (PYTEST_ARGS="-k name")
	$(PY) -m pytest tests $(PYTEST_ARGS)

test-js: install  ## Run the front end's unit tests
	$(PY) tests/run.py js

test-ui: install  ## Run the tests in a real JupyterLab and browser (PYTEST_ARGS)
	$(PY) tests/run.py ui $(PYTEST_ARGS)

snapshots: install  ## Make the pictures of the panel anew that have changed; look at them then
	FANLIGHT_SNAPSHOTS=renew $(PY) tests/run.py ui -k test_snapshots

test-long: install $(STAMPS)/fuzz  ## Chaos, soak, fuzzing: what takes long (PYTEST_ARGS, FANLIGHT_SEED=n)
	$(PY) tests/run.py long $(PYTEST_ARGS)

lint: install  ## Check style and types of Python and TypeScript
	$(PY) tests/run.py lint

format: install  ## Rewrite the sources in the project's style
	$(PY) -m ruff check --fix-only --exit-zero
	$(PY) -m ruff format
	$(PY) hatch_build.py --jlpm run lint

bench: install  ## Measure Fanlight beside its peers, all of it (about an hour; BENCH_ARGS)
	$(PY) -m tests.bench --full $(BENCH_ARGS)

bench-quick: install  ## The same in a few minutes: smaller, one round, without what takes long
	$(PY) -m tests.bench --quick $(BENCH_ARGS)

build: env  ## Make the wheel and the sdist, in dist/
	$(PY) -m build --no-isolation --outdir dist .

install: $(STAMPS)/install  ## Install the project into .venv, with its tools, for development

env: $(STAMPS)/env

clean:  ## Remove what the jobs made, but not .venv
	rm -rf build dist .build test-results bench-results labextension/lib \
	  labextension/fanlight_lab/labextension labextension/fanlight_lab/standalone \
	  .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f $(STAMPS)/install *.tsbuildinfo labextension/*.tsbuildinfo
	find runtime kernel_ext labextension tests -name __pycache__ -prune -exec rm -rf {} +

distclean: clean  ## Remove .venv and node_modules as well
	rm -rf $(VENV) node_modules .yarn

##   LAB_ARGS, PYTEST_ARGS and BENCH_ARGS are passed on, e.g.
##     make lab LAB_ARGS="--no-browser --port=8890"

# The environment: the build's, the tests' and the linters' requirements. Each is installed in the
# versions of constraints/tested.txt.
$(STAMPS)/env: pyproject.toml constraints/tested.txt | $(STAMPS)/venv
	@echo "Installing what Fanlight and its tests need (a few minutes, once)"
	@$(PIP) install --constraint constraints/tested.txt "pip>=25.1"
	@$(PIP) install --constraint constraints/tested.txt --group dev
	@touch $@

# An editable install: three source folders on the path, and copies of the bundle and of the server's
# configuration. Made again when one of those changes; a lasting --no-build-isolation keeps it local.
$(STAMPS)/install: $(STAMPS)/env hatch_build.py $(FRONT_END)
	@$(PIP) install --constraint constraints/tested.txt --no-build-isolation --editable .
	@touch $@

# Where there is no wheel of it, the tests that need it are skipped.
$(STAMPS)/fuzz: $(STAMPS)/env
	@$(PIP) install --constraint constraints/tested.txt --group fuzz || echo "Goes on without Atheris"
	@touch $@

$(STAMPS)/venv:
	@python=; for name in python3 python3.13 python3.12 python3.11 python3.14; do \
	  if $$name -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	    python=$$name; break; \
	  fi; \
	done; \
	if [ -z "$$python" ]; then \
	  echo "Fanlight needs Python 3.11 or newer, and found none on the PATH." >&2; exit 1; \
	fi; \
	echo "Making $(VENV) with $$($$python --version)"; \
	$$python -m venv $(VENV) || { \
	  echo "python -m venv failed; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@mkdir -p $(STAMPS) && touch $@
