# `just` alone lists the targets. CI calls `just ci`.

default:
    @just --list

# All that a change must pass.
ci: test lint size-check instructions-check e2e

# The README's test command.
test:
    cargo test --locked
    cargo test --locked --no-default-features

# The real kube-scheduler on a real API server: builds them once, then about seven minutes.
# `just e2e requeue` runs the cases with that in their names.
e2e *cases:
    tests/e2e/controlplane/build
    SIGMA_E2E=1 cargo test --locked --test e2e -- {{cases}}

# Steers and nominations ahead beside kube-scheduler of other minor versions: builds each once (2 to 4 minutes),
# then some two minutes each. `just e2e-matrix 1.33` takes one.
e2e-matrix *minors="1.30 1.33 1.34 1.35 1.36":
    #!/usr/bin/env bash
    set -euo pipefail
    failed=
    for minor in {{minors}}; do
        assets=$(tests/e2e/controlplane/build "$minor")
        KUBEBUILDER_ASSETS=$assets SIGMA_E2E=1 cargo test --locked --test e2e -- \
            d_preempt_nomination nominate_fences ahead_backlog steer_to_the_only_node steer_faults || failed+=" $minor"
    done
    [[ -z $failed ]] || { echo "failed beside kube-scheduler$failed" >&2; exit 1; }

# Pods come and go on full nodes beside a real kube-scheduler; counts bindings beyond a limit. Each variant beside the
# default version, then the plain one beside other minor versions. `just soak 120 ""` takes eight minutes.
soak seconds="600" minors="1.33 1.36":
    #!/usr/bin/env bash
    set -euo pipefail
    failed=
    soak() { # assets, variants, name
        KUBEBUILDER_ASSETS=$1 SIGMA_E2E=1 cargo test --locked --test e2e -- \
            soak --seconds {{seconds}} --variants "$2" || failed+=" $3"
    }
    soak "$(tests/e2e/controlplane/build)" plain,late-status,sigma-killed,apiserver-killed "the default version"
    for minor in {{minors}}; do
        soak "$(tests/e2e/controlplane/build "$minor")" plain "$minor"
    done
    [[ -z $failed ]] || { echo "failed beside$failed" >&2; exit 1; }

# Formatting, clippy with and without `live`, docs, dependencies.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    cargo machete
    cargo deny --all-features check bans licenses sources

# Known vulnerabilities; needs the advisory database.
advisories:
    cargo deny --all-features check advisories

# What takes long: `fuzz`, `e2e-matrix`, `soak`, many more cases of every property (the state sees more than a
# million changes), sigma killed 50 times at each step of a steer, and the demo at its full size.
nightly: fuzz e2e-matrix soak
    SIGMA_SEEDS=300 just e2e steer_killed
    cargo test --locked --test docs -- --ignored every_example_compiles
    PROPTEST_CASES=20000 cargo test --locked --release --test properties --test policy -- --nocapture
    cargo run --locked --release -- demo -o json

# Hostile bytes at each edge for so many seconds. `tests/fuzz/README.md` says what to do with a case.
fuzz seconds="660":
    FUZZ_SECONDS={{seconds}} cargo test --locked --test fuzz -- --nocapture

# Instructions per name of filter and prioritize, counted by callgrind. `benches/README.md` reads it.
instructions folder="target/instructions":
    benches/instructions.sh {{folder}}

# The same, compared with benches/instructions.tsv: fails where a case has become dearer.
instructions-check:
    benches/instructions.sh --check target/instructions

# The stripped product has at most 20 MB. Builds it first.
size-check:
    #!/usr/bin/env bash
    set -euo pipefail
    cargo build --locked --release --bin sigma
    bytes=$(stat -c %s "${CARGO_TARGET_DIR:-target}/release/sigma")
    echo "sigma: $bytes bytes"
    ((bytes <= 20 * 1024 * 1024)) || { echo "the product is larger than 20 MB" >&2; exit 1; }

# The stripped product and its symbols, of one build, in target/symbols/.
symbols:
    cargo build --locked --bin sigma --profile symbols --target-dir target
    objcopy --only-keep-debug target/symbols/sigma target/symbols/sigma.debug
    objcopy --strip-all --add-gnu-debuglink=target/symbols/sigma.debug target/symbols/sigma target/symbols/sigma-stripped

# Lines of code and of tests of each room, at a revision.
lines revision="HEAD":
    tests/lines.sh {{revision}}

# Wall time of decisions, whole requests, and of taking events in.
bench:
    cargo bench --locked --bench decide --bench wire --bench ingest

# Round trips of filter and prioritize beside an extender in Go. `just bench-wire --case mixed -o json`
bench-wire *flags:
    benches/wire.sh {{flags}}

# Pods a second of a real kube-scheduler without an extender, with sigma, with one in Go; some minutes.
# `just bench-e2e --help`
bench-e2e *flags:
    tests/e2e/controlplane/build
    benches/peers/go-echo/build
    SIGMA_E2E=1 cargo test --release --locked --test e2e -- bench {{flags}}
