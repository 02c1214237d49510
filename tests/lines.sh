#!/usr/bin/env bash
# Lines of code in src/ without tests, comments and blank lines, and tests ÷ code, for each room.
# Usage: tests/lines.sh [REVISION]   default: HEAD. The sum leaves out sim and bench.
set -euo pipefail
cd "$(dirname "$0")/.."
revision=${1:-HEAD}
git ls-tree -r --name-only "$revision" src | grep '\.rs$' | while read -r file; do
    echo "=== $file"
    git show "$revision:$file"
done | awk '
    $1 == "===" {
        path = $2; room = path; sub(/^src\//, "", room)
        if (room ~ /^cli\/bench/) room = "bench"
        sub(/\/.*/, "", room); sub(/\.rs$/, "", room)
        # A file for tests: tests.rs, x_tests.rs, or one in such a folder; testing.rs, fake.rs.
        whole = path ~ /(\/|_)tests(\.rs$|\/)/ || path ~ /\/(testing|fake)\.rs$/
        inside = 0; marked = 0; next
    }
    { line = $0; sub(/^[ \t]+/, "", line) }
    line == "" || line ~ /^\/\// { next }
    line == "#[cfg(test)]" { marked = 1; next }
    # An item behind the mark ends at the brace that closes it, at the indentation of its first line.
    marked && line ~ /^#\[/ { tests[room]++; next }
    marked { marked = 0; if ($0 ~ /\{$/) { match($0, /^ */); inside = 1; indent = RLENGTH } tests[room]++; next }
    whole || inside {
        tests[room]++
        if (inside) { match($0, /^ */); if (RLENGTH == indent && line ~ /^\}/) inside = 0 }
        next
    }
    { code[room]++ }
    END {
        for (room in tests) code[room] += 0
        for (room in code) {
            printf "%-12s %6d %6d %8.2f\n", room, code[room], tests[room], code[room] ? tests[room] / code[room] : 0 | "sort"
            if (room != "sim" && room != "bench") { all += code[room]; proved += tests[room] }
        }
        close("sort")
        printf "%-12s %6d %6d %8.2f\n", "sum", all, proved, proved / all
    }' | { printf '%-12s %6s %6s %8s\n' room code tests 'tests÷code'; cat; }
