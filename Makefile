# make demo: environment + the whole pipeline on a simulated cohort; make test: environment + tests.
# make demo-decode: the same for decoding what was seen.
# Only Python 3.11 to 3.13, make and a package index are needed.
PYTHON ?= python3.11
BIN := .venv/bin
# Cores for Snakemake: all of this machine, unless CORES is given.
CORES ?= $(shell getconf _NPROCESSORS_ONLN)

# Jobs call brainlm-data and brainlm-model: let them be found without activating the environment.
export PATH := $(CURDIR)/.venv/bin:$(PATH)

.PHONY: env demo demo-decode test test-whole test-parts test-slurm golden demo-slurm docs gallery lint clean

env: .venv/done

.venv/done: requirements.lock pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "error: $(PYTHON) not found; try: make PYTHON=python3.12 $(MAKECMDGOALS)"; exit 2; }
	@echo "environment: installing the locked packages into .venv (2-5 minutes)"
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	$(BIN)/pip check
	@touch $@

demo: env
	$(BIN)/brainlm demo results/demo --cores $(CORES)

# What was seen, decoded: a simulated picture experiment from raw BIDS to results/decode/decode.html, with the extra `decode`.
demo-decode: env results/decode-bids
	$(BIN)/snakemake decode --cores $(CORES) --configfile config/decode.yaml

results/decode-bids: | env
	$(BIN)/brainlm-data simulate --out $@ --subjects 1 --volumes 150 --tr 2 --shape 48,57,39 --voxel-mm 4 --t1w-mm 2 \
	    --seed 1 --tasks pictures --runs 8 --pictures

# Two at once, of about the same length: the whole pipeline with what starts processes, too, and everything else.
WHOLE := tests/whole tests/dag tests/simulate tests/imports tests/command tests/attacks

test: env
	$(MAKE) --jobs 2 --output-sync=target test-whole test-parts

test-whole: env
	$(BIN)/pytest $(WHOLE)

test-parts: env
	$(BIN)/pytest $(WHOLE:%=--ignore %) --ignore tests/slurm

# Not part of `make test`: jobs on the SLURM of this machine; skipped, with the reason, where there is none.
test-slurm: env
	$(BIN)/pytest -rs tests/slurm

# After a stage's version was raised: what it makes of its test's input, into tests/golden.
golden: env
	$(BIN)/pytest -k golden --golden

# The demo without SLURM and through it, into results/demo-twice, and whether all files have the same bytes.
demo-slurm: env
	$(BIN)/brainlm demo results/demo --data-only
	rm -rf results/demo-twice
	$(BIN)/python -m benchmarks.cluster results/demo-bids --json --folder results/demo-twice --cores $(CORES)

# The site of docs/ with search, into site/. The generator has an environment of its own: it reads the code, and runs none.
docs: .venv-docs/done
	NO_MKDOCS_2_WARNING=1 .venv-docs/bin/mkdocs build --strict --quiet
	@echo "open site/index.html"

.venv-docs/done: requirements-docs.lock
	$(PYTHON) -m venv .venv-docs
	.venv-docs/bin/pip install --quiet --disable-pip-version-check -r requirements-docs.lock
	@touch $@

# The scripts of the gallery and the notebook again: their pictures, and what they print.
gallery: env
	$(BIN)/python docs/scripts.py docs/gallery/*.py docs/tutorials/*.py

lint: env
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check --line-length 120 Snakefile workflow/rules
	$(BIN)/mypy
	$(BIN)/lint-imports

clean:
	rm -rf .venv .venv-docs site results .snakemake
