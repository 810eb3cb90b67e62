#!/usr/bin/env bash
# Times rebuilds after an edit, for docs/architecture.md: of the program, and of the program with all test binaries.
# Usage: benches/rebuild.sh [FILE…]     CARGO_INCREMENTAL=1 or 0 chooses incremental compilation
# Adds a public function to each file in turn, measures, and restores the file. Build everything once before.
set -euo pipefail
cd "$(dirname "$0")/.."

files=("$@")
if [ ${#files[@]} = 0 ]; then
    files=(src/serve/mod.rs src/cli/commands/mod.rs crates/reports/src/run_report/mod.rs crates/inputs/src/features/mel.rs crates/signal/src/dsp/stft.rs)
fi

measure() { # prints wall and CPU seconds of a command
    local TIMEFORMAT='%R %U %S'
    { time "$@" >/dev/null 2>&1; } 2>&1 | awk '{ printf "%5.0f s (%.0f s CPU)", $1, $2 + $3 }'
}

for file in "${files[@]}"; do
    copy=$(mktemp)
    cp -p "$file" "$copy"
    trap 'cp "$copy" "$file"' EXIT
    printf '\n/// Made by benches/rebuild.sh.\npub fn rebuild_probe() -> u32 {\n    %d\n}\n' $RANDOM >>"$file"
    build=$(measure cargo build --release)
    tests=$(measure cargo test --workspace --release --no-run)
    printf '%-45s program %s, tests %s\n' "$file" "$build" "$tests"
    cp "$copy" "$file"
    trap - EXIT
done
