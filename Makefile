# Bare `make` lists the targets.
PYTHON ?= python3
BIN := .venv/bin
STRESS := tests/packet/test_stress.py tests/packet/test_stress_templates.py \
	tests/packet/test_listing.py::test_no_mixture_is_read_in_a_storm \
	tests/packet/test_many_servers.py tests/packet/test_killed_writer.py \
	tests/packet/test_differential.py tests/model
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c

.DEFAULT_GOAL := help
.PHONY: help setup bpf check test oracle corpus differential stress bench vm demo lab-up lab-down clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

setup: ## install what is missing: apt packages, Python packages into .venv
	@$(PYTHON) scripts/setup_machine.py

bpf: ## compile the BPF objects (clang, warnings are errors)
	@$(PYTHON) scripts/build_bpf.py

check: setup bpf ## ruff, mypy --strict, rule of imports, BPF programs, unit tests, model
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	@if [ -f src/onevip/engines/bpf/verified.py ]; then $(BIN)/python -m onevip.engines.bpf.verified; fi
	$(BIN)/pytest -q tests/unit tests/model

test: setup bpf ## every test; as root also packets through BPF and real traffic
	@$(BIN)/python scripts/run_tests.py

oracle: setup bpf ## recordings of the kernel's IPVS replayed: FIXTURES=DIR, DOOR=tc or xdp (root)
	@PYTHONPATH=tests $(BIN)/python -m oracle --door $(or $(DOOR),tc) $(if $(FIXTURES),"$(FIXTURES)")

corpus: setup ## files as the real ldirectord read them: FIXTURES=DIR
	@PYTHONPATH=tests $(BIN)/python -m corpus $(if $(FIXTURES),"$(FIXTURES)")

differential: setup bpf ## random lives of the programs and the reference, compared: FOR=seconds (root)
	@ONEVIP_STRESS_S=$(or $(FOR),60) ONEVIP_REQUIRE=packet $(BIN)/pytest -q -s tests/packet/test_differential.py

stress: setup bpf ## the connection table under fire, writers killed, the protocol in Spin (root)
	@ONEVIP_STRESS_S=8 ONEVIP_REQUIRE=packet,model $(BIN)/pytest -s $(STRESS)

bench: setup bpf ## what a packet costs, and the goals (root, minutes)
	@$(BIN)/python -m benchmarks $(BENCH)

vm: setup bpf ## real traffic under the oldest supported kernel, in qemu (minutes)
	@$(BIN)/pytest tests/vm

demo: setup bpf ## the walkthrough: a cluster in network namespaces (root)
	@$(BIN)/onevip demo

lab-up: setup bpf ## leave the demo's cluster running to play with (root)
	@$(BIN)/onevip lab up

lab-down: setup ## take it down again
	@$(BIN)/onevip lab down

clean: ## remove everything that was built or installed here
	rm -rf .venv .parts build dist src/onevip/engines/bpf/objects
	rm -rf .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
