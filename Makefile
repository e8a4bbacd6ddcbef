# make demo and make test are for everybody; the rest is for who works on the project. `make help` lists them.
PYTHON ?= python3
VENV := .venv
PYTEST_ARGS ?=
BIN := $(VENV)/bin
BUILT_FROM := $(shell find src cmake asterisk deploy/systemd CMakeLists.txt pyproject.toml README.md -type f \
	-not -name '*.pyc' -not -name '*.so' -not -name '*.dep')
say = @printf '\033[1m%s\033[0m\n' "$(1)"

.DEFAULT_GOAL := help
.PHONY: help demo callers test test-together test-alone test-browser lint test-c test-asterisk bench bench-latency bench-agent bench-office soak fuzz gates chaos chaos-media crash build wheels clean

help: ## List the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 18

demo: $(VENV)/.installed ## A whole call on this machine, without a key or a network: demo-out/
	@$(BIN)/voice-agent demo --out demo-out

test: $(VENV)/.tools ## The tests of both packages, on the installed wheel: ten minutes on two cores
	@failed=0; $(MAKE) --no-print-directory test-together || failed=1; \
		$(MAKE) --no-print-directory test-alone || failed=1; exit $$failed

# Most tests wait for a call most of the time, so there are more workers than cores; each runs its tests one by one.
# Tests that PYTEST_ARGS names may all be of the other part: then this one has none, which is no failure.
TEST_WORKERS ?= 4
NONE_IS_FINE = $(if $(PYTEST_ARGS),|| [ $$? -eq 5 ])
test-together: $(VENV)/.tools
	@$(BIN)/python -m pytest -m "not asterisk and not browser and not alone" -n $(TEST_WORKERS) --dist worksteal $(PYTEST_ARGS) $(NONE_IS_FINE)

# Those that measure time, or ring so often that they fill the machine.
test-alone: $(VENV)/.tools
	@$(BIN)/python -m pytest -m "not asterisk and not browser and alone" $(PYTEST_ARGS) $(NONE_IS_FINE)

test-browser: $(VENV)/.tools ## The console in a real Chromium (apt-get install chromium)
	@command -v chromium >/dev/null || { echo "Chromium is missing: apt-get install chromium"; exit 2; }
	@$(BIN)/python -m pytest -m browser tests/browser $(PYTEST_ARGS)

lint: $(VENV)/.tools ## Style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m mypy.stubtest fastaudio._core fastaudio._load --allowlist tests/unit/stubtest_allowlist.txt

test-c: $(VENV)/.tools ## The C core by itself: gcc, clang, sanitizers, planted faults, a few seconds of fuzzing
	@tests/c/run.sh $(C_ARGS)

fuzz: FUZZ_SECONDS ?= 600
fuzz: $(VENV)/.tools ## The fuzzers for ten minutes each (FUZZ_SECONDS=600)
	@FUZZ_SECONDS=$(FUZZ_SECONDS) tests/c/run.sh fuzz
	@$(BIN)/python tests/fuzz/binding/fuzz_binding.py --seconds $(FUZZ_SECONDS)

gates: $(VENV)/.tools ## Instructions a frame of each unit of the C core, against committed limits
	@$(BIN)/python tests/gates/run.py

chaos: MINUTES ?= 20
chaos: CHAOS_ROUNDS ?= 0
chaos: $(VENV)/.tools ## Every failure of docs/failures.md while callers talk, for MINUTES=20, or CHAOS_ROUNDS=1
	@$(BIN)/python -m tests.chaos --minutes $(MINUTES) --rounds $(CHAOS_ROUNDS) $(CHAOS_ARGS)

chaos-media: MINUTES ?= 5
chaos-media: $(VENV)/.tools ## Calls on a network that cuts, delays and resets, for MINUTES=5
	@CHAOS_SECONDS=$$(($(MINUTES) * 60)) CHAOS_SEED=$${CHAOS_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest -s tests/integration/test_fastaudio_chaos.py -k schedules $(PYTEST_ARGS)

POINTS ?= 1000
crash: $(VENV)/.tools ## Kills the outbox and the booking API a thousand times each way: five minutes (POINTS=1000)
	@CRASH_POINTS=$(POINTS) CRASH_SEED=$${CRASH_SEED:-$$(date +%s)} \
		$(BIN)/python -m pytest -s tests/crash/test_crash_outbox.py $(PYTEST_ARGS)

callers: $(VENV)/.installed ## Scripted callers ring an agent on emulated vendors, and what comes of each call is judged
	@$(BIN)/voice-agent callers && $(BIN)/voice-agent callers --conversation dentist

test-asterisk: $(VENV)/.tools ## Calls through a real Asterisk 22 (needs root; makes its own root directory once)
	@command -v debootstrap >/dev/null || { echo "debootstrap is missing: apt-get install debootstrap"; exit 2; }
	@command -v sipp >/dev/null || { echo "SIPp is missing: apt-get install sip-tester"; exit 2; }
	@$(BIN)/python -m pytest -m asterisk tests/asterisk $(PYTEST_ARGS)

bench: $(VENV)/.tools ## Benchmarks as ratios inside one run: tables here, JSON in build/bench
	@mkdir -p build/bench
	@$(BIN)/python -m pytest benchmarks/micro/bench_*.py --benchmark-columns=median \
		--benchmark-json=build/bench/micro-rounds.json -p no:cacheprovider
	@$(BIN)/python -m benchmarks.bargein
	@$(BIN)/python -m benchmarks.stalls
	@$(BIN)/python -m benchmarks.pacing
	@$(BIN)/python -m benchmarks.density

bench-latency: $(VENV)/.tools ## How long a caller waits, four ways, and how often the caller is cut short: about 15 minutes
	@$(BIN)/python -m benchmarks.latency

bench-agent: $(VENV)/.tools ## What a call costs the whole agent, with up to 200 talking: ten minutes
	@$(BIN)/python -m benchmarks.agent

soak: MINUTES ?= 30
soak: CALLS ?= 150
soak: $(VENV)/.tools ## Calls that come and go for MINUTES=30 (up to 480), CALLS=150 at a time, and what they leave behind
	@$(BIN)/python -m benchmarks.soak --minutes $(MINUTES) --calls $(CALLS) $(SOAK_ARGS)

bench-office: $(VENV)/.tools ## Each question and each page of the console with 100,000 calls, on SQLite and PostgreSQL: 20 minutes
	@$(BIN)/python -m benchmarks.office

build: $(VENV)/.tools ## A wheel, in dist/
	@$(BIN)/python -m build --wheel --outdir dist

wheels: ## The sdist, and a manylinux wheel for each Python that is at hand, tried in a clean environment: dist/
	@$(PYTHON) deploy/wheels/build.py $(WHEELS_ARGS)

clean: ## Remove what was made here, the virtual environment included
	rm -rf $(VENV) build dist demo-out

# ---- what the targets stand on --------------------------------------------------------------------------------------

$(BIN)/python:
	$(call say,Making a virtual environment in $(VENV))
	@$(PYTHON) -c 'import sys; v = sys.version_info[:2]; sys.exit(not (3, 11) <= v <= (3, 13))' || \
		{ echo "Python 3.11, 3.12 or 3.13 is needed: make PYTHON=python3.12 ..."; exit 2; }
	@$(PYTHON) -c 'import ensurepip, sysconfig, pathlib, sys; \
		sys.exit(not (pathlib.Path(sysconfig.get_path("include")) / "Python.h").exists())' 2>/dev/null || \
		{ echo "Python's headers or its venv module are missing: apt-get install python3-dev python3-venv"; exit 2; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc"; exit 2; }
	@$(PYTHON) -m venv $(VENV) && $(BIN)/python -m pip install -q --upgrade 'pip>=25.1'

$(VENV)/.installed: $(BUILT_FROM) | $(BIN)/python
	$(call say,Building the media core and installing the speech engines: some minutes the first time)
	@$(BIN)/python -m pip install --progress-bar on '.[local]' | grep -vE '^(Requirement already|Looking in)' || true
	@$(BIN)/python -c 'import agent, fastaudio'
	@touch $@

$(VENV)/.tools: $(VENV)/.installed
	$(call say,Installing the tools that test and check)
	@$(BIN)/python -m pip install -q --group dev '.[cartesia,postgres,redis,recording,s3,otel]'
	@touch $@
