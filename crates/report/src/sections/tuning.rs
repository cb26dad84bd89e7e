//! A search for settings: what mattered, each setting against the result, the trials.

use super::Section;
use crate::{
    data::{ReportData, TunedSetting, Tuning},
    html::{Align, Clip, Esc, Table, figure, put},
    number,
    svg::{
        NARROW,
        bars::{self, Bar},
        responsive,
        scatter::{Reference, Scatter},
    },
};
use std::collections::BTreeMap;

const TRIALS: usize = 40;
const SETTINGS: usize = 12;
const HEIGHT: f64 = 240.0;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let tuning = data.tuning.as_ref()?;
    let mut body = trials(tuning);
    let shown = &tuning.settings[..tuning.settings.len().min(SETTINGS)];
    if shown.iter().any(|setting| setting.share > 0.0) {
        let shares: Vec<Bar> =
            shown.iter().map(|s| Bar { name: &s.key, value: s.share, spread: 0.0 }).collect();
        let svg = responsive(|width| {
            bars::bars(
                "Share of the differences that each setting explains",
                "share",
                &shares,
                width,
            )
        });
        let note = format!(
            "The share of the variance of the trials' ranks, after {} epochs, that the values of a \
             setting explain (ε²); chance is subtracted.",
            number::count(tuning.epochs)
        );
        body.push_str(&figure("large", "What mattered", &svg, &note));
    }
    if !shown.is_empty() {
        body.push_str("<div class=\"grid two\">");
        for setting in shown {
            let (svg, note) = chart(setting, &tuning.monitor);
            body.push_str(&figure("", &setting.key, &svg, &note));
        }
        body.push_str("</div>\n");
    }
    body.push_str(&crate::html::left_out(shown.len(), tuning.settings.len(), "settings"));
    let lead = format!(
        "{} trials, compared by the <b>{}</b>.",
        number::count(tuning.trials.len() as u64),
        Clip(&tuning.monitor, 60)
    );
    Some(Section { id: "tuning", title: "Search", lead, body })
}

fn trials(tuning: &Tuning) -> String {
    let heads = [
        ("trial", Align::Number),
        (tuning.monitor.as_str(), Align::Number),
        ("epochs", Align::Number),
        ("settings", Align::Text),
    ];
    let mut table = Table::new("Trials, the best first", &heads);
    for trial in tuning.trials.iter().take(TRIALS) {
        let value =
            if trial.value.is_nan() { "diverged".into() } else { number::score(trial.value) };
        let mut settings = String::new();
        put!(&mut settings, "{}", Clip(&trial.settings, 400));
        let cells = [trial.number.to_string(), value, number::count(trial.epochs), settings];
        table.row("", &cells);
    }
    table.end(tuning.trials.len().min(TRIALS), tuning.trials.len(), "trials")
}

/// A setting's values against the results, with a note.
fn chart(setting: &TunedSetting, monitor: &str) -> (String, String) {
    let pairs = || setting.values.iter().zip(&setting.results).filter(|(_, y)| y.is_finite());
    let mut sorted: Vec<f64> = pairs().map(|(_, y)| *y).collect();
    sorted.sort_by(f64::total_cmp);
    let quartile = |share: f64| sorted.get((share * sorted.len() as f64) as usize).copied();
    // A few bad trials would squeeze all others into a line.
    let (low, high) = match (quartile(0.25), quartile(0.75)) {
        (Some(low), Some(high)) => (low - 3.0 * (high - low), high + 3.0 * (high - low)),
        _ => (f64::NEG_INFINITY, f64::INFINITY),
    };
    let near: Vec<(&String, f64)> =
        pairs().map(|(x, y)| (x, *y)).filter(|(_, y)| (low..=high).contains(y)).collect();
    let far = setting.results.len() - near.len();
    let note = match far {
        0 => String::new(),
        1 => "One trial far from the others is left out.".into(),
        n => format!("{n} trials far from the others are left out."),
    };
    let svg = if setting.range { points(setting, &near, monitor) } else { means(&near, monitor) };
    (svg, note)
}

fn points(setting: &TunedSetting, near: &[(&String, f64)], monitor: &str) -> String {
    let x: Vec<f64> = near.iter().map(|(x, _)| x.parse().unwrap_or(f64::NAN)).collect();
    let y: Vec<f64> = near.iter().map(|(_, y)| *y).collect();
    let label = format!("{} against the {monitor}", setting.key);
    Scatter {
        label: &label,
        x_label: &setting.key,
        y_label: monitor,
        x: &x,
        y: &y,
        colour: 1,
        reference: Reference::None { log_x: setting.log },
    }
    .draw(NARROW, HEIGHT)
}

/// The mean result of each choice, with its standard deviation.
fn means(near: &[(&String, f64)], monitor: &str) -> String {
    let mut groups: BTreeMap<&str, Vec<f64>> = BTreeMap::new();
    for (choice, result) in near {
        groups.entry(choice).or_default().push(*result);
    }
    let mut table = Table::new(
        &format!("The mean {monitor} of each choice"),
        &[("value", Align::Text), (monitor, Align::Number), ("trials", Align::Number)],
    );
    for (choice, results) in &groups {
        let n = results.len() as f64;
        let mean = results.iter().sum::<f64>() / n;
        let deviation = (results.iter().map(|y| (y - mean).powi(2)).sum::<f64>() / n).sqrt();
        let value = format!("{} ± {}", number::score(mean), number::significant(deviation, 2));
        table.row("", &[Esc(choice).to_string(), value, results.len().to_string()]);
    }
    table.end(groups.len(), groups.len(), "values")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::TunedTrial;

    fn setting(key: &str, range: bool, values: &[&str], results: &[f64]) -> TunedSetting {
        TunedSetting {
            key: key.into(),
            share: 0.4,
            range,
            log: range,
            values: values.iter().map(|v| (*v).to_owned()).collect(),
            results: results.to_vec(),
        }
    }

    #[test]
    fn ranges_are_points_choices_are_means_and_the_worst_are_left_out() {
        let values = ["0.001", "0.002", "0.004", "0.01", "0.02"];
        let results = [0.5, 0.4, 0.45, 0.42, 900.0];
        let tuning = Tuning {
            monitor: "valid loss".into(),
            epochs: 8,
            settings: vec![
                setting("optimizer.lr", true, &values, &results),
                setting("model.<b>", false, &["a", "b", "a", "b", "b"], &results),
            ],
            trials: vec![
                TunedTrial {
                    number: 3,
                    settings: "optimizer.lr=0.002".into(),
                    epochs: 200,
                    value: 0.3,
                },
                TunedTrial { number: 5, value: f64::NAN, ..TunedTrial::default() },
            ],
        };
        let data = ReportData { tuning: Some(tuning), ..ReportData::default() };
        let body = section(&data).unwrap().body;
        assert_eq!(body.matches("<circle").count(), 4);
        assert_eq!(body.matches("One trial far from the others").count(), 2);
        assert!(body.contains("0.475 ± 0.025") && body.contains("diverged"), "{body}");
        assert!(body.contains("model.&lt;b&gt;") && !body.contains("model.<b>"));
        assert!(section(&ReportData::default()).is_none());
    }
}
