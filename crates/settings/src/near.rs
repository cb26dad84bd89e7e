//! "Did you mean …?"

/// The minimum similarity of a single suggestion.
const NEAREST: f64 = 0.75;

/// The minimum similarity of one of several suggestions.
const SIMILAR: f64 = 0.6;

/// The name most similar to `name`, if close.
///
/// ```
/// assert_eq!(ff_settings::nearest("epohcs", &["steps", "epochs"]), Some("epochs"));
/// assert_eq!(ff_settings::nearest("colour", &["steps", "epochs"]), None);
/// ```
pub fn nearest<'a>(name: &str, names: &[&'a str]) -> Option<&'a str> {
    ranked(name, names.iter().copied(), NEAREST).first().copied()
}

/// Up to three names similar to `name`, the most similar first.
///
/// ```
/// let columns = ["SalePrice", "LotArea", "PoolArea"];
/// assert_eq!(ff_settings::similar("price", columns), ["SalePrice"]);
/// ```
pub fn similar<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Vec<String> {
    ranked(name, names, SIMILAR).into_iter().take(3).map(str::to_owned).collect()
}

/// The end of a message that suggests the name nearest to `name`; empty if none is close.
///
/// ```
/// assert_eq!(ff_settings::did_you_mean("lama", &["gpt2", "llama"]), "; did you mean \"llama\"?");
/// ```
pub fn did_you_mean(name: &str, names: &[&str]) -> String {
    nearest(name, names).map_or(String::new(), |near| format!("; did you mean \"{near}\"?"))
}

fn ranked<'a>(name: &str, names: impl IntoIterator<Item = &'a str>, least: f64) -> Vec<&'a str> {
    let plain = |name: &str| name.to_lowercase().replace('-', "_");
    let wanted = plain(name);
    let scored = names.into_iter().map(|name| (similarity(&wanted, &plain(name)), name));
    let mut scored: Vec<_> = scored.filter(|(score, _)| *score >= least).collect();
    scored.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
    scored.into_iter().map(|(_, name)| name).collect()
}

fn similarity(wanted: &str, candidate: &str) -> f64 {
    let contained = !wanted.is_empty()
        && !candidate.is_empty()
        && (candidate.contains(wanted) || wanted.contains(candidate));
    // Jaro-Winkler rewards a common beginning, which is rarely mistyped: `weight-decays`,
    // `lr_rate`.
    strsim::normalized_damerau_levenshtein(wanted, candidate)
        .max(strsim::jaro_winkler(wanted, candidate) - 0.1)
        .max(if contained { 0.65 } else { 0.0 })
}
