//! Whole networks, built from their configs.
