# `just` alone lists the targets. CI calls `just ci`.

default:
    @just --list

# Everything that a change must pass, except the real control plane.
ci: test lint

# The README's test command.
test:
    cargo test --locked
    cargo test --locked --no-default-features

# Formatting, clippy with and without `live`, docs, dependencies.
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo clippy --locked --all-targets --no-default-features -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps
    cargo machete
    cargo deny --all-features check bans licenses sources

# Instructions per name of filter and prioritize, counted by callgrind. `benches/README.md` reads it.
instructions folder="target/instructions":
    benches/instructions.sh {{folder}}

# Wall time of decisions and whole requests.
bench:
    cargo bench --locked --bench decide --bench wire
