//! Writes four sample reports with made-up figures: two classifiers, a regression, a running run.
//!
//! `cargo run -p ff-report --example report_demo -- FOLDER`

mod binary;
mod digits;
mod live;
mod noise;
mod regression;

use std::{error::Error, fs, path::PathBuf};

use ff_report::{ReportData, render};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "report-demo".into()));
    fs::create_dir_all(&folder)?;
    let reports: [(&str, ReportData); 4] = [
        ("titanic", binary::report()),
        ("digits", digits::report()),
        ("diabetes", regression::report()),
        ("live", live::report()),
    ];
    for (name, data) in &reports {
        fs::write(folder.join(format!("{name}.html")), render(data))?;
    }
    Ok(())
}
