# `just` alone lists the targets. CI calls `just ci`.

default:
    @just --list

# Everything that a change must pass, except the real control plane.
ci: test lint

# The README's test command.
test:
    cargo test --locked
    cargo test --locked --no-default-features

# The real kube-scheduler on a real API server: builds them once, then about six minutes.
# `just e2e doorbell` runs the cases with that in their names.
e2e *cases:
    tests/e2e/controlplane/build
    SIGMA_E2E=1 cargo test --locked --test e2e -- {{cases}}

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
