# make app     set everything up and serve the app at http://localhost:8501 (PORT=…, ADDRESS=… to change)
# make test    set everything up, then lint and run all tests, in two processes (JOBS=1 for one)
# make lint    ruff alone
# make soak    what takes long: the full fuzz, faults, load, kills, clean installations, mutants (hours on a slow machine)
# make mutants mutation testing alone (MODULES="dnl.metrics analysis.maps" for some)
# make docs     the documentation as a site of static files, in site/ (its first page is the live lens)
# make coverage which lines and branches of dnl and analysis the tests reach, browser tests apart
# make types   mypy on dnl and analysis
# make peers   attention of public libraries' models against what they compute, into docs/other-networks.md, and
#              backbones with their weights; in .venv-peers
# make bench   the attention benchmark, results in runs/benchmark (BENCH="--cells 2401 4096" for its options)
#
# Everything lives in .venv; it is set up again when a requirements file changes.

ifeq ($(OS),Windows_NT)
PYTHON ?= python
BIN := .venv/Scripts
else
PYTHON ?= python3
BIN := .venv/bin
endif
# What is imported is compiled then and stays so: to compile all that lies in the packages takes longer than to install it.
unexport PYTHONDONTWRITEBYTECODE
PIP = $(BIN)/python -m pip install --disable-pip-version-check --no-compile
PORT ?= 8501
ADDRESS ?= localhost

# Processes that share the tests, file by file; each computes on one core.
JOBS ?= 2
# The inputs that the fuzz suite tries are multiplied by this.
FUZZ ?= 10
# For clean installations: the Pythons to install under, by path or name.
PYTHONS ?= $(PYTHON)

.PHONY: app docs test lint types soak mutants coverage bench peers browser
.DELETE_ON_ERROR:

app: .venv/app.stamp
	$(BIN)/python -m streamlit run app.py --server.headless true --server.address $(ADDRESS) --server.port $(PORT)

test: lint browser
	$(BIN)/python -m pytest --numprocesses $(JOBS) --dist loadfile --no-loadscope-reorder

lint: .venv/dev.stamp
	$(BIN)/python -m ruff check .
	$(BIN)/python -m ruff format --check .

types: .venv/dev.stamp
	$(BIN)/python -m mypy

docs: .venv/docs.stamp
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict --quiet --clean --config-file docs/site/mkdocs.yml
	@echo "The documentation is in site/index.html."

soak: export DNL_FUZZ = $(FUZZ)
soak: .venv/dev.stamp
	$(BIN)/python -m pytest tests/fuzz
	$(BIN)/python -m tests.soak.docs
	$(BIN)/python -m tests.soak.offline
	$(BIN)/python -m tests.soak.translation
	$(BIN)/python -m tests.soak.faults
	$(BIN)/python -m tests.soak.load
	$(BIN)/python -m tests.soak.kill_and_resume
	$(BIN)/python -m tests.soak.kill_predictions
	$(BIN)/python -m tests.soak.install $(foreach python,$(PYTHONS),--python $(python))
	$(BIN)/python -m tests.soak.mutants

mutants: .venv/dev.stamp
	$(BIN)/python -m tests.soak.mutants $(MODULES)

coverage: .venv/dev.stamp
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest --ignore=tests/browser
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report

bench: .venv/app.stamp
	$(BIN)/python -m benchmarks.attention $(BENCH)

peers: .venv-peers/stamp
	PYTHONPATH=.:tests $(subst .venv,.venv-peers,$(BIN))/python -m peers.conformance --table docs/other-networks.md $(PEERS)
	PYTHONPATH=.:tests $(subst .venv,.venv-peers,$(BIN))/python -m peers.backbones

# torchvision's own requirement is a torch for GPUs; the one that is there does.
.venv-peers/stamp: requirements.txt tests/peers/requirements.txt
	$(PYTHON) -m venv .venv-peers
	$(subst .venv,.venv-peers,$(PIP)) --quiet -r requirements.txt -r tests/peers/requirements.txt
	$(subst .venv,.venv-peers,$(PIP)) --quiet --no-deps torchvision==0.28.0 open-clip-torch==3.3.0 segmentation-models-pytorch==0.6.0
	@$(subst .venv,.venv-peers,$(BIN))/python -c "open('$@', 'w').close()"

.venv/pyvenv.cfg:
	@$(PYTHON) -c "import sys; v = sys.version.split()[0]; sys.exit(None if sys.version_info >= (3, 11) else 'Python 3.11 or newer is needed and $(PYTHON) is ' + v + ': name another one, such as make PYTHON=python3.12')"
	$(PYTHON) -m venv .venv

.venv/app.stamp: requirements.txt | .venv/pyvenv.cfg
	$(PIP) -r requirements.txt
	@$(BIN)/python -c "open('$@', 'w').close()"

.venv/dev.stamp: requirements-dev.txt .venv/app.stamp
	$(PIP) --quiet -r requirements-dev.txt
	@$(BIN)/python -c "open('$@', 'w').close()"

.venv/docs.stamp: docs/requirements.txt .venv/app.stamp
	$(PIP) --quiet -r docs/requirements.txt
	@$(BIN)/python -c "open('$@', 'w').close()"

# The browser tests drive the Chromium on PATH or else Playwright's own. Where there is neither, fetch Playwright's
# with the libraries it needs, or else the distribution's.
HAVE_CHROMIUM = $(BIN)/python -c "import os, shutil, sys; \
	from playwright.sync_api import sync_playwright as start; p = start().start(); \
	own = os.path.exists(p.chromium.executable_path); p.stop(); \
	sys.exit(not (own or any(map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome')))))"
PLAYWRIGHT = $(BIN)/python -m playwright

browser: .venv/dev.stamp
	@$(HAVE_CHROMIUM) \
	|| { $(PLAYWRIGHT) install chromium && $(PLAYWRIGHT) install-deps chromium; } \
	|| { [ "$$(id -u)" = 0 ] && apt-get update && apt-get install -y chromium; } \
	|| { echo "The browser tests need a Chromium and none could be installed: install one and run make test again."; exit 1; }
