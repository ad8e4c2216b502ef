# What the README names. Everything installs what it needs, or says how.
.PHONY: run demo test check bench setup

CARGO ?= cargo

# The embedded default, end to end: builds, starts Larder, deploys the examples, sends events, prints what happened, keeps serving.
run: setup
	$(CARGO) run --quiet -p larder-tests --bin demo -- --keep --data larder-data

# The same in a temporary folder; ends by itself.
demo: setup
	$(CARGO) run --quiet -p larder-tests --bin demo -- --listen 127.0.0.1:0 --internal 127.0.0.1:0

# Everything: unit tests of all crates, the examples' own, and the system tests against real processes.
test: setup
	$(CARGO) build -p larder
	$(CARGO) test --workspace --no-fail-fast

# Formatting, lints, licences and advisories.
check: setup
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings
	@if $(CARGO) deny --version >/dev/null 2>&1; then $(CARGO) deny --log-level error check; \
	else echo "cargo-deny is not installed, licences and advisories are not checked: cargo install --locked cargo-deny"; fi

# Cold start, warm call and web door beside a bare embedding of wasmtime.
bench: setup
	$(CARGO) build --release -p larder
	$(CARGO) run --release -p larder-benches

setup:
	@command -v $(CARGO) >/dev/null || { echo "cargo is missing: install Rust with rustup (https://rustup.rs)"; exit 1; }
	@command -v cc >/dev/null || { echo "a C compiler is missing: apt-get install gcc, or xcode-select --install"; exit 1; }
	@rustup target list --installed 2>/dev/null | grep -qx wasm32-wasip2 || rustup target add wasm32-wasip2
