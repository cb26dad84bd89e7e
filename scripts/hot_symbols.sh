#!/usr/bin/env bash
# Checks that the hot loops of the release build contain the vector code of their instruction set.
#
# `ff_kernels::dispatch` compiles work once per instruction set: whatever is not inlined there is compiled without the set's
# instructions, and nothing else shows it. Every copy of the work must therefore
#   1. use the set's registers (zmm with AVX-512, ymm with AVX2; work on single values has at least a `v` instruction),
#   2. call no function of ours and no closure.
# Needs `cargo build --release` before it, and objdump (binutils).
set -euo pipefail
cd "$(dirname "$0")/.."

libraries=(target/release/deps/libff_{kernels,ops,nn,train}-*.rlib)
objdump -dr -C --no-show-raw-insn "${libraries[@]}" 2>/dev/null | awk '
  function end() {
    if (!set) return
    copies[set]++
    if (!vector) { printf "%s: %s has no vector instruction; it calls%s\n", library, name, calls ? calls : " nothing"; bad++ }
    else if (ours) { printf "%s: %s calls code that is compiled without its instructions:%s\n", library, name, ours; bad++ }
  }
  /^In archive/ { library = $3; sub(/.*\//, "", library) }
  /^[0-9a-f]+ <.*>:$/ {
    end()
    name = $0; sub(/^[0-9a-f]+ </, "", name); sub(/>:$/, "", name)
    set = name ~ /simd::avx512/ ? "AVX-512" : name ~ /simd::avx2/ ? "AVX2" : ""
    vector = 0; ours = ""; calls = ""
  }
  set && /[xyz]mm[0-9]/ && /\tv[a-z]/ { vector = 1 }
  set && /R_X86_64_(GOTPCREL|PLT32|REX_GOTPCRELX|GOTPCRELX)/ {
    callee = $NF; sub(/-0x[0-9a-f]+$/, "", callee); sub(/.*R_X86_64_[A-Z0-9_]+[ \t]+/, "", callee)
    whole = $0; sub(/.*R_X86_64_[A-Z0-9_]+[ \t]+/, "", whole); sub(/-0x[0-9a-f]+$/, "", whole)
    if (whole !~ /panic|len_mismatch_fail|slice_index|unwrap_failed|expect_failed|fmt::|Display/) {
      calls = calls " " whole
      if (whole ~ /ff_|closure|fold|map_or|try_from_fn/) ours = ours " " whole
    }
  }
  END {
    end()
    for (set in copies) printf "%d copies of work with %s\n", copies[set], set
    if (copies["AVX-512"] < 100 || copies["AVX2"] < 100) { print "too few: is the release build there?"; bad++ }
    exit bad > 0
  }'
