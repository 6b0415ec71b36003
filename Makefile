# Everything runs inside .venv; `make reproduce` and `make test` set it up when it is missing or out of date.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed

.PHONY: help setup reproduce proofs sims figures bridge test bench lint docs clean

help:
	@echo "make reproduce   verify the paper, run the simulations on real data, draw the figures"
	@echo "make test        run every test"
	@echo "make bridge      real torch models: decay of the angle, memory, every method side by side (15 minutes)"
	@echo "make bench       time and memory beside the floor and what a user would write"
	@echo "make lint        ruff and mypy --strict"
	@echo "make docs        regenerate docs/claims.md"
	@echo "make clean       remove results/ and figures/ (keeps .venv)"

setup: $(STAMP)

# torch first and alone: any other package that may choose it brings several GB of CUDA.
$(STAMP): pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet -c constraints.txt torch
	$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[test,lint]'
	touch $(STAMP)

reproduce: proofs sims figures

proofs: $(STAMP)
	$(BIN)/python -m proofs

sims: $(STAMP)
	$(BIN)/python -m sims.cubic_decay
	$(BIN)/python -m sims.rough_layers
	$(BIN)/python -m sims.theorem_a
	$(BIN)/python -m sims.oscillating_limit
	$(BIN)/python -m sims.autograd_error

THEORY := autograd_error crossover decay k_map lemma_c5 oscillating_limit prefactor theorem_a

figures: sims
	$(BIN)/python -m paper_figs $(THEORY)

bridge: $(STAMP)
	$(BIN)/python -m sims.bridge_slopes
	$(BIN)/python -m sims.bridge_memory
	$(BIN)/python -m sims.bridge_tradeoff
	$(BIN)/python -m paper_figs bridge_slopes bridge_training bridge_memory bridge_pareto

test: $(STAMP)
	$(BIN)/python -m pytest -n 2

bench: $(STAMP)
	$(BIN)/python -m benchmarks.large_depth

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(STAMP)
	$(BIN)/python -m proofs --docs

clean:
	rm -rf results figures
