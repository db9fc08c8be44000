# `make demo`, `demo-fast`, `demo-text`, `demo-control`, `studio`, `test`, `test-all`, `test-oldest`, `parity`, `lint`: each sets up its environment.
PYTHON ?= python3
BIN := .venv/bin
CONFIG ?= configs/digits.py
# By file: what a file's tests share is made once, not once per worker.
PYTEST := $(BIN)/pytest -n auto --dist loadfile --no-loadscope-reorder

.PHONY: demo demo-fast demo-text demo-control studio test test-all test-oldest parity lint install clean

install: .venv/installed

.venv/installed: setup.cfg setup.py pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --no-compile --editable ".[test]"
# On every core, and without other packages' tests; what does not compile is not imported either.
	-$(BIN)/python -m compileall -qq -j 0 -x '/tests?/' .venv/lib
	touch $@

demo: install
	$(BIN)/python experiments/train.py --config=$(CONFIG) --workdir=runs/demo
	$(BIN)/python experiments/evaluate.py --workdir=runs/demo --num=1000

demo-fast: install
	$(BIN)/python experiments/demo_fast.py

# The web page with the published models, at http://127.0.0.1:7860.
studio: install
	$(BIN)/python -m pip install --quiet --editable ".[studio]"
	$(BIN)/python -m jaxdiff studio --model=pretrained/scenes_text --model=pretrained/fashion_mnist_student --model=pretrained/fashion_mnist_teacher --model=pretrained/moving_digits

# A model of words, which lies in the repository: make demo-text PROMPT="two red hearts, on a white ground"
demo-text: install
	$(BIN)/python experiments/demo_text.py $(if $(PROMPT),--prompt="$(PROMPT)")

# A line drawing and words to pictures, adapters, an inpainting, an outpainting: make demo-control DRAWING=mine.png
demo-control: install
	$(BIN)/python experiments/demo_control.py $(if $(DRAWING),--drawing="$(DRAWING)") $(if $(PROMPT),--prompt="$(PROMPT)")

lint: install
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright --level error

test: lint
	$(PYTEST)

test-all: lint
	$(PYTEST) -m "not parity"

# The oldest versions that setup.cfg promises.
test-oldest:
	$(PYTHON) -m venv .venv-oldest
	.venv-oldest/bin/python -m pip install --quiet uv
	.venv-oldest/bin/uv pip install --quiet --python .venv-oldest/bin/python \
		--resolution lowest-direct --editable ".[test]"
	.venv-oldest/bin/pytest -n auto --dist loadfile --no-loadscope-reorder

# The same weights in PyTorch's networks and in ours; the CPU build of PyTorch is enough.
parity: lint
	$(BIN)/python -m pip install --quiet --editable ".[test,parity]"
	$(PYTEST) -m parity

clean:
	rm -rf .venv build *.egg-info
