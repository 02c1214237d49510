#!/usr/bin/env bash
# Counts the instructions of every case of benches/instructions.rs and prints a table.
# Usage: benches/instructions.sh [--check|--update] [FOLDER]
#   --check   fails when a case needs more than benches/instructions.tsv allows
#   --update  writes benches/instructions.tsv; commit it with the reason
#   FOLDER    keeps callgrind's files, for callgrind_annotate
set -euo pipefail
cd "$(dirname "$0")/.."
mode=table
case ${1:-} in
--check | --update) mode=${1#--} && shift ;;
esac
folder=${1:-$(mktemp -d)}
baseline=benches/instructions.tsv
mkdir -p "$folder"
rm -f "$folder"/out* "$folder"/cases

build=(cargo bench --locked --bench instructions --no-run --message-format=json)
binary=$("${build[@]}" | sed -n 's/.*"name":"instructions".*"executable":"\([^"]*\)".*/\1/p')
# One file for each call of `measured_case`, in order; nothing else is counted.
valgrind --tool=callgrind --toggle-collect=instructions::measured_case --dump-after=instructions::measured_case \
    --callgrind-out-file="$folder/out" "$binary" >"$folder/cases" 2>"$folder/log"

mapfile -t cases <"$folder/cases"
for at in "${!cases[@]}"; do
    total=$(sed -n 's/^\(summary\|totals\): //p' "$folder/out.$((at + 1))" | head -1)
    printf '%s\t%s\n' "${cases[$at]}" "$total"
done | awk -F '\t' -v OFS='\t' '
    # Each case is counted some times: the least counts, since the allocator tidies up now and then.
    { key = $1 OFS $2 }
    !(key in least) { order[++cases] = key; least[key] = $3 }
    $3 < least[key] { least[key] = $3 }
    END { for (at = 1; at <= cases; at++) print order[at], least[order[at]] }' >"$folder/counts.tsv"

awk -F '\t' '
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
    $2 == 10000 { row($1, count[$1, 1], count[$1, 500], count[$1, 10000]) }' "$folder/counts.tsv"

case $mode in
update) cp "$folder/counts.tsv" "$baseline" ;;
check)
    # A request of one name is mostly the allocator, whose count wanders; of 500 it is some percent.
    awk -F '\t' '
        NR == FNR { allowed[$1, $2] = $3; next }
        !(($1, $2) in allowed) { printf "%s, %s names: not in the baseline\n", $1, $2; bad = 1; next }
        {
            seen[$1, $2] = 1
            tolerance = $2 == 1 ? 0.15 : $2 == 500 ? 0.06 : 0.02
            change = $3 / allowed[$1, $2] - 1
            if (change > tolerance || change < -tolerance) {
                printf "%s, %s names: %d instructions, %+.1f %% of the baseline (%d)\n",
                    $1, $2, $3, 100 * change, allowed[$1, $2]
                bad += change > 0
            }
        }
        END {
            for (key in allowed) if (!(key in seen)) { split(key, part, SUBSEP)
                printf "%s, %s names: in the baseline, not measured\n", part[1], part[2]; bad = 1 }
            if (bad) print "benches/instructions.sh --update writes the baseline; the commit says why"
            exit bad > 0
        }' "$baseline" "$folder/counts.tsv"
    ;;
esac
