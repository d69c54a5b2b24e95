# The tasks of a contributor. Each runs `setup` first; `make help` lists them.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-fast golden diff-c sizes sizes-update lint types coverage-floor format hooks docs fuzz security integrity results bench networks table-lenet5 prune-lenet5 table-fashion boards compilers clean

PYTHON := .venv/bin/python
COVERAGE := build/coverage
C_FILES = $(shell git ls-files '*.c' '*.h' '*.cpp' '*.hpp' ':!tests/golden/expected')

help: ## print this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

setup: ## install what is needed: Debian packages, .venv, PlatformIO core folder
	@python3 tools/setup.py

demo: setup ## run LeNet-5 on handwritten digits on a virtual Cortex-M4
	@PYTHONUNBUFFERED=1 $(PYTHON) examples/lenet5_mnist/demo.py

# Each part runs even if one before it fails, so that one run shows everything.
test: setup ## what CI runs: lint, types, all tests, and that coverage has not fallen; 20 minutes
	@$(MAKE) --no-print-directory --keep-going lint types covered-tests

test-fast: setup ## the tests that take less than two minutes together
	@$(PYTHON) -m pytest -q -n 2 --dist loadgroup -m "not slow"

.PHONY: covered-tests
covered-tests: setup
	@rm -rf $(COVERAGE) && mkdir -p $(COVERAGE)
	@DEEPCOMPRESS_C_COVERAGE=$(CURDIR)/$(COVERAGE) \
		$(PYTHON) -m pytest -n 2 --dist loadgroup --cov --cov-report=
	@$(PYTHON) tools/coverage.py

coverage-floor: ## lets coverage not fall below what the last `make test` measured
	@$(PYTHON) tools/coverage.py --update

SECONDS := 600
SEED := 0
WHAT := networks files
fuzz: setup ## compare the C of random networks with the reference, and damage files; SECONDS=600 in all
	@for what in $(WHAT); do $(MAKE) --no-print-directory .fuzz-$$what \
		EACH=$$(($(SECONDS) / $(words $(WHAT)))) || exit 1; done

.PHONY: .fuzz-networks .fuzz-files
.fuzz-networks:
	@$(PYTHON) tests/fuzz.py --seconds $(EACH) --seed $(SEED)
.fuzz-files:
	@$(PYTHON) -W ignore tests/fuzz_files.py --seconds $(EACH) --seed $(SEED)

security: setup ## open every hostile file of tests/support/hostile; what held, memory and time by kind
	@$(PYTHON) benchmarks/security.py

integrity: setup ## kill builds, damage caches, build in parallel, flip bits of the firmware; what was found
	@$(PYTHON) benchmarks/integrity.py

golden: setup ## generate tests/golden/expected again; read the git diff
	@$(PYTHON) tools/update_golden.py

BASE := HEAD
diff-c: setup ## compare the golden networks' C, code, stack and cycles with BASE=revision; NETWORKS=names
	@$(PYTHON) tools/diff_c.py --base $(BASE) $(NETWORKS)

sizes: setup ## compare flash, RAM, stack, code and cycles of five golden networks with benchmarks/baseline.json
	@$(PYTHON) tools/sizes.py

sizes-update: setup ## measure those networks and write benchmarks/baseline.json
	@$(PYTHON) tools/sizes.py --update

lint: setup ## ruff and clang-format; changes nothing
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check .
	@.venv/bin/clang-format --dry-run -Werror $(C_FILES)

types: setup ## mypy, strict
	@$(PYTHON) -m mypy

format: setup ## format all files by ruff and clang-format
	@$(PYTHON) -m ruff check --fix .
	@$(PYTHON) -m ruff format .
	@.venv/bin/clang-format -i $(C_FILES)

hooks: setup ## run lint, types and a check of the subject before each commit: .git/hooks
	@$(PYTHON) -m pre_commit install --hook-type pre-commit --hook-type commit-msg

docs: setup ## write the pages that come from the code
	@$(PYTHON) -m deepcompress options --markdown > docs/options.md
	@$(PYTHON) -m deepcompress operators > docs/operators.md
	@$(PYTHON) -m deepcompress kernels > docs/kernels.md
	@$(PYTHON) -m deepcompress options --kconfig > zephyr/Kconfig
	@$(PYTHON) tools/forward.py

results: setup ## measure the tables of README.md again
	@$(PYTHON) benchmarks/lenet5.py

bench: setup ## compare the speed of our kernels with other libraries in one simulator
	@$(PYTHON) benchmarks/speed.py

networks: setup ## measure common networks: flash, RAM, cycles, accuracy: docs/networks.md
	@$(PYTHON) benchmarks/networks.py

table-lenet5: setup ## measure the paper's comparison: the smallest LeNet-5 for its accuracy
	@$(PYTHON) benchmarks/lenet5_size.py

prune-lenet5: setup ## prune those models again, then measure: about an hour
	@$(PYTHON) benchmarks/lenet5_size.py --prune

table-fashion: setup ## train, prune and measure a network the search was not tuned on; an hour
	@$(PYTHON) benchmarks/fashion.py

boards: setup ## build the example for every board and framework possible here: docs/boards.md
	@$(PYTHON) benchmarks/boards.py

compilers: setup ## build and run networks with every compiler, standard and flag: docs/compilers.md
	@$(PYTHON) benchmarks/compilers.py

clean: ## remove all build results, but not the tools
	@rm -rf build out .pytest_cache .hypothesis .ruff_cache .mypy_cache
	@find . -name .pio -not -path './.venv/*' -prune -exec rm -rf {} +
