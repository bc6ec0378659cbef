# Everything a user or CI calls. Each target sets up what it needs first; a second run sets nothing up again.
PYTHON ?= python3
PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/bin:$(PATH)
export PATH

.PHONY: gate test bench torture lint clean
gate: .venv/ready
	harness gate

test: .venv/ready
	pytest

lint: .venv/ready
	ruff check . && ruff format --check .

clean:
	rm -rf .venv .cache runs

.venv/ready: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
