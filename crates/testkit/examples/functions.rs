//! Writes activations and losses as a module for Python:
//! `cargo run -p ff-testkit --example functions > examples/pytorch/functions.py`.
#![allow(clippy::print_stdout)]

fn main() {
    print!("{}", ff_testkit::python_functions());
}
