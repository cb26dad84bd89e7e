"""Runs a command and prints its wall time, CPU time and peak memory as a line of JSON.

    python measure.py WORK PEER LOG COMMAND ...
"""

import json
import resource
import subprocess
import sys
import time

work, peer, log, *command = sys.argv[1:]
with open(log, "w") as output:
    start = time.perf_counter()
    code = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT).returncode
    seconds = time.perf_counter() - start
if code != 0:
    sys.exit(f"{peer} ended with {code}: see {log}")
# Linux counts kibibytes, those of the largest process.
used = resource.getrusage(resource.RUSAGE_CHILDREN)
found = {
    "work": work,
    "peer": peer,
    "s": round(seconds, 2),
    "cpu_s": round(used.ru_utime + used.ru_stime, 2),
    "peak_mb": round(used.ru_maxrss / 1024),
}
print(json.dumps(found), flush=True)
