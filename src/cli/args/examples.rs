//! Examples of the commands, at the end of their help texts and manual pages.

/// The heading, which is that of a section in a manual page.
pub const HEADING: &str = "Examples:";

pub const RUN: &str = "\
Examples:
  timbre run quickstart                            a first experiment, on the demo set
  timbre run resnet --data demo                    the same experiment on other data
  timbre run quickstart --set models.knn.k=3       with another value of a key
  timbre run grid_quick --only k=3 --at-once 2     points of a grid, two at a time
  timbre run resnet --dry-run                      what it would do, and the layers of the network";

pub const CHECK: &str = "\
Examples:
  timbre check my_experiment.toml                  all errors, each with its line and what to write
  timbre check resnet --data demo --set seeds=[1,2]
  timbre check my_experiment.toml --json | jq '.errors[] | [.file, .line, .message]'";

pub const PLAN: &str = "\
Examples:
  timbre plan quickstart                           what is computed, and what is in the cache
  timbre plan grid_quick                           the points of a grid, with time and disk space
  timbre plan grid_quick --json
  timbre plan quickstart --json --shards 16 | jq '.items[] | [.id, .needs]'";

pub const FEATURES: &str = "\
Examples:
  timbre features quickstart                       into the cache of this machine
  timbre features quickstart --out features        and as NumPy arrays
  timbre features quickstart --shard 3/16          one of 16 parts, for `timbre merge`";

pub const MERGE: &str = "\
Examples:
  timbre merge quickstart                          the parts of all shards into the cache
  timbre merge quickstart --parts /shared/parts
  timbre merge quickstart --trials                 the tables of trials that are finished";

pub const COLLECT: &str = "\
Examples:
  timbre collect resnet /from/one /from/other      the trials of two other machines
  timbre collect grid_quick ../other/runs";

pub const LAUNCH_SLURM: &str = "\
Examples:
  timbre launch slurm resnet --shards 64 --at-once 16
  timbre launch slurm resnet --sbatch=--partition=gpu --sbatch=--time=4:00:00
  timbre launch slurm resnet --retry               what has failed
  timbre launch slurm resnet --dry-run             the scripts and commands";

pub const LAUNCH_RAY: &str = "\
Examples:
  timbre launch ray resnet --shards 64             on this machine
  timbre launch ray resnet --address auto          on the cluster to which this machine belongs
  timbre launch ray resnet --python .venv/bin/python --cpus 2";

pub const LAUNCH_EMIT: &str = "\
Examples:
  timbre launch emit resnet --format parallel --at-once 4 > resnet.sh
  timbre launch emit resnet --format snakemake > Snakefile
  timbre launch emit resnet --format k8s --image registry/timbre:1 --claim music > resnet.yaml";

pub const COMPARE: &str = "\
Examples:
  timbre compare                                   the latest run of each experiment
  timbre compare quickstart/latest cnn_quick/latest
  timbre compare 'lr_*' --reference lr_1e-3        runs that match a pattern, against one of them
  timbre compare quickstart:mel.knn quickstart:mel.logistic
  timbre compare quickstart cnn_quick --metric f1_macro --metric accuracy --json
  timbre compare quickstart cnn_quick --html comparison.html
  timbre compare quickstart --baseline baselines/quickstart.json --tolerance accuracy=0.01";

pub const EVALUATE: &str = "\
Examples:
  timbre evaluate resnet/latest --data irmas       saved models on other recordings
  timbre evaluate resnet:mel.resnet18 --set evaluate.cutoff=0.4
  timbre evaluate quickstart --json";

pub const DIFF: &str = "\
Examples:
  timbre diff quickstart/latest cnn_quick/latest
  timbre diff quickstart:mel.knn quickstart:mel.logistic --json";

pub const THRESHOLDS: &str = "\
Examples:
  timbre thresholds resnet_windows/latest
  timbre thresholds resnet_windows:mel.resnet18.s1 --metric f1_macro
  timbre thresholds resnet_windows --set evaluate.search.cutoff=0.30..0.80/0.02";

pub const REPORT: &str = "\
Examples:
  timbre report quickstart/latest                  writes report.html again, prints the conclusion
  timbre report grid_quick                         grid.html of a sweep
  timbre report quickstart --figures figures --png
  timbre report quickstart --figures figures --pdf --width 84mm --font-size 8pt --captions
  timbre report resnet --recordings /data/IRMAS    recordings that were moved";

pub const RUNS: &str = "\
Examples:
  timbre runs                                      all runs, the newest first
  timbre runs 'lr_*' --sort score --limit 10
  timbre runs --where 'f1_micro>=0.6' --since 7d
  timbre runs --status failed,stopped";

pub const PREDICT: &str = "\
Examples:
  timbre predict quickstart/latest song.mp3        which classes are present, and when
  timbre predict quickstart recordings/ --csv      one row per recording, one column per class
  timbre predict resnet:mel.resnet18 song.flac --format audacity > song.txt
  timbre predict resnet song.flac --plot song.svg
  ffmpeg -i video.mp4 -f wav - | timbre predict quickstart -";

pub const SERVE: &str = "\
Examples:
  timbre serve quickstart/latest                   http://127.0.0.1:8080
  timbre serve quickstart:mel.logistic resnet      two models to choose from
  timbre serve a/latest=0.6 b/latest=0.4           and their weighted ensemble
  TIMBRE_TOKEN=secret timbre serve quickstart --addr 0.0.0.0:8080 --allow-host music.example.org";
