# Every target prepares what it needs: a virtual environment, the dependencies and the compiled core.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NATIVE := $(wildcard src/_native/*.pyx src/coxswain/_native/*.pxd)
STAMP  := $(VENV)/.ready
BUILT  := build/.native

.PHONY: up down status test test-heavy bench bench-publish lint format proto coverage sdist clean

up: $(BUILT)
	@$(BIN)/cox up --detach $(ARGS)

down: $(STAMP)
	@$(BIN)/cox down

status: $(STAMP)
	@$(BIN)/cox status

# Two workers: the suite is made for a machine with two cores.
test: $(BUILT)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not heavy" $(ARGS)

test-heavy: $(BUILT)
	$(BIN)/python -m pytest -m heavy $(ARGS)

coverage: $(BUILT)
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not heavy" --cov --cov-report=term $(ARGS)

bench: $(BUILT)
	$(BIN)/asv machine --yes
	$(BIN)/asv run --python=same --quick --show-stderr --set-commit-hash $$(git rev-parse HEAD) $(ARGS)

# A site that opens without a network: build/asv/html/index.html.
bench-publish: $(BUILT)
	$(BIN)/asv publish
	$(BIN)/python -m benchmarks.publish

lint: $(BUILT)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

proto: $(STAMP)
	$(BIN)/python -m coxswain._generated.build

sdist: $(STAMP)
	$(BIN)/python -m build --sdist

clean:
	rm -rf build dist src/*.egg-info src/coxswain/_native/*.so

$(STAMP): pyproject.toml
	@command -v $(PYTHON) >/dev/null || { echo "Python 3.11 or newer is needed: apt install python3 python3-venv python3-dev"; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed; name one with make PYTHON=python3.12"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { echo "python3-venv is needed: apt install python3-venv python3-dev"; exit 1; }
	@echo "installing dependencies into $(VENV) (a minute the first time)"
	@$(BIN)/pip install --quiet --disable-pip-version-check --upgrade pip "setuptools>=77" "cython>=3.1" "numpy>=2.0"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-build-isolation --editable ".[dev]"
	@touch $@

$(BUILT): $(STAMP) $(NATIVE) setup.py
	@echo "compiling the scheduling core"
	@mkdir -p build
	@$(BIN)/python setup.py --quiet build_ext --inplace --parallel 2 >build/native.log 2>&1 || { cat build/native.log; exit 1; }
	@touch $@
