# Tasks of a contributor. Each does its own set-up; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test golden diff-c lint format docs fuzz results bench networks table-lenet5 prune-lenet5 table-fashion boards clean

PYTHON := .venv/bin/python
C_FILES = $(shell git ls-files '*.c' '*.h' '*.cpp' '*.hpp')

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## prepare the tools: Debian packages, .venv, PlatformIO core folder
	@python3 tools/setup.py

demo: setup ## LeNet-5 reads handwritten digits on a virtual Cortex-M4
	@PYTHONUNBUFFERED=1 $(PYTHON) examples/lenet5_mnist/demo.py

test: setup ## all tests
	@$(PYTHON) -m pytest -n 2 --dist loadgroup

SECONDS := 600
SEED := 0
fuzz: setup ## random networks, ten minutes or SECONDS=60 of them: C against the reference
	@$(PYTHON) tests/fuzz.py --seconds $(SECONDS) --seed $(SEED)

golden: setup ## the golden files, tests/golden/expected, generated again; read the git diff
	@$(PYTHON) tools/update_golden.py

BASE := HEAD
diff-c: setup ## what the working tree does to the golden networks' C, code, stack and cycles; BASE=revision NETWORKS=names
	@$(PYTHON) tools/diff_c.py --base $(BASE) $(NETWORKS)

lint: setup ## ruff and clang-format, nothing is changed
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@.venv/bin/clang-format --dry-run -Werror $(C_FILES)

format: setup ## ruff and clang-format, in place
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .
	@.venv/bin/clang-format -i $(C_FILES)

docs: setup ## the pages that are written by the code
	@$(PYTHON) -m deepcompress options --markdown > docs/options.md
	@$(PYTHON) -m deepcompress operators > docs/operators.md
	@$(PYTHON) -m deepcompress options --kconfig > zephyr/Kconfig
	@$(PYTHON) tools/forward.py

results: setup ## the tables of README.md, measured anew
	@$(PYTHON) benchmarks/lenet5.py

bench: setup ## our kernels and those of others, side by side in one simulator: speed
	@$(PYTHON) benchmarks/speed.py

networks: setup ## whole networks people have: flash, RAM, cycles, int8 against float: docs/networks.md
	@$(PYTHON) benchmarks/networks.py

table-lenet5: setup ## the paper's comparison: LeNet-5 in as few bytes as its accuracy allows
	@$(PYTHON) benchmarks/lenet5_size.py

prune-lenet5: setup ## the same, its models pruned anew first: about an hour
	@$(PYTHON) benchmarks/lenet5_size.py --prune

table-fashion: setup ## a network the search was not made on: trained, pruned, measured; about an hour
	@$(PYTHON) benchmarks/fashion.py

boards: setup ## the example for every board and framework that can be built here: docs/boards.md
	@$(PYTHON) benchmarks/boards.py

clean: ## all that was built, not the tools
	@rm -rf build out .pytest_cache .hypothesis .ruff_cache
	@find . -name .pio -not -path './.venv/*' -prune -exec rm -rf {} +
