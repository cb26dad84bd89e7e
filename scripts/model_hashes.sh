#!/usr/bin/env bash
# Trains small models and compares their bits with stored hashes, which must not change unless a
# change of the code is meant to alter results.
#
#   scripts/model_hashes.sh [--isa avx2|avx512] [--update] [BINARY]
#
# Each model is trained in f32 on two threads and again on one, with the same bits. A line holds the
# model, the hashed output (weights, predictions, scores or generated text) and its SHA-256. The
# lines are compared with scripts/model_hashes.ISA.txt; --update writes that file instead. Exit code
# 1: a line differs; 2: a run failed.
set -euo pipefail
root="$(cd "$(dirname "$0")/.." && pwd)"
isa=avx2 update=false binary="$root/target/release/feedforward"
while [ $# -gt 0 ]; do
  case $1 in
    --isa) isa=$2; shift 2 ;;
    --update) update=true; shift ;;
    -*) echo "unknown option $1: see the head of $0" >&2; exit 2 ;;
    *) binary="$(cd "$(dirname "$1")" && pwd)/$(basename "$1")"; shift ;;
  esac
done
stored="$root/scripts/model_hashes.$isa.txt"

work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
cd "$work"
# Paths are part of some outputs, so they must be the same everywhere.
ln -s "$root/recipes" "$root/datasets" .
cp "$root/LICENSE-APACHE" text.txt

# A table with some missing numbers, three labels, and two columns with too many categories for
# one-hot encoding.
awk 'BEGIN {
  s = 42
  print "city,shop,price,weekday,sold"
  for (i = 0; i < 1500; i++) {
    s = (s * 16807) % 2147483647; city = s % 70
    s = (s * 16807) % 2147483647; shop = (s % 40) * (s % 3 + 1) % 45
    s = (s * 16807) % 2147483647; price = s % 1000
    s = (s * 16807) % 2147483647; day = s % 7
    sum = city * 7 % 13 + shop * 5 % 11 + price / 100 + (day > 4) * 6
    sold = sum > 20 ? "many" : sum > 13 ? "some" : "few"
    printf "c%d,s%d,%s,d%d,%s\n", city, shop, s % 50 ? price / 10 : "", day, sold
  }
}' > sales.csv

cat > language.toml <<'T'
[data]
paths = ["text.txt"]
valid = 0.1

[tokenizer]
kind = "bpe"
vocab_size = 320

[optimizer]
kind = "adamw"
lr = 2e-3
clip_norm = 1.0

[schedule]
kind = "cosine"
warmup = 5

[train]
steps = 25
context = 48
batch_size = 4
eval_every = 10
T
language() { # NAME: a recipe of the text above with the model on standard input
  { cat language.toml; echo; cat; } > "$1.toml"
}
language gpt2 <<'T'
[model.config]
model_type = "gpt2"
n_layer = 2
n_head = 4
n_embd = 48
T
language llama <<'T'
[model.config]
model_type = "llama"
hidden_size = 48
intermediate_size = 112
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
tie_word_embeddings = true
T
language mixtral <<'T'
[model.config]
model_type = "mixtral"
hidden_size = 48
intermediate_size = 64
num_hidden_layers = 2
num_attention_heads = 4
num_key_value_heads = 2
num_local_experts = 4
num_experts_per_tok = 2
router_aux_loss_coef = 0.01
T

try() { # COMMAND…: silent unless it fails
  "$@" > output 2> errors || { echo "failed: $*" >&2; cat errors >&2; exit 2; }
}
hash() { # MODEL WHAT FILE
  printf '%s %s %s\n' "$1" "$2" "$(sha256sum < "$3" | cut -d' ' -f1)"
}
trained() { # NAME COMMAND RECIPE [SETTING…]: trains on two threads into NAME, then on one
  local name=$1 command=$2 recipe=$3 settings=()
  shift 3
  for setting; do settings+=(--set "$setting"); done
  for threads in 2 1; do
    rm -rf "$name"
    try "$binary" "$command" "$recipe" "${settings[@]}" --out "$name" --isa "$isa" --threads "$threads" --quiet
    hash "$name" weights "$name/model/model.safetensors" > "$name.$threads"
  done
  cmp -s "$name.1" "$name.2" || { echo "$name: one thread and two threads give different weights" >&2; exit 1; }
  cat "$name.2"
}
table() { # NAME DATA RECIPE [SETTING…]
  local name=$1 data=$2 classes=(--proba)
  shift 2
  [ "$data" != datasets/diabetes.csv ] || classes=()
  trained "$name" train "$@"
  try "$binary" predict "$name" --data "$data" --out "$name.csv" "${classes[@]}" --json --isa "$isa" --threads 2
  hash "$name" predictions "$name.csv"
  try "$binary" evaluate "$name" --json --verbose --isa "$isa" --threads 2
  hash "$name" scores output
}
text() { # NAME RECIPE PROMPT [SETTING…]
  local name=$1 recipe=$2 prompt=$3
  shift 3
  trained "$name" pretrain "$recipe" "$@"
  try "$binary" generate "$name" --prompt "$prompt" --max-tokens 20 --json --isa "$isa" --threads 2
  sed -i 's/"seconds":[0-9.e-]*/"seconds":0/g' output
  hash "$name" generated output
  try "$binary" evaluate "$name" --json --isa "$isa" --threads 2
  hash "$name" scores output
}

models() {
  table digits datasets/digits.csv recipes/digits.toml train.epochs=6
  table diabetes datasets/diabetes.csv recipes/diabetes.toml
  table embeddings sales.csv recipes/wine.toml data.path=sales.csv data.target=sold train.epochs=8 model.norm=batch
  local wine=(datasets/wine.csv recipes/wine.toml train.epochs=6)
  local optimizer activation norm loss
  for optimizer in sgd adam rmsprop adagrad lion muon; do
    table "$optimizer" "${wine[@]}" "optimizer={kind=\"$optimizer\"}"
  done
  for activation in sigmoid tanh leaky_relu prelu elu selu gelu gelu_tanh silu mish softplus hard_sigmoid hard_swish relu2; do
    table "$activation" "${wine[@]}" "model.activation=$activation"
  done
  for norm in layer rms; do
    table "$norm" "${wine[@]}" "model.norm=$norm" model.residual=true model.dropout=0.1 "model.hidden=[32,32,32]"
  done
  for loss in mae huber; do
    table "$loss" datasets/diabetes.csv recipes/diabetes.toml "loss.kind=$loss" "optimizer={kind=\"adamw\"}" optimizer.ema=0.9
  done
  table focal datasets/breast_cancer.csv recipes/breast_cancer.toml loss.kind=focal train.epochs=6
  text arithmetic recipes/arithmetic.toml '123+456=' train.steps=12 train.eval_every=6 generate.examples=20000 generate.test=50
  text gpt2 gpt2.toml 'the License'
  text llama llama.toml 'the License'
  text mixtral mixtral.toml 'the License'
}

models > hashes
if $update; then
  { [ ! -e "$stored" ] || grep '^#' "$stored" || true; cat hashes; } > new
  cp new "$stored"
  echo "$(wc -l < hashes) hashes written to ${stored#"$root"/}"
elif grep -v '^#' "$stored" | diff -u --label stored --label "$binary" - hashes; then
  echo "$(wc -l < hashes) hashes are those of ${stored#"$root"/}"
else
  echo "results differ from ${stored#"$root"/}; if they are meant to: $0 --isa $isa --update" >&2
  exit 1
fi
