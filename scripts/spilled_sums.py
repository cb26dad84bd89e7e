"""Names loops of the release build that keep the sums of a product in memory.

    objdump -dr -C --no-show-raw-insn LIBRARY.rlib | python scripts/spilled_sums.py

Reads a disassembly. A loop with fused multiply-adds whose results mostly go to the stack at every step runs at half
of its speed or less, and no result shows it. The compiler does so where sums that live in a larger function are
walked by an iterator, or where a bound is checked between them; a function that takes and gives the sums by value
keeps them in registers.
"""

import re
import sys

# A loop's instructions.
MOST = 400
JUMP = re.compile(r"j\w+\s+([0-9a-f]+)")
STORE = re.compile(r"vmovap[sd]\s+%(zmm\d+),-?(?:0x[0-9a-f]+)?\(%r[sb]p\)")


def spilled(loop: list[str]) -> tuple[int, int]:
    """The multiply-adds of a loop, and how many of their results are stored on the stack behind them."""
    sums = sum("vfmadd" in line and "%zmm" in line for line in loop)
    stored = 0
    for i, line in enumerate(loop):
        if found := STORE.match(line):
            before = loop[max(0, i - 4) : i]
            stored += any("vfmadd" in other and other.endswith("%" + found[1]) for other in before)
    return sums, stored


def loops(lines: list[tuple[int, str]]):
    places = {address: i for i, (address, _) in enumerate(lines)}
    for i, (_, line) in enumerate(lines):
        if found := JUMP.match(line):
            start = places.get(int(found[1], 16), i)
            if i - MOST < start < i:
                yield [line for _, line in lines[start : i + 1]]


def main() -> int:
    functions, bad, lines, name = 0, 0, [], ""
    for line in [*sys.stdin, "0 <end>:\n"]:
        if head := re.match(r"^[0-9a-f]+ <(.*)>:$", line):
            if "simd::avx512" in name:
                functions += 1
                worst = max((spilled(loop) for loop in loops(lines)), key=lambda x: x[1], default=(0, 0))
                if worst[1] >= 4 and 2 * worst[1] > worst[0]:
                    print(f"{name}: of {worst[0]} sums in a loop, {worst[1]} go to memory at every step")
                    bad += 1
            name, lines = head[1], []
        elif found := re.match(r"^\s*([0-9a-f]+):\s+(\S.*)$", line):
            lines.append((int(found[1], 16), found[2].strip()))
    print(f"{functions} functions with AVX-512, {bad} of them with sums in memory")
    return int(bad > 0 or functions == 0)


if __name__ == "__main__":
    sys.exit(main())
