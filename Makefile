# Everything runs inside .venv; `make reproduce` and `make test` set it up when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
.PRECIOUS: .venv/.with-%

.PHONY: help setup reproduce bridge proofs test fast coverage bench gpu lint dead-code docs site coq clean

help:
	@echo "make reproduce   verify the paper, run the simulations on real data, draw the figures"
	@echo "make test        run every test"
	@echo "make fast        run the tests that are not marked slow (under a minute)"
	@echo "make coverage    run every test and list the lines of the library that none of them reached"
	@echo "make bridge      real torch models: angle, memory, methods, the experiments of the paper (30 minutes)"
	@echo "make bench       time and memory beside the floor and what a user would write"
	@echo "make gpu         check and measure the engine on a CUDA device (six minutes at most)"
	@echo "make lint        ruff and mypy --strict"
	@echo "make dead-code   list code that nothing uses (vulture)"
	@echo "make docs        regenerate docs/claims.md"
	@echo "make site        build the pages of docs/ with executed examples, check their links (site/index.html)"
	@echo "make coq         write every certificate as a Coq file and let coqc prove it again (needs coqc)"
	@echo "make clean       remove results/, figures/, caches and builds (keeps .venv and data/)"

setup: $(STAMP)

# torch first and alone: any other package that may choose it brings several GB of CUDA.
$(STAMP): pyproject.toml constraints.txt
	@test -x $(BIN)/python || { echo "setting up .venv"; $(PYTHON) -m venv .venv; }
	@echo "installing torch and what the library needs into .venv: one to three minutes the first time"
	@$(BIN)/python -m pip install --quiet -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast]'
	@touch $(STAMP)

# What only some commands need.
.venv/.with-%: $(STAMP)
	@echo "installing what '$*' needs beside the library (pyproject.toml): under a minute"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[fast,$*]'
	@touch $@

# What belongs to which part of the job stands in dlinear/cli/reproduction.py.
reproduce: $(STAMP)
	$(BIN)/python -m dlinear reproduce

bridge: .venv/.with-zoo
	$(BIN)/python -m dlinear reproduce --part bridge

proofs: $(STAMP)
	$(BIN)/python -m proofs

test: .venv/.with-test
	$(BIN)/python -m pytest -n 2 --dist worksteal

fast: .venv/.with-test
	$(BIN)/python -m pytest -n 2 -m "not slow"

coverage: .venv/.with-test
	$(BIN)/python -m pytest -n 2 --cov --cov-report=term

bench: $(STAMP)
	$(BIN)/python -m benchmarks.roofline
	$(BIN)/python -m benchmarks.large_depth --parts peers growth all layers

gpu: $(STAMP)
	$(BIN)/python -m benchmarks.gpu

lint: .venv/.with-lint .venv/.with-test
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

dead-code: .venv/.with-lint
	$(BIN)/vulture

docs: $(STAMP)
	$(BIN)/python -m proofs --docs

# Warnings are errors; the examples run.
site: .venv/.with-site
	$(BIN)/python -m sphinx -W --keep-going -q -d site/.doctrees docs site
	$(BIN)/python -m sphinx -b linkcheck -q -d site/.doctrees docs site/.links

coq: $(STAMP)
	$(BIN)/python -m proofs --coq results/coq --compile

clean:
	rm -rf results figures site docs/howto docs/generated build dist .coverage .coverage.* .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
