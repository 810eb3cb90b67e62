#!/bin/sh
# Kills a grid of 60 points five times at random moments (kill -9) and compares the result with an undisturbed grid: same bytes.
# Usage: benches/grid_killed.sh [PROGRAM]     run by hand; takes one to two minutes.
set -eu
program=$(realpath "${1:-target/release/timbre}")
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
cd "$dir"
cat > sixty.toml <<'TOML'
save_models = false
[data]
use = "demo"
clips_per_class = 12
test_recordings = 2
[audio]
clip_seconds = 1.0
[split]
kind = "holdout"
validation = 0.25
test = 0.25
[features.mel]
[models.knn]
[grid]
"models.knn.k" = [1, 2, 3, 4, 5, 7, 9, 11, 13, 15]
"models.knn.metric" = ["euclidean", "cosine", "manhattan"]
"features.mel.n_mels" = [16, 32]
TOML
"$program" features sixty.toml -q > /dev/null
begin=$(date +%s%N)
"$program" run sixty.toml -q --runs whole > /dev/null
took=$(( ($(date +%s%N) - begin) / 1000000 ))
echo "undisturbed: 60 points in $took ms"
killed=0
for n in 1 2 3 4 5; do
    "$program" run sixty.toml -q --runs killed > /dev/null 2>&1 &
    pid=$!
    # Kill early enough for five kills before the grid is done: each start resumes the one before.
    pause=$(awk -v dice="$(od -An -N2 -tu2 /dev/urandom)" -v all="$took" 'BEGIN { printf "%.3f", (0.03 + 0.22 * dice / 65536) * all / 1000 }')
    sleep "$pause"
    if kill -9 $pid 2> /dev/null; then killed=$((killed + 1)); fi
    wait $pid 2> /dev/null || true
    # Points are indented deeper than the grid itself.
    points=$(grep -c '^      "status": "done"' killed/sixty/grid.json 2> /dev/null || true)
    echo "kill $n after $pause s: ${points:-0} points done"
done
"$program" run sixty.toml -q --runs killed > /dev/null
runs=$(find killed/sixty -mindepth 1 -maxdepth 1 -type d | wc -l)
cmp whole/sixty/grid_results.csv killed/sixty/grid_results.csv
echo "killed $killed times: $runs runs, grid_results.csv has the same bytes ($(wc -l < killed/sixty/grid_results.csv) lines)"
