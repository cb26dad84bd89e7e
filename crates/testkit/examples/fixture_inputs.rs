//! Writes the inputs of all cases for the fixture scripts:
//! `cargo run -p ff-testkit --example fixture_inputs FILE`.

use std::error::Error;

fn main() -> Result<(), Box<dyn Error>> {
    let file = std::env::args().nth(1).ok_or("give the name of the file to write")?;
    let cases: Vec<_> = ff_ops::registry().iter().flat_map(|entry| (entry.cases)()).collect();
    Ok(std::fs::write(file, ff_testkit::fixture_inputs(&cases)?)?)
}
