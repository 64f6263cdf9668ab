# SPDX-License-Identifier: Apache-2.0
# The commands of this repository; `make` alone lists them. Each one makes .venv and builds the package first
# when that is needed (scripts/bootstrap.sh).
#
#   make demo PYTHON=python3.12           another Python than the first fit one
#   make demo TORCH_INDEX_URL=<url>       another torch than the tested CPU build, from that package index

python := .venv/bin/python

# Containers run as root and have few cores: Open MPI (4, then 5) refuses both unless told otherwise.
export OMPI_ALLOW_RUN_AS_ROOT := 1
export OMPI_ALLOW_RUN_AS_ROOT_CONFIRM := 1
export OMPI_MCA_rmaps_base_oversubscribe := 1
export PRTE_MCA_rmaps_default_mapping_policy := :oversubscribe

.PHONY: help setup demo test gpu-check reproducibility fuzz soak sanitize lint bench readme zoo clean

help: ## list these commands
	@sed -n 's/^\([a-z-]*\):.*## /  make \1	/p' $(MAKEFILE_LIST) | expand -t 16

setup: ## make .venv and build the package, when they are missing or out of date
	@sh scripts/bootstrap.sh

demo: setup ## run the Fortran land model with its emulators: examples/01_global_land
	$(python) examples/01_global_land/run.py

test: export OMP_NUM_THREADS := 1
test: lint ## check the style and run all tests
	$(python) -m pytest -n 2 --dist loadfile

reproducibility: setup ## compare bits over restarts, ranks and threads, and in a host with traps: a table
	PYTHONPATH=tests $(python) -m reproducibility.table

fuzz: setup ## use 10,000 damaged files of all kinds: an error or a correct run
	PYTHONPATH=tests $(python) -m fuzz.inputs 10000

soak: setup ## take 100,000 steps with guards, history and restarts: memory and descriptors
	PYTHONPATH=tests $(python) -m soak.long_run

sanitize: export COUPLER_PLUGIN_SANITIZED := $(CURDIR)/build/sanitize/prefix
sanitize: export UBSAN_OPTIONS := halt_on_error=1:print_stacktrace=1
sanitize: export ASAN_OPTIONS := detect_leaks=0
sanitize: setup ## run the tests of the bridge and of the native passes with C that watches addresses and undefined behaviour
	.venv/bin/cmake -S . -B build/sanitize -DCOUPLER_PLUGIN_SANITIZE=ON -DPython_EXECUTABLE=$(CURDIR)/$(python) >/dev/null
	.venv/bin/cmake --build build/sanitize >/dev/null
	.venv/bin/cmake --install build/sanitize --prefix $(CURDIR)/build/sanitize/prefix >/dev/null
	LD_PRELOAD="$$(gcc -print-file-name=libasan.so) $$(gcc -print-file-name=libstdc++.so)" \
	PYTHONPATH=tests/bridge/sanitized $(python) -m pytest tests/guard/test_band.py tests/guard/test_budget.py \
	tests/guard/test_unseen.py tests/guard/test_answers.py tests/emulator/test_ports.py tests/emulator/test_dense.py \
	tests/emulator/test_dense_layers.py tests/test_cells.py
	$(python) -m pytest tests/bridge --ignore tests/bridge/test_install.py

gpu-check: export COUPLER_PLUGIN_FORTRAN ?= $(if $(shell command -v gfortran),ON,OFF)
gpu-check: setup ## run a C host and the tests that need a GPU on one; without gfortran, too
	PYTHONPATH=tests $(python) -m gpu.check

lint: setup ## check style and types, and compile without a warning
	$(python) -m ruff check
	$(python) -m ruff format --check
	$(python) -m mypy
	.venv/bin/cmake -S . -B build/lint -DCOUPLER_PLUGIN_WERROR=ON -DPython_EXECUTABLE=$(CURDIR)/$(python) >/dev/null
	.venv/bin/cmake --build build/lint >/dev/null

bench: setup ## measure what a step costs: docs/performance.md
	$(python) benchmarks/step_cost.py
	$(python) benchmarks/parts.py
	PATH="$(CURDIR)/.venv/bin:$$PATH" $(python) benchmarks/networks.py

readme: setup ## write the parts of README.md that come from other files
	$(python) scripts/write_readme.py

zoo: setup ## train the emulators again and score them (two hours; needs the training data)
	$(python) examples/05_land_state/run.py record
	$(python) -m torchscript_models evaluate all
	$(python) -m torchscript_models train all

clean: ## remove .venv and what was built and written
	rm -rf .venv build examples/*/out .mypy_cache .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +
