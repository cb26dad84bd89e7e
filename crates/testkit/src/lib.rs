//! Gradient check, parity fixtures and operation cases.
