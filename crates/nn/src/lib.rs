//! Meaning: initialisers, layers, losses and models over the operations.
