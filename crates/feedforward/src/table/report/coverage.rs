//! How often intervals or sets hold the truth of the test part.

use crate::table::model::TableModel;
use crate::table::scores::PartReports;
use ff_report::{Coverage, CoverageLevel};
use ff_table::Prepared;

pub(super) fn gather(
    model: &TableModel,
    reports: &PartReports,
    prepared: &Prepared,
) -> Option<Coverage> {
    let conformal = model.conformal().filter(|_| !reports.coverage.is_empty())?;
    let from = match &reports.out_of_fold {
        Some(_) => {
            "rows outside the test part, each predicted by the network that did not learn it"
        }
        None => "rows of the validation part",
    };
    let level = |c: &ff_metrics::Coverage| CoverageLevel {
        level: c.level,
        coverage: c.coverage,
        low: c.interval.map(|i| i.low),
        high: c.interval.map(|i| i.high),
        size: c.size,
    };
    Some(Coverage {
        split: "test".into(),
        scores: conformal.scores.len() as u64,
        from: from.into(),
        sets: !prepared.target.classes.is_empty(),
        levels: reports.coverage.iter().map(level).collect(),
    })
}
