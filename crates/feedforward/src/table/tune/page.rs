//! `report.html` of a search.

use super::trial::Trial;
use super::{BEST, Influence, RECIPE, Search};
use crate::environment::environment;
use crate::error::Result;
use crate::run::folder::RunFolder;
use crate::run::task::TaskRecipe;
use crate::words;
use ff_report::{
    Command, Curves, Fact, Panel, ReportData, Series, Status, StatusKind, TunedSetting, TunedTrial,
    Tuning, render,
};
use ff_settings::shell_word;
use std::io::Write;

/// Trials with a curve.
const CURVES: usize = 8;

/// Writes the page; `order` is that of the trials, the best first.
pub(super) fn write(
    search: &Search,
    folder: &RunFolder,
    order: &[usize],
    influence: &[Influence],
    finished: bool,
) -> Result<()> {
    let shown = shell_word(&folder.path().display().to_string());
    let (kind, message) = if finished {
        (StatusKind::Finished, format!("the best settings are trained in {BEST}/"))
    } else {
        (StatusKind::Running, String::new())
    };
    let command = |purpose: &str, line: String| Command { purpose: purpose.into(), line };
    let here = environment();
    let data = ReportData {
        title: format!("{} · search for settings", search.recipe.run_name()),
        subtitle: format!(
            "{} over {}",
            words::plural(search.trials.len(), "trial"),
            words::plural(search.vary.len(), "setting")
        ),
        created: words::now(),
        status: Some(Status { kind, message }),
        tuning: Some(tuning(search, order, influence)),
        curves: Some(curves(search, order)),
        commands: vec![
            command("resume it, if it was stopped", format!("feedforward tune --resume {shown}")),
            command("search again", format!("feedforward tune {shown}/{RECIPE}")),
            command(
                "predict with the best settings",
                format!("feedforward predict {shown}/{BEST} --data new.csv"),
            ),
        ],
        environment: vec![
            Fact::new("version", format!("{} ({} build)", here.version, here.build)),
            Fact::new("kernels", format!("CPU, {}", search.device.cpu().isa())),
            Fact::new("seed", search.recipe.train.seed.to_string()),
            Fact::new("data", format!("XXH3-128 {}", search.prepared.hash)),
        ],
        ..ReportData::default()
    };
    let page = render(&data);
    Ok(ff_formats::write_atomic(&folder.report(), |file| file.write_all(page.as_bytes()))?)
}

fn tuning(search: &Search, order: &[usize], influence: &[Influence]) -> Tuning {
    let epochs = search.rungs.first().map_or(0, |rung| rung.epochs);
    let varied = || search.trials.iter().filter(|trial| !trial.settings.is_empty());
    let setting = |influence: &Influence| {
        let vary = search.vary.iter().find(|vary| vary.key == influence.key)?;
        Some(TunedSetting {
            key: vary.key.clone(),
            share: influence.share,
            range: vary.is_range(),
            log: vary.is_log(),
            values: varied().filter_map(|trial| trial.settings.get(&vary.key).cloned()).collect(),
            results: varied().map(|trial| trial.value_after(epochs)).collect(),
        })
    };
    let trial = |&i: &usize| {
        let trial = &search.trials[i];
        TunedTrial {
            number: trial.trial as u64,
            settings: trial.words(),
            epochs: trial.epochs as u64,
            value: trial.value.unwrap_or(f64::NAN),
        }
    };
    Tuning {
        monitor: search.monitor().into(),
        epochs: epochs as u64,
        settings: influence.iter().filter_map(setting).collect(),
        trials: order.iter().map(trial).collect(),
    }
}

fn curves(search: &Search, order: &[usize]) -> Curves {
    let title = format!("The {} of the best trials", search.monitor());
    let series = |trial: &Trial| {
        let epochs = (1..=trial.history.len()).map(|epoch| epoch as f64).collect();
        Series::new(format!("trial {}", trial.trial), epochs, trial.history.clone())
    };
    let trials = order.iter().take(CURVES).map(|&i| series(&search.trials[i]));
    let panel = trials.fold(Panel::new(title, "epoch", ""), Panel::with);
    Curves { panels: vec![panel], ..Curves::default() }
}
