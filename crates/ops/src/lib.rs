//! The mathematics: the tape and one folder per operation, forward beside backward.
