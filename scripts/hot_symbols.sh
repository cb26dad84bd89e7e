#!/usr/bin/env bash
# Checks that the hot loops of the release build are compiled with their instruction set.
#
# `ff_kernels::dispatch` compiles work once per instruction set. A function or closure that is not
# inlined there keeps one copy without the set's instructions, several times slower, and no result
# shows it. So no copy may call one of ours, except `Activation::in_place` and `scale_in_place`, which
# dispatch by themselves. With Python, loops that keep their sums in memory are named too. Needs
# `cargo build --release` before it, and objdump (binutils).
set -euo pipefail
cd "$(dirname "$0")/.."

disassembly() {
  objdump -dr -C --no-show-raw-insn target/release/deps/libff_{kernels,ops,nn,train,interop}-*.rlib 2>/dev/null
}

disassembly | awk '
  /^In archive/ { library = $3; sub(/.*\//, "", library) }
  /^[0-9a-f]+ <.*>:$/ {
    set = /simd::avx512/ ? "AVX-512" : /simd::avx2/ ? "AVX2" : ""
    if (set) copies[set]++
  }
  set && /R_X86_64_[A-Z0-9_]*(GOTPC|PLT)/ {
    callee = $0; sub(/.*R_X86_64_[A-Z0-9_]+[ \t]+/, "", callee); sub(/-0x[0-9a-f]+$/, "", callee)
    if (callee ~ /ff_(kernels|ops|interop)|closure|fold|map_or/ && callee !~ /in_place($|17h)/ && !seen[set callee]++) {
      printf "%s: with %s, work calls %s, which is compiled without\n", library, set, callee
      bad++
    }
  }
  END {
    printf "%d copies of work with AVX-512, %d with AVX2\n", copies["AVX-512"], copies["AVX2"]
    if (copies["AVX-512"] < 100 || copies["AVX2"] < 100) { print "too few: is there a release build?"; bad++ }
    exit bad > 0
  }'
if command -v python3 >/dev/null 2>&1; then
  disassembly | python3 scripts/spilled_sums.py
fi
