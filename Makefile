# Trident: `make serve` and `make test` are all a fresh machine needs; `make help` lists the rest.

PYTHON ?= python3.11
VENV   := .venv
BIN    := $(VENV)/bin
STAMP  := $(VENV)/.installed

# Where pip finds PyTorch's CPU build, on machines where the default index would give a CUDA build.
TORCH_INDEX_URL ?=

# Of the images: the release of NVIDIA's Triton, and what they are tagged with.
TRITON_TAG  ?= 24.10
TRIDENT_TAG ?= latest

# Arguments handed on to trident-serve, pytest and trident-bench: make serve ARGS="--port 9000", make test ARGS="-k offsets".
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help docs release serve test coverage test-bench check bench load lint models check-docker stop lock clean distclean
.DELETE_ON_ERROR:

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):[^#]*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 18

$(STAMP): pyproject.toml client/pyproject.toml setup.py requirements.lock scripts/fetch_tcmalloc.sh
	@command -v $(PYTHON) >/dev/null || { echo "Trident needs Python 3.11; '$(PYTHON)' was not found. Set PYTHON=/path/to/python3.11." >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "pip>=25,<26"
	@$(BIN)/python scripts/check_torch_build.py "$(TORCH_INDEX_URL)" "$(or $(firstword $(MAKECMDGOALS)),serve)"
	@echo "Installing the pinned packages into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --progress-bar on \
		$(if $(TORCH_INDEX_URL),--extra-index-url $(TORCH_INDEX_URL)) --requirement requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable ./client --editable .
	@sh scripts/fetch_tcmalloc.sh $(VENV)/lib || echo "Without tcmalloc, which apt would have, Trident works as well, a little slower." >&2
	@touch $@

models: $(STAMP) ## build what is missing or stale in model_repository/
	@$(BIN)/trident-train models

serve: models ## start Triton and the facade; Ctrl-C stops both
	@exec $(BIN)/trident-serve $(ARGS)

stop: ## stop a server that `make serve` left in the background
	@if test -x $(BIN)/trident-serve; then $(BIN)/trident-serve --stop; fi

# The slowest tests are told. Three workers, for two cores: while one waits for its server, the other two compute. What
# shares a server stays together, see tests/conftest.py.
PYTEST := -m pytest --durations 25
BESIDE := --numprocesses 3 --dist loadfile --no-loadscope-reorder

# An image may say that Python is to write no bytecode; then every process of hundreds would compile the same sources.
test coverage test-bench check load bench: export PYTHONDONTWRITEBYTECODE :=

# mypy computes on one core: beside it the tests have the other, and both when it is done.
test: models ## lint, type-check and run the suite against a real Triton, but the bench's own runs
	@$(MAKE) --no-print-directory --jobs 2 lint all-tests

.PHONY: all-tests
all-tests: $(STAMP)
ifeq ($(ARGS),)
	@$(BIN)/python $(PYTEST) $(BESIDE) -m "not (bench or image or engines)"
else
	@$(BIN)/python $(PYTEST) -m "not (bench or image or engines)" $(ARGS)
endif

# A step of its own: Python 3.11 has no monitoring, and a traced test computes half as long again.
coverage: models ## run the suite, tell which lines it runs, and fail below the floor in pyproject.toml
	@$(BIN)/python $(PYTEST) $(BESIDE) --cov -m "not (bench or image or engines)" $(ARGS)

test-bench: models ## the bench from its command lines to its reports, against a real Triton
	@$(BIN)/python -m pytest --durations 10 -m bench $(ARGS)

.PHONY: test-image
test-image: models ## build the embedded image and the facade's with Podman, as root, and run them; skipped where a tool is lacking
	@TORCH_INDEX_URL="$(TORCH_INDEX_URL)" $(BIN)/python -m pytest --durations 10 -m image $(ARGS)

check: models ## lint, type-check and run the tests that need no server and make no model
	@$(MAKE) --no-print-directory --jobs 2 lint quick-tests

.PHONY: quick-tests
quick-tests: $(STAMP)
	@$(BIN)/python $(PYTEST) $(BESIDE) -m "not (serving or browser or bench or image or engines or slow)" $(ARGS)

.PHONY: clients
clients: models ## ask a server with other projects' clients, each from an environment of its own; the table is docs/clients.md
	@$(BIN)/python tests/clients $(ARGS)

.PHONY: engines
engines: models ## embed with Ray and Spark, from an environment of their own, and kill what they run on; needs a JRE
	@$(BIN)/python tests/engines $(ARGS)
	@$(BIN)/python -m pytest -m engines

load: models ## load tests of every ensemble; the report is bench/results/load/report.html
	@$(BIN)/trident-bench load $(ARGS)

.PHONY: chaos fuzz sanitize
chaos: models ## hurt a server of its own in every way, under load; ARGS="flood" and "soak" are the other long forms
	@PYTHONPATH=tests/support $(BIN)/python -m chaos $(or $(ARGS),faults --out bench/results/chaos/faults.md)

fuzz: models ## send everything what it cannot read, for hours, other examples each time; the suite does so for a minute
	@$(BIN)/python -m pytest tests/fuzz tests/unit/api/test_contract.py tests/serving/test_facade.py \
		-k "fuzz or keeps_to or keep_to" --hypothesis-profile=night --timeout 0 $(ARGS)

sanitize: $(STAMP) ## the embedded backend's C under ASan and UBSan, then TSan; 100,000 requests, and each call that fails
	@$(BIN)/python scripts/sanitize.py $(ARGS)
	@$(BIN)/python scripts/sanitize.py --sanitizers thread $(ARGS)

# Half a second shows no ratio, and what is written elsewhere is for whoever named the place to judge.
bench: models ## measure Trident beside its peers; a table and pictures in bench/results/compare/
	@TORCH_INDEX_URL="$(TORCH_INDEX_URL)" exec $(BIN)/trident-bench compare $(ARGS)

.PHONY: goals
goals: $(STAMP) ## hold what `make bench` found to what the project wants of its ratios; fails where one misses
	@$(BIN)/python scripts/check_comparison.py $(ARGS)

check-docker:
	@command -v docker >/dev/null && docker version >/dev/null || { echo "Images need a Docker engine (23 or newer), and 'docker version' finds none. 'make serve' needs none: it serves the same models without a container." >&2; exit 1; }

# In this order: without an engine, nothing is built.
images: check-docker ## build the models, then the images for processors: server, models alone, facade
	@$(MAKE) --no-print-directory models
	docker build --file docker/Dockerfile.embedded $(if $(TORCH_INDEX_URL),--build-arg TORCH_INDEX_URL=$(TORCH_INDEX_URL)) \
		--tag trident-embedded:$(TRIDENT_TAG) .
	@$(MAKE) --no-print-directory shared-images

images-gpu: check-docker ## the same on NVIDIA's image, the models in a precision that a GPU has
	@$(MAKE) --no-print-directory models TRIDENT_DTYPE=$(or $(TRIDENT_DTYPE),portable)
	docker build --file docker/Dockerfile.triton --build-arg TRITON_TAG=$(TRITON_TAG) --tag trident-triton:$(TRIDENT_TAG) .
	@$(MAKE) --no-print-directory shared-images

.PHONY: images images-gpu shared-images
shared-images:
	docker build --file docker/Dockerfile.triton --target models --tag trident-models:$(TRIDENT_TAG) .
	docker build --file docker/Dockerfile.api --tag trident-api:$(TRIDENT_TAG) .

lint: $(STAMP) ## ruff, mypy, the generated client, and C without a warning
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/python scripts/unasync.py --check
	@$(BIN)/mypy
	@$(BIN)/python scripts/compile_strictly.py

docs: $(STAMP) ## make a site of docs/, with the reference from the code; build/site/index.html
	@$(BIN)/python scripts/generate_reference.py
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

.PHONY: wheels
wheels: $(STAMP) ## build both wheels of what is here into dist/, and check them
	@$(BIN)/python scripts/release.py --unreleased

release: $(STAMP) ## the same and the version's notes, where nothing is unreleased
	@$(BIN)/python scripts/release.py

# `dev` names every extra but those of Ray and Spark, which `make engines` installs for itself.
lock: $(STAMP) ## resolve requirements.lock anew from pyproject.toml
	@$(BIN)/python -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir .trident/lock ./client
	@$(BIN)/pip-compile --quiet --extra dev --strip-extras --no-header --no-annotate \
		--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --allow-unsafe \
		--find-links .trident/lock --output-file requirements.lock pyproject.toml
	@sed -i -e 's/^\(torch==[0-9.]*\)+.*/\1/' -e '/^trident-/d' -e '/^pip==/d' -e '/^#/d' requirements.lock

clean: stop ## remove built models, logs and caches
	@rm -rf .trident .mypy_cache .pytest_cache .ruff_cache .hypothesis .coverage*
	@rm -f model_repository/*/1/model.pt model_repository/*/1/*.json

distclean: clean ## also remove the virtual environment
	@rm -rf $(VENV) *.egg-info
