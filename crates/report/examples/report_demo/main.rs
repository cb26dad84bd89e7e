//! Writes four reports with made-up figures, to look at: two classifiers, a regression, a run that goes on.
//!
//! `cargo run -p ff-report --example report_demo -- FOLDER`

mod binary;
mod digits;
mod live;
mod noise;
mod regression;

use std::{error::Error, fs, path::PathBuf};

use ff_report::{Figure, ReportData, figure, render};

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
    let figures = [
        ("loss", &reports[0].1, Figure::Curve(0)),
        ("confusion", &reports[1].1, Figure::Confusion),
        ("roc", &reports[0].1, Figure::Roc),
        ("importance", &reports[0].1, Figure::Importance),
        ("predicted", &reports[2].1, Figure::Predicted),
    ];
    for (name, data, which) in figures {
        if let Some(svg) = figure(data, which) {
            fs::write(folder.join(format!("{name}.svg")), svg)?;
        }
    }
    Ok(())
}
