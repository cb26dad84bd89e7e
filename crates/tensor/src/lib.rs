//! Memory and devices: dtypes, shapes, pooled buffers, tensors, threads, random numbers.
