# Everything a user or CI calls. Each target sets up what it needs first; a second run sets nothing up again.
PYTHON ?= $(shell command -v python3)
PYTHON := $(PYTHON)# looked up now, before the PATH below puts the environment's own first
PATH := $(CURDIR)/.venv/bin:$(CURDIR)/.cache/bin:$(PATH)
export PATH

.PHONY: gate test tools power bench bench-serving bench-load torture torture-attached lint clean
gate: .venv/ready tools
	harness gate

# report.html is tested in Chromium where there is one (Debian: apt-get install chromium), and with axe-core where npm put
# it here (npm install --no-save axe-core); without them these tests are skipped.
# Two at a time, and then those that judge the machine's own pace, one by one. On two cores JOBS=3 is a quarter quicker,
# and now and then something comes later than a test waits for it. Bytecode is kept: thousands of processes are started.
test: .venv/ready tools
	@pytest -n $(or $(JOBS),2) -m "not calm"; first=$$?; \
	pytest -m calm $$(grep -rl 'mark\.calm' tests --include='*.py') && exit $$first

# Prometheus and Alertmanager: from PATH, else from apt, else the pinned official archives; nothing where they are there.
tools: .venv/ready
	@python -m harness.stack.tools

# What the gate costs; figures go into docs/benchmarks.md by hand, with machine and date. TIMES=10 also shows flakiness.
bench: .venv/ready tools
	python tests/bench/gate_cost.py $(or $(TIMES),3)

# The service beside LitServe, BentoML and its own limit. Needs Linux, two cores, and wrk (apt-get install wrk).
bench-serving: .venv/ready
	python tests/bench/serving.py $(or $(TIMES),5)

# How fast and how true the load engine is; beside k6 where there is one on PATH.
bench-load: .venv/ready
	python tests/bench/load_engine.py
	python tests/bench/truth.py
	python tests/bench/rows.py

# What the gate sees: every seeded defect of tests/defects, and TIMES (20) good gates; hours. What is measured already is
# not measured again. ONLY=PATTERN: only defects whose name holds it, and no good gate but by TIMES.
power: .venv/ready tools
	python tests/defects/power.py $(if $(JOBS),--jobs $(JOBS)) $(if $(TIMES),--times $(TIMES)) $(if $(ONLY),--only '$(ONLY)')

# Ends the gate at random moments and sees that nothing is left.
torture: .venv/ready tools
	python tests/gate/torture.py $(or $(TIMES),30)

# Ends harnesses that are attached to a container at random moments and sees that it is left as it was. Needs podman, runc.
torture-attached: .venv/ready
	python tests/gate/torture_attached.py $(or $(TIMES),200)

lint: .venv/ready
	ruff check . && ruff format --check .

clean:
	rm -rf .venv .cache runs

.venv/ready: pyproject.toml constraints.txt
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2> /dev/null || \
	  { echo "Python 3.11 or newer is needed and $(or $(PYTHON),python3) is not; name another with: make PYTHON=..." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2> /dev/null || \
	  { echo "$(PYTHON) cannot make virtual environments; on Debian and Ubuntu: apt-get install python3-venv" >&2; exit 1; }
	@echo "setting up .venv (once; some minutes)"
	$(PYTHON) -m venv .venv
	.venv/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	touch $@
