#!/usr/bin/env bash
# Runs `sigma-bench wire` beside the Go peer. All flags are passed on: benches/wire.sh --case mixed -o json
set -euo pipefail
cd "$(dirname "$0")/.."
refuse=
case " $* " in *' --case mixed '* | *' --case=mixed '*) refuse=369 ;; esac

binary=$(benches/peers/go-echo/build)
bench=$(cargo build --release --locked --bin sigma-bench --message-format=json |
    sed -n 's/.*"name":"sigma-bench".*"executable":"\([^"]*\)".*/\1/p')

# On the last CPU that we may use, where the bench puts sigma too.
pin=()
cpus=$(sed -n 's/^Cpus_allowed_list:[[:space:]]*//p' /proc/self/status)
command -v taskset >/dev/null && pin=(taskset -c "${cpus##*[,-]}")

log=$(mktemp)
"${pin[@]}" "$binary" --listen 127.0.0.1:0 --refuse "$refuse" 2>"$log" &
peer=$!
trap 'kill "$peer" 2>/dev/null; rm -f "$log"' EXIT
until url=$(grep -o 'http://.*' "$log"); do
    kill -0 "$peer" 2>/dev/null || { cat "$log" >&2; exit 1; }
    sleep 0.1
done
"$bench" wire --peer "$url" "$@"
