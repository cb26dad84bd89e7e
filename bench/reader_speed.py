"""Times reading tables into memory, beside polars, DuckDB, pandas and pyarrow.

    python bench/reader_speed.py target/release/ff-bench FILE…

Files are CSV or Parquet; end_to_end/make_csv.py writes one of a million rows. For each number of
threads (1, and all) and each round, every reader takes its turn in a process of its own, pinned to
as many CPUs, which reads the file three times; the median of those, then of the rounds, is
printed, and the peak of resident memory above that after the imports. Types are inferred by all.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile

READERS = {
    "polars": """
import polars
def read(path):
    return (polars.read_parquet if path.endswith(".parquet") else polars.read_csv)(path)
""",
    "DuckDB": """
import duckdb
def read(path):
    return duckdb.sql(f"select * from '{path}'").arrow().read_all()
""",
    "pyarrow": """
import pyarrow.csv, pyarrow.parquet
def read(path):
    return pyarrow.parquet.read_table(path) if path.endswith(".parquet") else pyarrow.csv.read_csv(path)
""",
    "pandas": """
import pandas
def read(path):
    return (pandas.read_parquet if path.endswith(".parquet") else pandas.read_csv)(path)
""",
}
TIMED = """
import json, sys, time
def status(key):
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith(key))
with open("/proc/self/clear_refs", "w") as file:
    file.write("5")
before, seconds = status("VmRSS:"), []
for _ in range(3):
    start = time.perf_counter()
    table = read(sys.argv[1])
    seconds.append(time.perf_counter() - start)
    shape = tuple(table.shape)
    del table
print(json.dumps({"seconds": sorted(seconds)[1], "peak_bytes": status("VmHWM:") - before,
                  "rows": shape[0], "columns": shape[1]}))
"""


def turn(command, threads):
    """One process, pinned; what it prints."""
    environment = dict(os.environ, POLARS_MAX_THREADS=str(threads), OMP_NUM_THREADS=str(threads))
    pinned = ["taskset", "-c", f"0-{threads - 1}", *command]
    done = subprocess.run(pinned, env=environment, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{command}: {done.stderr.strip()[-2000:]}")
    return json.loads(done.stdout)


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("ff_bench")
    arguments.add_argument("files", nargs="+")
    arguments.add_argument("--rounds", type=int, default=3)
    given = arguments.parse_args()
    cores = len(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        scripts = {}
        for name, code in READERS.items():
            scripts[name] = os.path.join(folder, f"{name.lower()}_reader.py")
            with open(scripts[name], "w") as file:
                file.write(code + TIMED)
        for path in given.files:
            for threads in sorted({1, cores}):
                commands = {"feedforward": [given.ff_bench, "read", path, "--threads", str(threads)]}
                commands |= {name: [sys.executable, script, path] for name, script in scripts.items()}
                turns = {name: [] for name in commands}
                for _ in range(given.rounds):
                    for name, command in commands.items():
                        turns[name].append(turn(command, threads))
                shapes = {name: (t[0]["rows"], t[0]["columns"]) for name, t in turns.items()}
                megabytes = os.path.getsize(path) / 1e6
                print(f"{os.path.basename(path)}, {megabytes:.1f} MB, threads: {threads}")
                medians = {n: statistics.median(t["seconds"] for t in ts) for n, ts in turns.items()}
                for name, seconds in medians.items():
                    peak = statistics.median(t["peak_bytes"] for t in turns[name]) / 2**20
                    rows, columns = shapes[name]
                    beside = f"  {seconds / medians['feedforward']:5.2f} times ours"
                    print(
                        f"  {name:<12} {seconds:8.3f} s {megabytes / seconds:7.0f} MB/s, {peak:6.0f} MiB, "
                        f"{rows} × {columns}{beside if name != 'feedforward' else ''}"
                    )


if __name__ == "__main__":
    main()
