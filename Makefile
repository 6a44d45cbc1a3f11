# One command each on a fresh clone that has Python 3.11+ and make: `make demo`, `make test`. `make help` lists the rest.
PYTHON ?= python3
VENV ?= .venv
PIP_FLAGS ?=
JOBS ?= 2
PORT ?= 8000
BIN := $(VENV)/bin
INSTALL = $(BIN)/python -m pip install --quiet
STAMP := $(VENV)/.installed
TOOLS := .cache/browser
TRITON := .cache/triton
WHEEL := .cache/wheel
SITE := _docs/.checked
STAGES := sync lint readme fresh docs pytest

export PYTHONUNBUFFERED := 1
# threads that wait sleep: they share the cores with others here
export OMP_WAIT_POLICY := passive
export PIP_DISABLE_PIP_VERSION_CHECK := 1
.DEFAULT_GOAL := help
.PHONY: help install demo test $(STAGES) house mutants lab notebooks slow test-triton browser-tools browser explorer page test-browser warm serve pins wheel clean

help: ## list the commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  PYTHON=python3.12  the Python that makes $(VENV)'
	@echo '  PIP_FLAGS=...      handed to pip, e.g. to get the small CPU build of torch on Linux (CONTRIBUTING.md)'
	@echo '  JOBS=2             how many notebooks and tests run at once;  PORT=8000 where the site is served'

$(STAMP): pyproject.toml settings.ini constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo 'creativity needs Python 3.11 or newer; name one: make PYTHON=python3.12 ...' >&2; exit 1; }
	@echo '== install into $(VENV)'
	@# an install that was interrupted is started over from an empty folder
	@$(PYTHON) -m venv $$(test ! -e $(VENV)/.installing || echo --clear) $(VENV) && rm -f $@ && touch $(VENV)/.installing
	$(INSTALL) $(PIP_FLAGS) -c constraints.txt -e '.[dev]'
	@mv $(VENV)/.installing $@

install: $(STAMP) ## make .venv from constraints.txt (the other commands do it when needed)

demo: $(STAMP) ## the main job on real images; figures under out/demo
	@$(BIN)/creativity demo --out out/demo

test: $(STAMP) ## every check, in the order below; ends with pytest's closing line
	@for s in $(STAGES); do echo "== $$s"; t=$$(date +%s); $(MAKE) --no-print-directory $$s || exit 1; \
	  test $$s = pytest || echo "== $$s: passed in $$(($$(date +%s) - t)) s"; done

sync: $(STAMP) ## the modules are what the notebooks export, and the notebooks are clean
	@$(BIN)/python tools/nb.py sync

lint: $(STAMP) ## ruff over notebooks, tests, tools and modules; mypy over the package
	@$(BIN)/ruff check nbs tests tools creativity
	@$(BIN)/mypy

house: $(STAMP) ## measure this checkout: imports, public names, long lines and functions, errors of mypy
	@$(BIN)/python tools/house.py --mypy

readme: $(STAMP) ## README.md is what nbs/index.ipynb gives
	@$(BIN)/python tools/readme.py --check

fresh: $(STAMP) ## every notebook runs, and the outputs saved in it are what it prints now
	@$(BIN)/python tools/nb.py check --jobs $(JOBS)

docs: $(SITE) ## build the site into _docs, if it is not up to date; every internal link, anchor and image resolves

SOURCES := $(shell find nbs creativity -type f \( -name '*.ipynb' -o -name '*.py' -o -name '*.png' -o -name '*.gif' -o -name '*.css' -o -path '*/app/page/*' \))

$(SITE): $(STAMP) $(SOURCES) $(wildcard *.md $(TOOLS)/.installed) tools/docs.py tools/house.py settings.ini _quarto.yml
	@$(BIN)/python tools/docs.py --check
	@touch $@

pytest: export OMP_NUM_THREADS = 1
pytest: $(STAMP) ## the tests; ARGS are handed to pytest
	@$(BIN)/python -m pytest -n $(JOBS) $(ARGS)

notebooks: export OMP_NUM_THREADS = 1
notebooks: $(STAMP) ## nbdev_test: the cells that `fresh` runs, without a look at what they print
	@$(BIN)/nbdev_test --n_workers $(JOBS) --timing

$(TRITON)/.installed:
	@# 1 GB, so it has a folder of its own; CUDA builds of torch bring it along
	@$(BIN)/python -m pip install --quiet --no-deps --upgrade --target $(TRITON) triton==3.9.0 && touch $@

test-triton: $(STAMP) ## the kernel for GPUs against the oracle, interpreted on the CPU, and compiled for two GPUs; skipped without Triton
	@if $(MAKE) --no-print-directory $(TRITON)/.installed; then \
	  PYTHONPATH=$(TRITON) TRITON_INTERPRET=1 OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n $(JOBS) -m triton tests/test_flash.py; \
	else echo '== triton: skipped, the reason is above'; fi

warm: $(STAMP) ## compile the loops and what is imported, so that processes that start together do not each do it
	@PYTHONDONTWRITEBYTECODE= OMP_NUM_THREADS=1 $(BIN)/python tools/warm.py

slow: $(STAMP) ## the tests and notebook cells marked slow, which the others leave out
	@$(BIN)/python -m pytest -m slow
	@$(BIN)/nbdev_test --n_workers $(JOBS) --timing --flags slow

browser-tools: ## install Chromium (apt-get, as root) and playwright-core and KaTeX (npm) where they are missing
	@command -v node >/dev/null && command -v npm >/dev/null || \
	  { echo 'no browser check: node and npm are not installed' >&2; exit 1; }
	@# what is built with them is not built anew because they were looked for again
	@node tools/browser.mjs --install && { test -e $(TOOLS)/.installed || touch $(TOOLS)/.installed; }

browser:
	@node tools/browser.mjs

explorer: $(STAMP)
	@node tools/browser.mjs --explorer $(BIN)/voila

page: $(STAMP)
	@node tools/browser.mjs --page $(BIN)/creativity

lab: wheel $(STAMP)
	@rm -rf .cache/alone .cache/lessons
	@$(BIN)/python -m pip install --quiet --no-deps --no-index --target .cache/alone dist/*.whl
	@cd .cache && PYTHONPATH=alone ../$(BIN)/python alone/bin/creativity course lessons
	@PYTHONPATH=$(CURDIR)/.cache/alone node tools/browser.mjs --lab $(BIN)/jupyter-lab .cache/lessons

test-browser: ## look at every page of the site in a real browser, use the explorer and the page there, run a lesson in JupyterLab
	@$(MAKE) --no-print-directory browser-tools
	@# Voilà and JupyterLab wait for their kernels, so they go together
	@for s in docs browser page 'explorer lab'; do echo "== $$s"; t=$$(date +%s); \
	  $(MAKE) --no-print-directory -j2 $$s || exit 1; echo "== $$s: passed in $$(($$(date +%s) - t)) s"; done

serve: docs ## the site on this machine, at port PORT
	@$(BIN)/python -m http.server --bind 127.0.0.1 --directory _docs $(PORT)

pins: $(STAMP) ## write what .venv holds to constraints.txt
	@$(BIN)/python -m pip freeze --all --exclude-editable | sed 's/+[a-z0-9]*$$//; /^pip==/d' > $(VENV)/pins
	@{ head -1 constraints.txt; cat $(VENV)/pins; } > $(VENV)/constraints && cp $(VENV)/constraints constraints.txt

mutants: export OMP_NUM_THREADS = 1
mutants: $(STAMP) ## change the code in small ways, one at a time, and see that a test fails: minutes; the score is in CONTRIBUTING
	@rm -rf mutants
	@$(BIN)/mutmut run --max-children $(JOBS) | tail -1
	@$(BIN)/mutmut results

wheel: ## build the wheel into dist/; needs the package build only, in an environment of its own
	@rm -rf build dist
	@test -e $(WHEEL)/bin/pyproject-build || { $(PYTHON) -m venv $(WHEEL) && $(WHEEL)/bin/python -m pip install --quiet -c constraints.txt build; }
	@$(WHEEL)/bin/python -m build --wheel --outdir dist

clean: ## remove what the commands made, but not .venv
	rm -rf _proc _docs build dist out mutants .cache .pytest_cache .ruff_cache .hypothesis nbs/sidebar.yml
