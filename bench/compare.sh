#!/usr/bin/env bash
# Runs feedforward and its peers on the same works, in turns, and writes the results of
# this CPU family under bench/results and their list, bench/RESULTS.md. See bench/README.md.
#
#   bench/compare.sh [--rounds N] [--only A,B] [--peers a,b] [--threads N] [--seconds S] [--add]
#                    [--report]
#
#   --rounds   the number of turns of each peer (default 3)
#   --only     works with one of these in their name
#   --peers    some of: ours torch torch-compile jax keras keras-xla sklearn onnx burn candle memory
#              end-to-end scaling, all of these by default; generation (beside llama.cpp) and
#              finetuning (beside PEFT) of a published model
#   --threads  threads of every peer (default: all CPUs)
#   --seconds  seconds of timing per work and turn (default 1)
#   --add      add to the lines of earlier calls, for a comparison in parts
#   --report   only write the results from existing lines, without measurements
#
#   FF_BENCH_ENV   the folder of the Python environment, created if missing and reused.
#                  By default, a temporary one is created and removed.
#   FF_BENCH_LINES the folder of the measured lines (default target/bench)
#   FF_BENCH_MODEL the GGUF file of generation and finetuning (default that of
#                  scripts/fetch-models.sh smollm2)
#   FF_BENCH_SETTLE the maximum nanoseconds for transferring a cache line between cores at the start
#                  of a turn (default 80); every turn waits for it, at most 20 s, since virtual CPUs
#                  migrate and slow down small works
set -euo pipefail
command="bench/compare.sh${*:+ $*}"
root="$(cd "$(dirname "$0")/.." && pwd)"
cd "$root"

rounds=3 only="" threads="$(nproc)" seconds=1 add=false report=false
peers="ours torch torch-compile jax keras keras-xla sklearn onnx burn candle memory end-to-end scaling"
while [ $# -gt 0 ]; do
  case "$1" in
    --rounds) rounds="$2"; shift 2 ;;
    --only) only="$2"; shift 2 ;;
    --peers) peers="${2//,/ }"; shift 2 ;;
    --threads) threads="$2"; shift 2 ;;
    --seconds) seconds="$2"; shift 2 ;;
    --add) add=true; shift ;;
    --report) report=true; shift ;;
    *) sed -n '2,/^[^#]/{/^#/p}' "$0"; exit 2 ;;
  esac
done
family="$(lscpu | awk -F': +' '/^Vendor ID/{v=$2} /^CPU family/{f=$2} /^Model:/{m=$2} END{print v "-" f "-" m}')"
lines="${FF_BENCH_LINES:-$root/target/bench}"
python3="${FF_BENCH_PYTHON:-python3}"

if ! $report; then
  $add || rm -rf "$lines"
  mkdir -p "$lines"

  # numpy and scikit-learn are slow if these name another CPU.
  unset OPENBLAS_CORETYPE OPENBLAS_L2_SIZE
  export OMP_NUM_THREADS="$threads" OPENBLAS_NUM_THREADS="$threads" MKL_NUM_THREADS="$threads" RAYON_NUM_THREADS="$threads"
  # The same CPUs for all peers, whatever extra threads a peer starts.
  pin=(taskset -c "0-$((threads - 1))")

  if [[ " $peers " =~ " "(torch|torch-compile|jax|keras|keras-xla|sklearn|onnx|memory|end-to-end|generation|finetuning)" " ]]; then
    environment="${FF_BENCH_ENV:-}"
    if [ -z "$environment" ]; then
      environment="$(mktemp -d)"
      trap 'rm -rf "$environment"' EXIT
    fi
    if [ ! -x "$environment/bin/python" ]; then
      "$python3" -m venv "$environment"
      "$environment/bin/pip" install --quiet -r bench/peers/requirements.txt
    fi
    py="$environment/bin/python"
    if [[ " $peers " =~ " "(generation|finetuning)" " ]]; then
      # llama.cpp is compiled for this CPU, once an environment.
      "$environment/bin/pip" install --quiet -r bench/peers/requirements-models.txt
    fi
  fi
  cargo build --locked --release -p ff-bench
  bench="${CARGO_TARGET_DIR:-target}/release/ff-bench"
  if [[ " $peers " =~ " "(burn|candle)" " ]]; then
    RUSTFLAGS="-C target-cpu=native" cargo build --release --manifest-path bench/peers/rust/Cargo.toml \
      --target-dir target/bench-peers
  fi

  peer() { "${pin[@]}" "$py" "bench/peers/$1_peer.py" --threads "$threads" --seconds "$seconds" --only "$only" "${@:2}"; }
  rust_peer() { "${pin[@]}" target/bench-peers/release/ff-bench-peers "$1" --seconds "$seconds" --only "$only"; }
  ours() { "${pin[@]}" "$bench" --json --threads "$threads" "$@"; }
  take_turn() {
    case "$1" in
      ours) ours --seconds "$seconds" --only "${only:-gemm-nt/512x512x512,gemm-nt/1024,gemm-nt/2048,gemm-bf16-nt/512x512x512,gemm-bf16-nt/1024,gemm-bf16-nt/2048,train/,infer1/,infer32/,empty,ffn-,attention,head-,experts-,lm-,fit/}" ;;
      torch) peer torch --variant eager ;;
      torch-compile) peer torch --variant compile ;;
      keras) peer keras --variant fit ;;
      keras-xla) peer keras --variant fit-xla ;;
      jax | sklearn | onnx) peer "$1" ;;
      burn | candle) rust_peer "$1" ;;
    esac
  }
  settle() { "${pin[@]}" "$bench" core-to-core --within "${FF_BENCH_SETTLE:-80}" --patience 20 >>"$lines/settled.jsonl"; }
  for round in $(seq "$rounds"); do
    for name in $peers; do
      case "$name" in memory | end-to-end | scaling | generation | finetuning) continue ;; esac
      echo "round $round of $rounds: $name" >&2
      # A failing peer is omitted from the table, and its output is kept beside its lines.
      settle
      take_turn "$name" >"$lines/$name@$(date +%s%N).jsonl" 2>"$lines/$name.log" || tail -n 3 "$lines/$name.log" >&2
    done
  done

  for name in $peers; do
    stamp="$(date +%s%N)"
    case "$name" in
      memory)
        for work in train/mnist {ffn-f32,ffn-bf16}/{gpt2,llama} {lm-f32,lm-bf16}/gpt2-{4x128,6x384,124m}; do
          [[ "$work" =~ ${only//,/|} ]] || continue
          echo "memory: $work" >&2
          ours --seconds 0.1 --only "$work" >>"$lines/memory-ours@$stamp.jsonl" || true
          peer torch --memory --only "$work" >>"$lines/memory-torch@$stamp.jsonl" || true
        done ;;
      end-to-end)
        if [ -x bench/end_to_end/run.sh ]; then
          echo "end to end" >&2
          PYTHON="$py" bench/end_to_end/run.sh >"$lines/end-to-end@$stamp.jsonl"
        fi ;;
      generation | finetuning)
        echo "$name" >&2
        cargo build --locked --release -p ff-cli
        model="${FF_BENCH_MODEL:-models/SmolLM2-135M-Instruct.Q4_1.gguf}"
        if [ "$name" = finetuning ]; then
          folder="$lines/model"
          [ -d "$folder" ] || target/release/feedforward export "$model" --to huggingface --out "$folder" --quiet
          model="$folder"
        fi
        "${pin[@]}" "$py" "bench/$name.py" target/release/feedforward "$model" --threads "$threads" --rounds "$rounds" \
          >"$lines/$name.txt" 2>"$lines/$name.log" || { rm "$lines/$name.txt"; tail -n 3 "$lines/$name.log" >&2; }
        # A file of its own, which other comparisons on this CPU family keep.
        [ ! -f "$lines/$name.txt" ] || cp "$lines/$name.txt" "bench/results/$family-$name.txt" ;;
      scaling)
        echo "scaling" >&2
        page="bench/results/$family-scaling.md"
        {
          echo "# How the cost grows on $family"
          echo
          echo "Written by \`$command\` on $(date +%F), commit $(git rev-parse --short HEAD), $(lscpu | sed -n 's/^Model name: *//p'); [README.md](../README.md#how-cost-grows) says what is measured."
          echo
          echo "![plots]($family-scaling.svg)"
          echo
          "${pin[@]}" "$bench" scaling --threads "$threads" --seconds "$seconds" --only "$only" --out "bench/results/$family-scaling.svg" | sed '/^The picture is in/d'
        } >"$page.new" && mv "$page.new" "$page" ;;
    esac
  done
  if [ -n "${py:-}" ]; then
    for name in torch jax keras sklearn onnx; do
      "$py" "bench/peers/${name}_peer.py" --versions 2>/dev/null || true
    done >"$lines/versions.jsonl"
  fi
  echo "{\"command\": \"$command\", \"threads\": $threads, \"rounds\": $rounds}" >>"$lines/commands.jsonl"
fi
# Without a turn of another peer, the page stays as it is.
if compgen -G "$lines/*@*.jsonl" >/dev/null; then
  "$python3" bench/peers/results.py "$lines"
  echo "bench/RESULTS.md and bench/results are written" >&2
fi
