# Two commands: `make paper` and `make test`. Both set up what is missing.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
LOCKS := driver torch paper notebooks dev
LATEX := latexmk texlive-latex-base texlive-latex-recommended lmodern
SLURM := slurmctld slurmd slurm-client munge
CORES ?= all
EXPERIMENT ?= mini
RESULTS = results/$(EXPERIMENT)
# The runs that the README shows: the verdicts of all, the figures of the last.
RUNS ?= mini again small
HEADLINES := lcr_pareto lcr_localisation instance_methods instance_pareto erasure_pareto memory_bars var_pareto remains_overview
export PYTHONDONTWRITEBYTECODE :=

.PHONY: paper test setup latex lint unit smoke slurm slurm-test rehearsal bench readme locks clean

paper: setup latex  ## data to typeset paper, on config/mini.yaml
	@started=$$SECONDS; \
	$(BIN)/snakemake --cores $(CORES) --configfile config/$(EXPERIMENT).yaml; \
	$(BIN)/snakemake --configfile config/$(EXPERIMENT).yaml --report $(RESULTS)/report.html > $(RESULTS)/logs/report.log 2>&1; \
	echo; \
	if [ -f $(RESULTS)/paper/paper.pdf ]; then echo "paper   $(RESULTS)/paper/paper.pdf"; \
	else echo "paper   not typeset: latexmk is missing (sudo apt-get install --no-install-recommends $(LATEX))"; fi; \
	echo "report  $(RESULTS)/report.html"; \
	echo "tables  $(RESULTS)/paper/tables  (all measurements: $(RESULTS)/paper/measurements.csv)"; \
	echo "time    $$((SECONDS - started)) s"

test: setup latex lint unit  ## lint, unit tests, the smoke experiment

setup: $(VENV)/.installed

$(VENV)/.installed: envs/install.sh $(wildcard envs/*.lock.txt) pyproject.toml
	@echo "Setting up $(VENV) ..."
	rm -f $@
	$(PYTHON) -m venv $(VENV)
	bash envs/install.sh $(BIN)/python $(LOCKS)
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	touch $@

latex:
	@if command -v latexmk > /dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get > /dev/null; then \
		echo "latexmk is missing: installing the Debian packages $(LATEX) (about 190 MB)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(LATEX) > /dev/null; \
	else \
		echo "latexmk is missing: everything but the PDF will be made. To have it too:"; \
		echo "  sudo apt-get install --no-install-recommends $(LATEX)"; \
	fi

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/snakefmt --check Snakefile workflow
	$(BIN)/snakemake --lint
	$(BIN)/lint-imports

unit: setup
	$(BIN)/pytest -n 2 --dist loadfile --no-loadscope-reorder

smoke: setup
	$(BIN)/snakemake --cores $(CORES) --configfile config/smoke.yaml

slurm:
	@which slurmctld slurmd sbatch munged > /dev/null || { \
		echo "installing the Debian packages $(SLURM)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(SLURM) > /dev/null; \
	}

slurm-test: setup slurm  ## the smoke experiment and its faults through a real SLURM of one node; needs root
	$(BIN)/pytest -m slurm tests/cluster

rehearsal: setup latex  ## every rule of config/full.yaml at true size on random weights; whole where there is a GPU
	$(BIN)/snakemake --cores $(CORES) --configfile config/rehearsal_classes.yaml
	set -- config/rehearsal.yaml; \
	if nvidia-smi --list-gpus 2> /dev/null | grep -q .; then \
		set -- config/rehearsal_gpu.yaml --workflow-profile profiles/gpu; fi; \
	$(BIN)/snakemake --cores $(CORES) --configfile "$$@"

bench: setup  ## speed and memory against the original's way, in one run
	$(BIN)/python -m bench

readme: setup  ## the README's verdicts and figures from finished runs
	mkdir -p resources/readme
	$(BIN)/python -m palimpsest.report.readme --text README.md --results docs/results.md \
		--experiments $(RUNS) --scorecards $(RUNS:%=results/%/paper/scorecard.csv) \
		--figures $(HEADLINES:%=results/$(lastword $(RUNS))/paper/figures/%.png) \
		--updated README.md --updated-results docs/results.md --pictures resources/readme
	rm -f README.record.json docs/results.record.json

locks: setup  ## write envs/*.lock.txt anew from envs/*.in
	PATH=$(BIN):$$PATH bash envs/lock.sh

clean:
	rm -rf results/* .snakemake
