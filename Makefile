# Every target prepares what it needs: a virtual environment, the dependencies and the compiled core.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
NATIVE := $(wildcard src/_native/*.pyx src/coxswain/_native/*.pxd)
STAMP  := $(VENV)/.ready
BUILT  := build/.native
# What the compiled core is built into for `sanitize`, and the tests that run it.
SANITIZED       := $(CURDIR)/build/sanitize
SANITIZED_TESTS := tests/native tests/scheduler tests/proxy \
  $(addprefix tests/api/test_,codec_bodies.py codec_walk_twin.py managedfields.py protobuf_codec.py)

.PHONY: up down status test test-heavy sanitize bench bench-publish lint format proto coverage sdist clean

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

# Bounds checks, AddressSanitizer and UndefinedBehaviorSanitizer. The interpreter is an ordinary one, so the sanitizer
# comes before it (with the C++ library, whose exceptions it watches). Every allocation is the sanitizer's, filled with
# rubbish. Leaks are not looked for: an interpreter does not give back what it holds at its end. Reports are files,
# because pytest keeps what tests print.
sanitize: $(STAMP)
	@mkdir -p $(SANITIZED)
	@rm -f $(SANITIZED)/report.*
	@echo "compiling the core with sanitizers"
	@COXSWAIN_SANITIZE=1 $(BIN)/python setup.py --quiet build --build-base=$(SANITIZED) --build-lib=$(SANITIZED)/lib \
	  --parallel=2 >$(SANITIZED)/build.log 2>&1 || { cat $(SANITIZED)/build.log; exit 1; }
	COXSWAIN_SANITIZE=1 PYTHONPATH=$(SANITIZED)/lib PYTHONMALLOC=malloc \
	  LD_PRELOAD="$$($(CC) -print-file-name=libasan.so) $$($(CC) -print-file-name=libstdc++.so)" \
	  ASAN_OPTIONS=log_path=$(SANITIZED)/report:abort_on_error=1:allow_user_segv_handler=0:detect_leaks=0:max_malloc_fill_size=1048576 \
	  UBSAN_OPTIONS=log_path=$(SANITIZED)/report:abort_on_error=1:print_stacktrace=1 \
	  $(BIN)/python -m pytest -n 2 --dist worksteal -m "not heavy" $(or $(ARGS),$(SANITIZED_TESTS)) \
	  || { cat $(SANITIZED)/report.* 2>/dev/null; exit 1; }

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
