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
        printf "| %-42s | %9s | %9s | %10s | %8s | %8s |\n", name, one, five, all,
            all ~ /^[0-9]+$/ ? sprintf("%.1f", (five - one) / 499) : "per name",
            all ~ /^[0-9]+$/ ? sprintf("%.1f", (all - one) / 9999) : "per name"
    }
    BEGIN {
        row("case", "1 name", "500", "10,000")
        print "|---|---:|---:|---:|---:|---:|"
    }
    { count[$1, $2] = $3 }
    $2 == 10000 { row($1, count[$1, 1], count[$1, 500], count[$1, 10000]) }'
