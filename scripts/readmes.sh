#!/usr/bin/env bash
# Compares the commands and figures of README.md and README.zh-CN.md. Exit code 1: they differ.
set -euo pipefail
cd "$(dirname "$0")/.."

commands() { # the content of code blocks, without comments
  awk '/^```/ { inside = !inside; next } inside' "$1" | sed -E 's/[[:space:]]+# .*$//'
}
numbers() { grep -oE '[0-9]+([.,][0-9]+)*' || true; }
tables() { # the numbers of tables, in order
  grep '^|' "$1" | numbers
}
figures() { # all other numbers, once each, without link targets
  awk '/^```/ { inside = !inside; next } !inside && !/^\|/' "$1" | sed -E 's/\]\([^)]*\)/]/g' | numbers | sort -u
}

for part in commands tables figures; do
  diff -u --label "README.md: $part" --label "README.zh-CN.md: $part" <("$part" README.md) <("$part" README.zh-CN.md)
done
