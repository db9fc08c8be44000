# `make demo`, `make test`, `make test-all`, `make parity`, `make lint`: each sets up .venv by itself.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/digits.py
# By file: what a file's tests share is made once, not once per worker.
PYTEST := $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo test test-all parity lint install clean

install: .venv/installed

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[test]"
# On every core, and without other packages' tests; what does not compile is not imported either.
	-$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib
	touch $@

demo: install
	$(BIN)/python experiments/train.py --config=$(CONFIG) --workdir=runs/demo
	$(BIN)/python experiments/evaluate.py --workdir=runs/demo --num=1000

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m "not parity"

# The same weights in PyTorch's networks and in ours; the CPU build of PyTorch is enough.
parity: lint
	$(BIN)/python -m pip install --quiet --editable ".[test,parity]"
	$(PYTEST) -m parity

clean:
	rm -rf .venv build *.egg-info
