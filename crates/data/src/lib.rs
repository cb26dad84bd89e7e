//! From files to batches: sources, schema, cleaning, splits, transforms.
