# `make demo` and `make test` work in a fresh clone: they create .venv and install what they need.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export OMP_WAIT_POLICY ?= PASSIVE

.PHONY: demo demo-dsgl test bench lint docs hooks clean

$(VENV)/.installed: requirements.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements-dev.txt $(VENV)/.installed
	$(BIN)/python -m pip install --quiet -r requirements-dev.txt
	touch $@

$(VENV)/.installed-docs: requirements-docs.txt
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet -r requirements-docs.txt
	touch $@

demo: $(VENV)/.installed
	$(BIN)/python train.py --config_file configs/demo/vit_tiny_base.yml \
		DATASETS.TARGETS "('synthetic_street', 'synthetic_campus')"
	$(BIN)/python train_clipreid.py --config_file configs/demo/vit_tiny.yml \
		DATASETS.TARGETS "('synthetic_street', 'synthetic_campus')"
	$(BIN)/python run.py results runs/demo_base runs/demo
	$(BIN)/python run.py rank-list runs/demo/last.pth --data synthetic_campus
	$(BIN)/python run.py embedding runs/demo/last.pth --data synthetic_campus
	$(BIN)/python run.py embedding runs/demo/last.pth --data synthetic_street --split train
	$(BIN)/python run.py curves runs/demo
	@echo
	@echo "rank lists of a data set it never saw:     runs/demo/rank_lists/synthetic_campus_random.html"
	@echo "its failures:                              runs/demo/rank_lists/synthetic_campus_worst.html"
	@echo "its people in the plane of features:       runs/demo/embedding_test.png"
	@echo "people it was trained on, with prompts:    runs/demo/embedding_train.png"
	@echo "losses and accuracy by epoch:              runs/demo/curves.png"

demo-dsgl: $(VENV)/.installed
	$(BIN)/python train_dsgl.py --config_file configs/dsgl/demo.yml
	$(BIN)/python run.py curves runs/demo_dsgl
	@echo
	@echo "losses, clusters and accuracy by epoch:    runs/demo_dsgl/curves.png"

test: $(VENV)/.installed-dev
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal -q

# The benchmarks that finish in ten minutes on two cores; docs/performance.md names the others.
bench: $(VENV)/.installed
	$(BIN)/python benchmarks/input.py
	$(BIN)/python benchmarks/steps.py --repeats 3
	$(BIN)/python benchmarks/evaluation.py
	$(BIN)/python benchmarks/reranking.py
	$(BIN)/python benchmarks/search.py
	$(BIN)/python benchmarks/crops.py
	$(BIN)/python benchmarks/splits.py
	$(BIN)/python benchmarks/clustering.py
	$(BIN)/python benchmarks/dsgl_losses.py
	$(BIN)/python benchmarks/dfgs.py --largest 1041 --epochs 1

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	$(BIN)/mypy
	$(BIN)/codespell
	$(BIN)/python -m pytest -q tests/test_documents.py

docs: $(VENV)/.installed-docs
	$(BIN)/python docs/make_options.py --check
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "open site/index.html"

hooks: $(VENV)/.installed-dev
	$(BIN)/pre-commit install

clean:
	rm -rf runs site .pytest_cache .mypy_cache .ruff_cache .hypothesis
