# Every target sets up what it needs; `make` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
PY := .venv/bin/python
export HF_HUB_OFFLINE ?= 1
export OMP_NUM_THREADS ?= 1
export TOKENIZERS_PARALLELISM ?= false

# Real servers and pods share two cores with the tests: what fails is run once more, and shown (R).
AGAIN := --reruns 1 -rR

# Every method and every ablation there is, separated by commas.
METHODS = $$($(PY) -c 'from llmzero.bench.methods import *; print(",".join([*METHODS, *ABLATIONS]))')

.PHONY: help setup helm images kubernetes demo docs test lint unit integration e2e crds crds-check lock clean \
        cluster cluster-down bench-stage bench-trainer bench-plan bench-operator bench-scale bench-agent bench bench-full bench-simulator tables

help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

setup: ## .venv with everything (torch and its CUDA libraries: about 7 GB)
	@.ci/setup

demo: setup ## the main job: search training trajectories with real GRPO, on this machine
	.venv/bin/llmzero run examples/quickstart.yaml --dir runs/quickstart

test: setup lint unit integration e2e ## every test there is, as CI runs them

lint: setup ## ruff, mypy, layers, generated files
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy operator/llmzero
	.venv/bin/lint-imports --no-logo

unit: helm ## tests of pure code and of one process
	$(PY) -m pytest tests/unit -n 2 $(AGAIN)

helm: setup ## build the helm that tests the chart (minutes once, then cached)
	@$(PY) -c 'from tests.tools.go_build import helm; helm()'

images: setup ## both images with buildah and their SBOMs, in build/images
	$(PY) -m tests.tools.images --archive

kubernetes: setup ## build the test cluster's binaries (5 minutes once, then cached)
	$(PY) -m tests.cluster build

integration: kubernetes ## tests with the real trainer and the real API server
	$(PY) -m pytest tests/integration -n 3 --dist loadfile $(AGAIN)

e2e: kubernetes ## tests with a real kubelet and the real trainer in pods
	$(PY) -m pytest tests/e2e $(AGAIN)

crds: setup ## crds/, the chart's copy and docs/crds.md from the pydantic models
	$(PY) -m llmzero.api.crds crds
	$(PY) -m llmzero.api.crds charts/llmzero/crds
	$(PY) -m llmzero.api.reference docs/crds.md

docs: setup ## the documentation as a site, in build/site
	NO_MKDOCS_2_WARNING=1 .venv/bin/mkdocs build --strict -f .ci/mkdocs.yml

cluster: kubernetes ## a real one-node Kubernetes on this machine
	$(PY) -m tests.cluster up

cluster-down: setup ## stop it and leave nothing behind
	$(PY) -m tests.cluster down

bench-stage: setup ## stage overhead of the local runner against a fresh process
	$(PY) tests/bench/bench_stage.py

bench-trainer: setup ## step time against the same GRPOConfig in bare TRL
	$(PY) tests/bench/bench_trainer.py

bench-plan: setup ## plan() over 100, 1,000 and 10,000 nodes
	$(PY) tests/bench/bench_plan.py

bench-operator: setup ## stage finished to child Job created
	$(PY) tests/bench/bench_operator.py

bench-scale: setup ## operator restart, memory and API requests at 10,000 stages
	$(PY) tests/bench/bench_scale.py

bench: setup ## methods and ablations at equal cost in simulated worlds (minutes)
	rm -f benchmarks/simulator.json
	.venv/bin/llmzero bench --seeds 20 --families saturating,bottlenecks,gamed,levels,recited --jobs 2 \
	  --methods "$(METHODS)" -o benchmarks/simulator.json
	@$(MAKE) tables

bench-full: setup ## methods at equal cost by real training: hours, goes on where it was cut off
	for task in ramble transcribe imperfect-verifier quickstart; do \
	  budget=; [ $$task = quickstart ] && budget="--stages 40 --tokens 0.4"; \
	  .venv/bin/llmzero bench --task $$(ls examples/$$task.yaml examples/tasks/$$task.yaml 2>/dev/null) \
	    --methods llmzero,random,pbt,asha,grid,tpe --seeds 10 --jobs 2 --dir runs/bench \
	    -o benchmarks/trained/$$task.json $$budget || exit; \
	done
	@$(MAKE) tables

bench-simulator: setup ## how near simulated worlds come to recorded training
	$(PY) tests/bench/bench_simulator.py

tables: setup ## the benchmark's tables in the pages, and its picture, from benchmarks/
	$(PY) -m llmzero.bench.tables README.md docs/*.md benchmarks/simulator.json benchmarks/trained/*.json
	$(PY) -m llmzero.bench.pictures docs/pictures/benchmark.svg benchmarks/trained/*.json

bench-agent: setup ## diagnosis and proposals on generated and real stage histories
	$(PY) tests/bench/bench_agent.py

lock: setup ## constraints.txt anew from pyproject.toml
	.ci/lock

clean: ## what the tools left, not the virtual environment
	rm -rf .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
