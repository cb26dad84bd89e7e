//! A search for settings.

use serde::{Deserialize, Serialize};

use super::exact;

/// The trials of a search and what mattered in them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Tuning {
    /// What trials are compared by, such as `valid loss`.
    pub monitor: String,
    /// The epochs after which the settings are compared.
    pub epochs: u64,
    /// The settings that vary.
    pub settings: Vec<TunedSetting>,
    /// The trials, the best first.
    pub trials: Vec<TunedTrial>,
}

/// One setting that varies.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunedSetting {
    /// Its key.
    pub key: String,
    /// The share of the differences between trials that it explains.
    #[serde(with = "exact")]
    pub share: f64,
    /// Whether it is a range of numbers rather than a choice.
    pub range: bool,
    /// Whether its numbers are spread over orders of magnitude.
    pub log: bool,
    /// Its value in each trial that varies it.
    pub values: Vec<String>,
    /// The monitored value of each of these trials, all after the same epochs.
    #[serde(with = "exact")]
    pub results: Vec<f64>,
}

/// One trial.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TunedTrial {
    /// Its number, from 1.
    pub number: u64,
    /// Its settings in one line.
    pub settings: String,
    /// Epochs trained.
    pub epochs: u64,
    /// The best monitored value.
    #[serde(with = "exact")]
    pub value: f64,
}
