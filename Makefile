# The project's chores. `make help` lists them; PORT, HOST and the other settings pass through the environment.

SHELL  := /bin/sh
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin

export PIP_DISABLE_PIP_VERSION_CHECK := 1

.DEFAULT_GOAL := help

# $(call apt,PACKAGES): installs Debian packages as root or with passwordless sudo; fails where it may not.
define apt
{ command -v apt-get >/dev/null 2>&1 && \
  if [ "$$(id -u)" = 0 ]; then as_root=; elif sudo -n true 2>/dev/null; then as_root='sudo -n'; else false; fi && \
  echo "Installing $(1) with apt-get" && \
  { $$as_root apt-get update -qq || true; } && \
  $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null; }
endef

# Installed again only when pyproject.toml is newer than the stamp.
$(VENV)/.installed: pyproject.toml
	@command -v $(PYTHON) >/dev/null 2>&1 || \
	  { echo "$(PYTHON) not found: install Python 3.10 or newer, or say PYTHON=/path/to/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 10))' || \
	  { echo "Python 3.10 or newer is needed, but $(PYTHON) is $$($(PYTHON) -V 2>&1). Say PYTHON=/path/to/a/newer/python3." >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || $(call apt,python3-venv) || \
	  { echo "This Python cannot make virtual environments: install the package python3-venv (apt install python3-venv)." >&2; exit 1; }
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear $(VENV)
	@echo "Installing the service into $(VENV) (once; some 150 MB of wheels)"
	@$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.test-installed: $(VENV)/.installed
	@echo "Installing the test tools into $(VENV)"
	@$(BIN)/python -m pip install --quiet --editable '.[test]'
	@touch $@

# MediaPipe names opencv-contrib-python, whose files would overwrite those of opencv-python-headless and need libGL; it
# works with the latter, so it comes without its dependencies, and those it really needs are the extra "avatars".
# What is missing here takes away avatars of one's own, nothing else: no reason to fail.
$(VENV)/.avatars-installed: $(VENV)/.installed
	@echo "Installing the face landmarker into $(VENV) (once; some 80 MB of wheels)"
	@{ $(BIN)/python -m pip install --quiet --editable '.[avatars]' && \
	   $(BIN)/python -m pip install --quiet --no-deps 'mediapipe>=1.0,<2' && touch $@; } || \
	  echo "MediaPipe cannot be installed: the service runs, but makes no avatars of photos and videos." >&2
	@$(BIN)/python -c 'import ctypes; ctypes.CDLL("libEGL.so.1"); ctypes.CDLL("libGLESv2.so.2")' 2>/dev/null || \
	  $(call apt,libegl1 libgles2) || \
	  echo "libEGL or libGLESv2 is missing (apt install libegl1 libgles2): no avatars of photos and videos." >&2

# MuseTalk's tests want torch, of which the build without CUDA is enough; that is a tenth of the size and has an index of
# its own. openai-whisper is there to compare with: of what it names, its encoder needs these. Without all this the tests
# skip themselves.
$(VENV)/.musetalk-installed: $(VENV)/.installed
	@echo "Installing torch without CUDA and diffusers into $(VENV) for MuseTalk's tests (once; some 250 MB of wheels)"
	@{ $(BIN)/python -m pip install --quiet --no-deps --extra-index-url https://download.pytorch.org/whl/cpu 'torch==2.13.0' && \
	   $(BIN)/python -m pip install --quiet --editable '.[musetalk]' setuptools tiktoken more-itertools tqdm && \
	   $(BIN)/python -m pip install --quiet --no-deps 'openai-whisper==20250625' && touch $@; } || \
	  echo "torch, diffusers or openai-whisper cannot be installed: MuseTalk's tests will be skipped." >&2

.PHONY: help
help: ## list what make can do
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: setup
setup: $(VENV)/.installed ## install the service into .venv

.PHONY: avatars
avatars: $(VENV)/.avatars-installed ## install what makes avatars of photos and videos

.PHONY: run
run: setup avatars ## install what is missing and start the server on HOST:PORT (0.0.0.0:8000)
	@exec $(BIN)/python -m musetalk_service serve

.PHONY: run-tls
run-tls: setup avatars ## the same over https, with a certificate of its own: for browsers on other machines
	@$(BIN)/python tools/make_certificate.py .tls
	@TLS_CERTFILE=.tls/certificate.pem TLS_KEYFILE=.tls/key.pem exec $(BIN)/python -m musetalk_service serve

# What runs servers and browsers by the wall clock (test/conftest.py marks it) would be starved of it beside others.
.PHONY: test
test: lint avatars system-tools $(VENV)/.musetalk-installed ## check and test everything
	$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist loadfile -m "not wall_clock"
	$(BIN)/python -m pytest -m wall_clock

.PHONY: lint
lint: $(VENV)/.test-installed ## style, types and import directions
	$(BIN)/ruff check .
	$(BIN)/mypy --strict
	$(BIN)/lint-imports --no-logo

# Without these two the tests that need them skip themselves.
.PHONY: system-tools
system-tools:
	@command -v ffmpeg >/dev/null 2>&1 || $(call apt,ffmpeg) || \
	  echo "ffmpeg is missing: the tests that decode the stream with it will be skipped."
	@command -v chromium >/dev/null 2>&1 || command -v google-chrome >/dev/null 2>&1 || $(call apt,chromium) || \
	  echo "chromium is missing: the tests that drive a browser will be skipped."

.PHONY: bench
bench: setup ## measure this machine in some six minutes: delivery, cost, latency, start (bench/README.md)
	$(BIN)/python bench/run.py $(BENCH)

.PHONY: soak
soak: setup ## trouble a server for some fifteen minutes and check that nothing is left (bench/README.md)
	$(BIN)/python bench/soak.py $(SOAK)

.PHONY: openapi
openapi: setup ## write openapi.yaml from the code
	$(BIN)/python -m musetalk_service openapi > openapi.yaml.new
	mv openapi.yaml.new openapi.yaml

# The tools below make files that are committed; they are not needed to run or test the service.

.PHONY: fixtures
fixtures: setup speech-tools ## speak the test recordings and the page's sample again
	$(BIN)/python fixtures/make_fixtures.py

.PHONY: portrait
portrait: $(VENV)/portrait/.installed ## draw the default avatar again
	$(VENV)/portrait/bin/python tools/portrait/build.py

$(VENV)/portrait/.installed: tools/portrait/requirements.txt | setup
	@$(BIN)/python -m venv $(VENV)/portrait
	@$(VENV)/portrait/bin/python -m pip install --quiet -r tools/portrait/requirements.txt
	@touch $@

.PHONY: train
train: setup speech-tools ## synthesise the corpus, train the built-in engine and judge it (hours)
	$(BIN)/python -m pip install --quiet -r training/requirements.txt
	$(BIN)/python training/synthesise.py
	$(BIN)/python training/train.py
	$(BIN)/python training/evaluate.py

.PHONY: speech-tools
speech-tools:
	@{ command -v espeak-ng && command -v flite; } >/dev/null 2>&1 || $(call apt,espeak-ng flite) || \
	  { echo "espeak-ng or flite is missing (apt install espeak-ng flite)." >&2; exit 1; }

.PHONY: clean
clean: ## remove the virtual environment and caches
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache
