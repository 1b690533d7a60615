# `make pilot` runs the pilot on sample_data/; `make test` runs all checks and tests. Both set up .venv first.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
OUT ?= out

.PHONY: pilot test clean

pilot: $(VENV)/installed
	@echo "==> Running the pilot on sample_data/ (under 3 minutes on 2 cores)"
	$(BIN)/inspect-compress pilot sample_data --config sample_data/pilot.toml --out $(OUT) --overwrite

test: $(VENV)/installed
	@echo "==> Checking style and types"
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	@echo "==> Running the tests"
	$(BIN)/pytest -n 2

$(VENV)/installed: pyproject.toml setup.py constraints.txt $(wildcard inspect_compress/qarv/*.?pp)
	@echo "==> Making a virtual environment in $(VENV) and installing the pinned packages (some minutes, 2 GB)"
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

clean:
	rm -rf $(VENV) $(OUT)
