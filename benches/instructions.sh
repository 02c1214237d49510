#!/usr/bin/env bash
# Counts the instructions of every case of benches/instructions.rs and prints a table.
# Usage: benches/instructions.sh [FOLDER]    FOLDER keeps callgrind's files, for callgrind_annotate.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=${1:-$(mktemp -d)}
mkdir -p "$folder"
rm -f "$folder"/out* "$folder"/cases

build=(cargo bench --locked --bench instructions --no-run --message-format=json)
binary=$("${build[@]}" | sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
# One file for each call of `measured_case`, in order; nothing else is counted.
valgrind --tool=callgrind --toggle-collect=instructions::measured_case --dump-after=instructions::measured_case \
    --callgrind-out-file="$folder/out" "$binary" >"$folder/cases" 2>"$folder/log"

mapfile -t cases <"$folder/cases"
rows=()
for at in "${!cases[@]}"; do
    total=$(sed -n 's/^\(summary\|totals\): //p' "$folder/out.$((at + 1))" | head -1)
    rows+=("${cases[$at]}"$'\t'"$total")
done
printf '%s\n' "${rows[@]}" | awk -F '\t' '
    function row(name, one, five, all) {
        printf "| %-36s | %6s | %7s | %8s | %14s | %17s |\n", name, one, five, all,
            all ~ /^[0-9]+$/ ? sprintf("%.0f", (five - one) / 499) : "a name, at 500",
            all ~ /^[0-9]+$/ ? sprintf("%.0f", (all - one) / 9999) : "a name, at 10,000"
    }
    BEGIN {
        row("case", "1 name", "500", "10,000")
        print "|---|---:|---:|---:|---:|---:|"
    }
    { count[$1, $2] = $3 }
    $2 == 10000 { row($1, count[$1, 1], count[$1, 500], count[$1, 10000]) }'
