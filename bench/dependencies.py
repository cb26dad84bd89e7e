"""The cost of each dependency of the program in a cold release build, as a table: called by `bench/cold_build.sh --crates`.

For each dependency of one of our crates: the CPU seconds of rustc for the crates that only it needs, the number of these crates, and the
seconds of all crates that it needs.
"""

import collections
import json
import subprocess
import sys

seconds = collections.Counter()
with open(sys.argv[1]) as lines:
    for line in lines:
        name, version, user, system = line.split()
        seconds[name, version] += float(user) + float(system)
total = float(sys.argv[2])

host = next(line.split()[1] for line in subprocess.run(
    ["rustc", "-vV"], capture_output=True, text=True, check=True).stdout.splitlines() if line.startswith("host"))
metadata = json.loads(subprocess.run(
    ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", host], capture_output=True, text=True, check=True).stdout)
key = {p["id"]: (p["name"], p["version"]) for p in metadata["packages"]}
ours = set(metadata["workspace_members"])
edges = {
    node["id"]: [d["pkg"] for d in node["deps"] if any(kind["kind"] != "dev" for kind in d["dep_kinds"])]
    for node in metadata["resolve"]["nodes"]
}
root = next(id for id in ours if key[id][0] == "ff-cli")


def reachable(starts, without=None):
    """The built crates needed by the starts, without going through `without`."""
    seen, stack = set(), [s for s in starts if s != without]
    while stack:
        id = stack.pop()
        if id not in seen:
            seen.add(id)
            stack.extend(d for d in edges[id] if d != without)
    return {id for id in seen if key[id] in seconds}


def cost(ids):
    return sum(seconds[key[id]] for id in ids)


everything = reachable([root])
direct = {d for id in everything & ours for d in edges[id]} - ours
rows = []
for id in direct & everything:
    alone = everything - reachable([root], without=id)
    rows.append((cost(alone), len(alone), cost(reachable([id])), key[id][0]))
print("| dependency | CPU of crates only it needs | crates | CPU of all crates it needs |")
print("|---|---|---|---|")
for own, count, whole, name in sorted(rows, reverse=True):
    print(f"| {name} | {own:.1f} s | {count} | {whole:.1f} s |")
print(f"| our own crates | {cost(everything & ours):.1f} s | {len(everything & ours)} | |")
for id in sorted(everything & ours, key=lambda id: -seconds[key[id]]):
    print(f"|   {key[id][0]} | {seconds[key[id]]:.1f} s | | |")
print(f"| build scripts (C of zstd), cargo, the run | {total - sum(seconds.values()):.1f} s | | |")
print(f"| all | {total:.1f} s | {len(everything)} | |")
