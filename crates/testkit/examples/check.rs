//! Prints the table of all checks: `cargo run -p ff-testkit --example check [NAME]`.
#![allow(clippy::print_stdout)]

use ff_testkit::{Machine, check_case};

fn main() -> ff_graph::Result<()> {
    let only = std::env::args().nth(1).unwrap_or_default();
    let machine = Machine::new()?;
    println!(
        "{:<44} {:>9} {:>9} {:>5} {:>4} {:>8}",
        "case", "gradient", "paths", "bits", "NaN", "ms"
    );
    for case in ff_ops::registry().iter().flat_map(|entry| (entry.cases)()) {
        if !case.name.contains(&only) {
            continue;
        }
        let row = check_case(&case, &machine);
        let yes = |b: bool| if b { "ok" } else { "FAIL" };
        println!(
            "{:<44} {:>9.1e} {:>9.1e} {:>5} {:>4} {:>8.1}",
            row.case,
            row.gradient,
            row.paths,
            yes(row.same_bits),
            yes(row.nan),
            row.millis()
        );
        for failure in &row.failures {
            println!("  {failure}");
        }
    }
    Ok(())
}
