#!/bin/bash
# two: Written by `timbre launch emit --format parallel`. PARALLEL="--sshlogin …" spreads it over machines that share the folder.
set -eu
cd /project
parallel --jobs 2 --retries 3 --workdir . <<'END_OF_COMMANDS' || true
timbre features two.toml -q --jobs 4 --set models.knn.k=3 --shard 0/3
timbre features two.toml -q --jobs 4 --set models.knn.k=3 --shard 1/3
timbre features two.toml -q --jobs 4 --set models.knn.k=3 --shard 2/3
END_OF_COMMANDS
timbre merge two.toml -q --jobs 4 --set models.knn.k=3
parallel --jobs 2 --retries 3 --workdir . <<'END_OF_COMMANDS' || true
timbre run two.toml -q --jobs 4 --set models.knn.k=3 --only-trial mel.knn.s1 --device auto
timbre run two.toml -q --jobs 4 --set models.knn.k=3 --only-trial mel.logistic.s1 --device auto
timbre run two.toml -q --jobs 4 --set models.knn.k=3 --only-trial mel.net.s1 --device auto
timbre run two.toml -q --jobs 4 --set models.knn.k=3 --only-trial contrast.knn.s1 --device auto
timbre run two.toml -q --jobs 4 --set models.knn.k=3 --only-trial contrast.logistic.s1 --device auto
END_OF_COMMANDS
timbre merge two.toml -q --jobs 4 --set models.knn.k=3 --trials --device auto
