//! Build, train and fine-tune neural networks, from one feedforward layer up.
