//! Other people's files, read with suspicion.
