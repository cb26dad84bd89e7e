"""Before SciPy and PyTorch are imported: checks with arrays of other namespaces, on the CPU."""

import os

os.environ["SCIPY_ARRAY_API"] = "1"
os.environ["CUDA_VISIBLE_DEVICES"] = ""
