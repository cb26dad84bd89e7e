"""Runs a command and prints its wall time and the most memory it held, as a line of JSON.

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
# Linux counts kibibytes; of several processes the largest one.
peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
print(json.dumps({"work": work, "peer": peer, "s": round(seconds, 2), "peak_mb": round(peak)}), flush=True)
