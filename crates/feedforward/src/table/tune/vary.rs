//! Settings that a search varies: `optimizer.lr=0.001..0.01 log`, `model.hidden=[[64],[128,64]]`.

use crate::error::{Error, Result};
use crate::table::Recipe;
use crate::words::setting;
use ff_tensor::{Key, Rng};
use toml::Value;

/// A key of the recipe and the values to try.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Vary {
    pub(super) key: String,
    values: Values,
}

#[derive(Debug, Clone, PartialEq)]
enum Values {
    /// One of these.
    Choice(Vec<Value>),
    /// A number between two, both included.
    Span { low: f64, high: f64, log: bool, whole: bool },
}

impl Vary {
    /// Reads `KEY=LOW..HIGH`, `KEY=LOW..HIGH log` or `KEY=[A, B, …]`.
    ///
    /// # Errors
    /// Another form, an empty range, or fewer than two values to choose from.
    pub(super) fn parse(text: &str) -> Result<Self> {
        const FORMS: &str = "write `KEY=LOW..HIGH`, `KEY=LOW..HIGH log` or `KEY=[A, B]`, such as optimizer.lr=0.001..0.01 log";
        let fail = |message: String| Error::usage(format!("cannot vary `{text}`: {message}"));
        let (key, values) = text.split_once('=').ok_or_else(|| fail(FORMS.into()))?;
        let (key, values) = (key.trim().to_owned(), values.trim());
        if values.starts_with('[') {
            let table: toml::Table =
                format!("values = {values}").parse().map_err(|_| fail(FORMS.into()))?;
            let choices = match table.get("values") {
                Some(Value::Array(choices)) => choices.clone(),
                _ => Vec::new(),
            };
            if choices.len() < 2 {
                return Err(fail("it has fewer than two values to choose from".into()));
            }
            return Ok(Self { key, values: Values::Choice(choices) });
        }
        let (span, log) = match values.strip_suffix("log") {
            Some(span) => (span.trim(), true),
            None => (values, false),
        };
        let (low, high) = span.split_once("..").ok_or_else(|| fail(FORMS.into()))?;
        let whole = [low, high].iter().all(|end| end.trim().parse::<i64>().is_ok());
        let number = |end: &str| end.trim().parse::<f64>().ok().filter(|end| end.is_finite());
        let (Some(low), Some(high)) = (number(low), number(high)) else {
            return Err(fail(FORMS.into()));
        };
        if low >= high {
            return Err(fail(format!("the range from {low} to {high} is empty")));
        }
        if log && low <= 0.0 {
            return Err(fail(format!("a log range starts above 0, found {low}")));
        }
        Ok(Self { key, values: Values::Span { low, high, log, whole } })
    }

    /// A random value, as TOML.
    pub(super) fn draw(&self, key: Key) -> String {
        let mut rng = Rng::new(key.with_name(&self.key));
        match &self.values {
            Values::Choice(choices) => {
                choices[rng.below(choices.len() as u64) as usize].to_string()
            }
            &Values::Span { low, high, log, whole } => {
                // Each whole number has the same room, the ends too.
                let half = if whole { 0.5 } else { 0.0 };
                let (from, to, share) = (low - half, high + half, rng.uniform());
                let value =
                    if log { from * (to / from).powf(share) } else { from + share * (to - from) };
                if whole { value.round().clamp(low, high).to_string() } else { three_digits(value) }
            }
        }
    }

    /// Every choice, or both ends of a range, as TOML: what a recipe has to accept.
    fn extremes(&self) -> Vec<String> {
        match &self.values {
            Values::Choice(choices) => choices.iter().map(Value::to_string).collect(),
            &Values::Span { low, high, whole, .. } => {
                let text = |end: f64| if whole { end.to_string() } else { format!("{end:?}") };
                vec![text(low), text(high)]
            }
        }
    }

    /// Whether this is a range rather than a choice.
    pub(super) fn is_range(&self) -> bool {
        matches!(self.values, Values::Span { .. })
    }

    /// Whether its numbers are spread over orders of magnitude.
    pub(super) fn is_log(&self) -> bool {
        matches!(self.values, Values::Span { log: true, .. })
    }

    /// Checks that the recipe has this key and accepts its values.
    ///
    /// # Errors
    /// It does not, or the key decides what is compared: the rows or the measure.
    pub(super) fn check(&self, recipe: &Recipe) -> Result<()> {
        const FIXED: [&str; 10] = [
            "name",
            "tune",
            "evaluate",
            "loss",
            "data.path",
            "data.target",
            "data.split",
            "train.monitor",
            "train.seed",
            "train.threads",
        ];
        let inside = |fixed: &&str| {
            self.key == **fixed || self.key.strip_prefix(*fixed).is_some_and(|k| k.starts_with('.'))
        };
        if FIXED.iter().any(inside) {
            return Err(Error::usage(format!(
                "cannot vary `{}`: it decides what the trials are compared by, or no result",
                self.key
            )));
        }
        for value in self.extremes() {
            recipe.with_sets(&[format!("{}={value}", self.key)])?;
        }
        Ok(())
    }
}

/// A number with three significant digits, which is as exact as a search is.
fn three_digits(value: f64) -> String {
    let short: f64 = format!("{value:.2e}").parse().unwrap_or(value);
    format!("{short:?}")
}

/// The ranges that are searched where a recipe declares none: settings known to differ between
/// tables, around the recipe's own.
pub(super) fn defaults(recipe: &Recipe) -> Vec<String> {
    let lr = recipe.optimizer.lr();
    // `{:?}` keeps the point of 3.0, without which a range is one of whole numbers.
    let end = |x: f64| setting(x).parse().unwrap_or(x);
    let mut all = vec![
        format!("optimizer.lr={:?}..{:?} log", end(lr / 4.0), end(lr * 4.0)),
        "model.dropout=0.0..0.3".into(),
        "model.hidden=[[64], [64, 32], [128, 64], [256, 128]]".into(),
        "model.activation=['relu', 'silu']".into(),
        "optimizer.weight_decay=0.01..0.3 log".into(),
    ];
    if recipe.model.numeric != ff_nn::NumericKind::Linear {
        all.push("model.numeric_bins=[8, 16, 32]".into());
    }
    // An optimiser without weight decay, or a network without the setting, leaves its range out.
    all.retain(|text| Vary::parse(text).is_ok_and(|vary| vary.check(recipe).is_ok()));
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(sets: &[&str]) -> Recipe {
        let sets: Vec<String> = sets.iter().map(|set| (*set).to_owned()).collect();
        Recipe::for_table("a.csv", crate::table::Quality::Good, &sets).unwrap()
    }

    fn drawn(text: &str) -> Vec<f64> {
        let vary = Vary::parse(text).unwrap();
        (0..400).map(|i| vary.draw(Key::new(7).with(i)).parse().unwrap()).collect()
    }

    #[test]
    fn draws_stay_in_their_range_and_fill_it() {
        let lr = drawn("optimizer.lr=0.001..0.1 log");
        assert!(lr.iter().all(|x| (0.001..=0.1).contains(x)));
        let below = lr.iter().filter(|x| **x < 0.01).count();
        assert!((160..240).contains(&below), "half of the draws per decade, found {below}");
        let dropout = drawn("model.dropout=0.0..0.3");
        assert!(dropout.iter().all(|x| (0.0..=0.3).contains(x)));
        assert!(dropout.iter().any(|x| *x > 0.28) && dropout.iter().any(|x| *x < 0.02));
        for text in ["model.numeric_bins=2..5", "model.numeric_bins=2..5 log"] {
            let mut bins = drawn(text);
            bins.sort_by(f64::total_cmp);
            bins.dedup();
            assert_eq!(bins, [2.0, 3.0, 4.0, 5.0], "{text}");
        }
    }

    #[test]
    fn choices_are_all_drawn() {
        let vary = Vary::parse("model.hidden=[[64], [128, 64]]").unwrap();
        let drawn: std::collections::BTreeSet<String> =
            (0..50).map(|i| vary.draw(Key::new(0).with(i))).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), ["[128, 64]", "[64]"]);
    }

    #[test]
    fn mistakes_are_told() {
        for (text, message) in [
            ("optimizer.lr", "write `KEY=LOW..HIGH`"),
            ("optimizer.lr=0.1", "write `KEY=LOW..HIGH`"),
            ("optimizer.lr=a..b", "write `KEY=LOW..HIGH`"),
            ("optimizer.lr=0.1..0.1", "the range from 0.1 to 0.1 is empty"),
            ("optimizer.lr=0.2..0.1", "the range from 0.2 to 0.1 is empty"),
            ("optimizer.lr=0..0.1 log", "a log range starts above 0"),
            ("model.hidden=[[64]]", "fewer than two values"),
            ("model.hidden=[[64]", "write `KEY=LOW..HIGH`"),
        ] {
            let error = Vary::parse(text).unwrap_err().to_string();
            assert!(error.contains(message), "{text}: {error}");
        }
        let recipe = table(&[]);
        for key in ["data.split.valid", "train.seed", "loss.kind", "data.path"] {
            let vary = Vary::parse(&format!("{key}=[1, 2]")).unwrap();
            assert!(vary.check(&recipe).unwrap_err().to_string().contains("compared by"), "{key}");
        }
        let vary = Vary::parse("optimizer.rate=0.1..0.2").unwrap();
        assert!(vary.check(&recipe).is_err());
        let vary = Vary::parse("model.dropout=0.5..1.5").unwrap();
        assert!(vary.check(&recipe).unwrap_err().to_string().contains("dropout"));
    }

    #[test]
    fn default_ranges_suit_the_recipe() {
        let sgd = table(&["optimizer.kind='sgd'", "model.numeric='linear'"]);
        let keys = |recipe: &Recipe| -> Vec<String> {
            let all = defaults(recipe).into_iter();
            all.filter_map(|text| Some(text.split_once('=')?.0.to_owned())).collect()
        };
        assert!(!keys(&sgd).contains(&"model.numeric_bins".to_owned()));
        let table = table(&[]);
        assert!(defaults(&table).contains(&"model.numeric_bins=[8, 16, 32]".to_owned()));
        assert_eq!(defaults(&table)[0], "optimizer.lr=0.00075..0.012 log");
    }
}
