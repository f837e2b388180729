PYTHON ?= python3.11
PROMPT ?= a pineapple
BIN := .venv/bin
# Threads that wait must not spin: on few or busy cores they would steal the time they wait for.
# One thread a worker: two pytest workers with two threads each are slower on two cores.
TEST := OMP_NUM_THREADS=1 HF_HUB_OFFLINE=1 $(BIN)/python -m pytest

.PHONY: setup demo app docs test test-slow card lint clean

setup: .venv/.ready

.venv/.ready: pyproject.toml setup.py constraints.txt
	@command -v $(PYTHON) >/dev/null || { echo "no $(PYTHON) found: name one, as in 'make setup PYTHON=python3.12'" >&2; exit 1; }
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt uv
	$(BIN)/uv pip install --quiet --compile-bytecode --python $(BIN)/python --constraint constraints.txt --editable ".[all]"
	@touch $@

demo: setup
	OMP_WAIT_POLICY=passive $(BIN)/ns-train bridge-distill --prompt "$(PROMPT)"

app: setup
	OMP_WAIT_POLICY=passive $(BIN)/python app.py

# Pages from docs/ and the docstrings, in site/.
docs: setup
	$(BIN)/mkdocs build --quiet --strict

lint: setup
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/pyright

test: lint
	$(TEST) -m "not slow" -n 2 --dist loadfile

test-slow: setup
	$(TEST) -m slow

# On a machine with a GPU: half an hour, and docs/card.md. ARGS="--device cpu --small" is a rehearsal.
card: setup
	HF_HUB_OFFLINE=1 $(BIN)/python -m benchmarks.card all $(ARGS)

clean:
	rm -rf build dist site *.egg-info .pytest_cache .ruff_cache .hypothesis .import_linter_cache .gradio
	find bridge_nerf method_configs tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
