# What the README names. Everything installs what it needs, or says how.
.PHONY: run demo test certificates console screenshots tiers languages chaos hostile neighbours fuzz mutants check format licences bench bench-fanout bench-languages setup setup-services setup-authority setup-console

CARGO ?= cargo
# For the tests always the whole workspace: dependencies then have the same features every time.
BUILD = $(CARGO) build --workspace --bins
# What `make run` and `make demo` run, and nothing else: no tests, no benchmarks, no crash points.
EXAMPLES = -p hello-http -p payday -p round-up -p save-league -p savings-app
BUILD_DEMO = $(CARGO) build -p larder -p larder-demo -p aggregator --bins \
	&& $(CARGO) build --release --target wasm32-wasip2 $(EXAMPLES)
TARGET = $$($(CARGO) metadata --format-version 1 --no-deps | sed 's/.*"target_directory":"\([^"]*\)".*/\1/')
APT = env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends
DEMO = $(TARGET)/debug/demo
# Tests keep their data in memory. A cold start that maps its program from there takes a fifth longer than from a disk.
ON_DISK = TMPDIR="$${TMPDIR:-/tmp}"

# The embedded default, end to end: builds, starts Larder, deploys the examples, sends events, prints what happened, keeps serving.
run: setup
	$(BUILD_DEMO)
	@$(DEMO) --keep --data larder-data

# The same in a temporary folder; ends by itself.
demo: setup
	$(BUILD_DEMO)
	@$(DEMO) --listen 127.0.0.1:0 --internal 127.0.0.1:0

# Everything: unit tests of all crates, the examples' own, the system tests against real processes, and by themselves, as
# they need the machine, the short forms of `make hostile` and `make chaos`.
test: setup setup-services
	$(BUILD)
	$(CARGO) test --workspace --no-fail-fast
	@$(TARGET)/debug/corpus --short
	@$(TARGET)/debug/neighbours --short
	@$(TARGET)/debug/chaos --short

# Certificates of two minutes are renewed while processes die, for five minutes.
certificates: setup setup-services
	$(BUILD)
	$(CARGO) test --workspace --test it -- web::certificates --include-ignored --nocapture

# Every page of the consoles in a real browser, at three widths in both themes; prints the table of attacks on sign-in and session.
console: setup setup-services
	$(BUILD)
	$(CARGO) test --workspace --test it -- console:: --include-ignored --nocapture --skip console::screenshots

# Pictures of the consoles with what the demo makes, into docs/pictures.
screenshots: setup setup-console
	$(BUILD_DEMO)
	$(BUILD)
	$(CARGO) test --workspace --test it -- console::screenshots --include-ignored --nocapture

# One, two and three tiers as machines of their own (network namespaces) with the packet filters of docs/tiers.md: who reaches whom.
# Needs root and Linux.
tiers: setup setup-services
	@command -v nft >/dev/null || PATH="$$PATH:/usr/sbin" command -v nft >/dev/null || { apt-get update -q && $(APT) nftables; } || { echo "nft is missing: apt-get install nftables"; exit 1; }
	$(BUILD)
	$(CARGO) test --workspace --test it -- web::tiers --include-ignored --nocapture

# From an empty folder to a saving in the languages that `make test` leaves out. Their compilers come from PyPI.
languages: setup
	$(BUILD)
	$(CARGO) test --workspace --test it -- deployments::languages deployments::assemblyscript deployments::starling deployments::event_types --include-ignored

# Minutes of kills, restarts and partitions of everything; prints its figures. The same run again: make chaos CHAOS="--seed 7"
chaos: setup setup-services
	$(BUILD)
	@$(TARGET)/debug/chaos $(CHAOS)

# Every hostile guest many times side by side, against one process: how each ended, and what it cost anybody else.
hostile: setup
	$(BUILD)
	@$(TARGET)/debug/corpus

# Everything that one partner may do to its neighbours, and how long a neighbour waits meanwhile. One attack: make neighbours NEIGHBOURS="--only lists"
neighbours: setup setup-services
	$(BUILD)
	@$(TARGET)/debug/neighbours $(NEIGHBOURS)

# A minute of arbitrary bytes for everything that reads what strangers send. One target, longer: FUZZ_SECONDS=600 fuzz/run upload
fuzz: setup
	@fuzz/run

# Changes the rules about money, grants, time and retries one by one, and lists the changes that no test notices. Takes hours.
# Only some: make mutants MUTANTS="--file host/model/src/amount.rs"
mutants: setup
	cargo-mutants --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-mutants
	$(CARGO) mutants --workspace --timeout 60 $(MUTANTS)

# Formatting, licences and advisories, lints.
check: format licences
	$(CARGO) clippy --workspace --all-targets -- -D warnings

format: setup
	$(CARGO) fmt --all --check

licences: setup
	@if ! $(CARGO) deny --version >/dev/null 2>&1; then \
		echo "cargo-deny is not installed: licences and advisories are NOT checked (cargo install --locked cargo-deny)"; \
	else \
		$(CARGO) deny --log-level warn check bans licenses sources || exit 1; \
		if $(CARGO) deny --log-level off fetch db; then $(CARGO) deny --log-level error check advisories; \
		else echo "the advisory database cannot be reached: advisories are NOT checked"; fi; \
	fi

# What a call costs beside a bare embedding of wasmtime, workerd and `wasmtime serve` where they are installed, and the database
# alone. Takes half an hour. For a try: make bench BENCH=--quick. One part: make bench BENCH="--only door"
bench: setup setup-services
	$(BUILD) --release
	@$(ON_DISK) $(TARGET)/release/larder-benches $(BENCH)

# Fan-outs of 1,000 to 1,000,000 savers beside bare inserts of the same rows. For a try: make bench-fanout BENCH=--quick
bench-fanout: setup setup-services
	$(BUILD) --release
	@$(ON_DISK) $(TARGET)/release/larder-benches --only fan-out $(BENCH)

# What the template of each language weighs, how long it compiles, and what its calls cost.
bench-languages: setup
	$(BUILD) --release
	@$(TARGET)/release/larder-benches --only languages $(BENCH)

setup:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust with rustup (https://rustup.rs)"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc, or xcode-select --install"; exit 1; }
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2

# MariaDB and Redis, which the tests start for themselves, unless addresses of running ones are given.
setup-services: setup-authority setup-console
	@PATH="$$PATH:/usr/sbin:/opt/homebrew/opt/mariadb/bin:/opt/homebrew/bin"; \
	if [ -n "$$LARDER_TEST_MARIADB_URL" ] && [ -n "$$LARDER_TEST_REDIS_URL" ]; then exit 0; fi; \
	if command -v mariadbd >/dev/null && command -v mariadb-install-db >/dev/null && command -v redis-server >/dev/null; then exit 0; fi; \
	if command -v brew >/dev/null; then brew install mariadb redis; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -q && $(APT) mariadb-server redis-server; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo $(APT) mariadb-server redis-server; \
	else echo "MariaDB and Redis are missing: apt-get install mariadb-server redis-server, or brew install mariadb redis"; exit 1; fi

# The authority that gives certificates to the tests. A Mac's package manager has the compiler that it is built with.
PEBBLE = github.com/letsencrypt/pebble/v2/cmd
setup-authority:
	@PATH="$$PATH:/usr/local/bin:/opt/homebrew/bin"; \
	if command -v pebble >/dev/null && command -v pebble-challtestsrv >/dev/null; then exit 0; fi; \
	if command -v brew >/dev/null; then brew install go && GOBIN=/usr/local/bin go install $(PEBBLE)/pebble@latest $(PEBBLE)/pebble-challtestsrv@latest; \
	elif command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then apt-get update -q && $(APT) pebble; \
	elif command -v apt-get >/dev/null && sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo $(APT) pebble; \
	else echo "pebble is missing: apt-get install pebble, or brew install go and go install $(PEBBLE)/pebble@latest $(PEBBLE)/pebble-challtestsrv@latest"; exit 1; fi

# The browser that shows the consoles to the tests, and npm, which fetches axe-core (tests/axe).
setup-console:
	@PATH="$$PATH:/opt/homebrew/bin:/Applications/Chromium.app/Contents/MacOS:/Applications/Google Chrome.app/Contents/MacOS"; \
	has() { command -v "$$1" >/dev/null; }; \
	has_browser() { has chromium || has chromium-browser || has google-chrome || has Chromium || has "Google Chrome"; }; \
	debian=""; has npm || debian="nodejs npm"; has_browser || debian="$$debian chromium"; \
	if [ -z "$$debian" ]; then exit 0; fi; \
	if has brew; then { has npm || brew install node; } && { has_browser || brew install --cask chromium; }; \
	elif has apt-get && [ "$$(id -u)" = 0 ]; then apt-get update -q && $(APT) $$debian; \
	elif has apt-get && sudo -n true 2>/dev/null; then sudo apt-get update -q && sudo $(APT) $$debian; \
	else echo "The tests need Chromium and npm: apt-get install $$debian, or brew install node and brew install --cask chromium"; exit 1; fi