//! Scales: ranges, ticks at round numbers, labels with just enough digits.

use crate::number;

/// A scale from values to a unit interval, with its ticks.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Axis {
    pub(crate) low: f64,
    pub(crate) high: f64,
    pub(crate) log: bool,
    pub(crate) ticks: Vec<(f64, String)>,
}

impl Axis {
    /// A linear axis over exactly `low..high` with about `target` ticks.
    pub(crate) fn linear(low: f64, high: f64, target: usize) -> Self {
        let (low, high) = widen(low, high);
        let ticks = linear_ticks(low, high, target);
        Self { low, high, log: false, ticks }
    }

    /// A linear axis with ticks at its ends.
    pub(crate) fn nice(low: f64, high: f64, target: usize) -> Self {
        let (low, high) = widen(low, high);
        let step = nice_step(high - low, target);
        let (start, end) = ((low / step).floor() * step, (high / step).ceil() * step);
        if !(start.is_finite() && end.is_finite() && start < end) {
            return Self::linear(low, high, target);
        }
        Self { low: start, high: end, log: false, ticks: ticks_of(start, end, step) }
    }

    /// The same axis with ticks only at whole numbers, for epochs, steps and rows.
    pub(crate) fn whole(mut self, target: usize) -> Self {
        let step = nice_step(self.high - self.low, target).max(1.0);
        let step = match step {
            2.5 if (self.high - self.low) / 2.5 > 1.2 * target as f64 => 5.0,
            2.5 => 2.0,
            step => step,
        };
        self.ticks = ticks_of(self.low, self.high, step);
        self
    }

    /// A logarithmic axis; `low` and `high` are positive.
    pub(crate) fn log(low: f64, high: f64, target: usize) -> Self {
        let low = low.max(f64::MIN_POSITIVE);
        let high = high.max(low);
        let (low, high) = if high / low < 1.2 { (low / 1.5, high * 1.5) } else { (low, high) };
        Self { low, high, log: true, ticks: log_ticks(low, high, target) }
    }

    /// The position of a value, 0 at the low end; `None` off the axis.
    pub(crate) fn at(&self, x: f64) -> Option<f64> {
        let t = if self.log {
            if x <= 0.0 {
                return None;
            }
            (x.ln() - self.low.ln()) / (self.high.ln() - self.low.ln())
        } else {
            // Halved first, since the span of two finite numbers can overflow.
            (x / 2.0 - self.low / 2.0) / (self.high / 2.0 - self.low / 2.0)
        };
        // Values slightly beyond the ends are drawn (rounding), others are not.
        (t.is_finite() && (-0.01..=1.01).contains(&t)).then_some(t)
    }
}

/// The least and the greatest finite value.
pub(crate) fn extent(values: impl IntoIterator<Item = f64>) -> Option<(f64, f64)> {
    values.into_iter().filter(|x| x.is_finite()).fold(None, |range, x| match range {
        None => Some((x, x)),
        Some((low, high)) => Some((low.min(x), high.max(x))),
    })
}

/// A step of 1, 2, 2.5 or 5 times a power of ten that divides a span into about `target` pieces.
pub(crate) fn nice_step(span: f64, target: usize) -> f64 {
    let raw = span / target.max(1) as f64;
    if !(raw.is_finite() && raw > 0.0) {
        return 1.0;
    }
    let power = 10f64.powf(raw.log10().floor());
    let fraction = raw / power;
    // The nearest nice number on a logarithmic scale.
    let nice = match fraction {
        f if f < 1.42 => 1.0,
        f if f < 2.24 => 2.0,
        f if f < 3.5 => 2.5,
        f if f < 7.1 => 5.0,
        _ => 10.0,
    };
    let step = nice * power;
    if step > 0.0 && step.is_finite() { step } else { raw }
}

/// Ticks at multiples of a nice step inside the range.
pub(crate) fn linear_ticks(low: f64, high: f64, target: usize) -> Vec<(f64, String)> {
    ticks_of(low, high, nice_step(high - low, target))
}

fn ticks_of(low: f64, high: f64, step: f64) -> Vec<(f64, String)> {
    let (first, last) = ((low / step - 1e-9).ceil(), (high / step + 1e-9).floor());
    if !(first.is_finite() && last.is_finite()) || last - first > 64.0 {
        return Vec::new();
    }
    (0..=(last - first).max(0.0) as usize)
        .map(|i| (first + i as f64) * step)
        .map(|x| if x.abs() < step * 1e-9 { 0.0 } else { x })
        .map(|x| (x, tick_label(x, step)))
        .collect()
}

/// Ticks at powers of ten, and at 2 and 5 between them if there are few.
fn log_ticks(low: f64, high: f64, target: usize) -> Vec<(f64, String)> {
    let (first, last) = (low.log10().floor() as i32, high.log10().ceil() as i32);
    let decades = high.log10() - low.log10();
    if decades < 0.7 {
        // Within less than a decade, multiples of a linear step are easier to read.
        return linear_ticks(low, high, target);
    }
    let every = ((last - first) as usize).div_ceil(target.max(1)).max(1) as i32;
    let between: &[f64] = if decades <= 2.0 { &[1.0, 2.0, 5.0] } else { &[1.0] };
    (first..=last)
        .filter(|e| every == 1 || e.rem_euclid(every) == 0)
        .flat_map(|e| between.iter().map(move |m| m * 10f64.powi(e)))
        .filter(|x| (low * 0.999..=high * 1.001).contains(x))
        .map(|x| (x, log_label(x)))
        .collect()
}

/// A label with the decimals of the step.
fn tick_label(x: f64, step: f64) -> String {
    if x == 0.0 {
        return "0".into();
    }
    let size = x.abs().max(step);
    if size >= 1e15 || (step < 1e-3 && size < 0.1) || step < 1e-6 {
        return short_scientific(x, step);
    }
    if size >= 10_000.0 && step >= 100.0 {
        let (scale, suffix) = match size {
            s if s >= 1e12 => (1e12, "T"),
            s if s >= 1e9 => (1e9, "G"),
            s if s >= 1e6 => (1e6, "M"),
            _ => (1e3, "k"),
        };
        return format!("{}{suffix}", number::fixed(x / scale, decimals(step / scale)));
    }
    number::fixed(x, decimals(step))
}

/// A power of ten with just enough digits to distinguish steps.
fn short_scientific(x: f64, step: f64) -> String {
    let exact = |text: &String| text.parse::<f64>().is_ok_and(|y| (y - x).abs() < step * 1e-3);
    let text = (0..16).map(|d| format!("{x:.d$e}")).find(exact).unwrap_or_else(|| format!("{x:e}"));
    text.replace('-', "−")
}

/// The minimum number of decimals of a step without loss.
fn decimals(step: f64) -> usize {
    (0..12)
        .find(|&d| {
            let scaled = step * 10f64.powi(d);
            scaled >= 0.999 && (scaled - scaled.round()).abs() < 1e-6 * scaled
        })
        .unwrap_or(12) as usize
}

fn log_label(x: f64) -> String {
    match x {
        x if (0.001..10_000.0).contains(&x) => {
            number::fixed(x, decimals(10f64.powf(x.log10().floor())))
        }
        x if (10_000.0..1e15).contains(&x) => {
            number::prefixed(x, "").replace(".00", "").replace(".0", "").replace(' ', "")
        }
        x => format!("{x:.0e}").replace('-', "−"),
    }
}

/// A range of positive width and finite ends, for any input.
fn widen(low: f64, high: f64) -> (f64, f64) {
    let bound = |x: f64| x.clamp(-1e300, 1e300);
    match (low.is_finite() && high.is_finite(), bound(low), bound(high)) {
        (false, ..) => (0.0, 1.0),
        // Too narrow for ticks in f64.
        (_, low, high) if high - low <= low.abs().max(high.abs()) * 1e-12 => {
            let pad = if low == 0.0 { 1.0 } else { low.abs() * 0.1 };
            (low - pad, low + pad)
        }
        (_, low, high) => (low, high),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(ticks: &[(f64, String)]) -> Vec<&str> {
        ticks.iter().map(|t| t.1.as_str()).collect()
    }

    #[test]
    fn ticks_are_round_and_labelled_with_just_enough_digits() {
        assert_eq!(labels(&linear_ticks(0.0, 1.0, 5)), ["0", "0.2", "0.4", "0.6", "0.8", "1.0"]);
        assert_eq!(labels(&linear_ticks(0.0, 10.0, 4)), ["0", "2.5", "5.0", "7.5", "10.0"]);
        assert_eq!(labels(&linear_ticks(-3.0, 3.0, 4)), ["−2", "0", "2"]);
        assert_eq!(labels(&linear_ticks(1.0, 57.0, 6)), ["10", "20", "30", "40", "50"]);
        assert_eq!(labels(&linear_ticks(0.0, 60_000.0, 3)), ["0", "20k", "40k", "60k"]);
        assert_eq!(labels(&linear_ticks(0.0, 3e-7, 3)), ["0", "1e−7", "2e−7", "3e−7"]);
        assert_eq!(labels(&linear_ticks(0.12, 0.13, 2)), ["0.120", "0.125", "0.130"]);
        assert_eq!(labels(&linear_ticks(0.0, 0.001, 4)), ["0", "2.5e−4", "5e−4", "7.5e−4", "1e−3"]);
        assert_eq!(labels(&Axis::linear(1.0, 10.0, 4).whole(4).ticks), ["2", "4", "6", "8", "10"]);
        assert_eq!(labels(&Axis::linear(1.0, 3.0, 5).whole(5).ticks), ["1", "2", "3"]);
    }

    #[test]
    fn ticks_lie_inside_and_are_few_for_any_range() {
        for (low, high) in [
            (0.0, 0.0),
            (5.0, 5.0),
            (-1e300, 1e300),
            (1e-320, 1e-300),
            (1.0, 1.0 + 1e-15),
            (f64::NAN, 1.0),
            (f64::NEG_INFINITY, f64::INFINITY),
            (1e15, 1e15 + 3.0),
            (-7.3, 1234.5),
        ] {
            for target in [1, 2, 5, 9] {
                for axis in [Axis::linear(low, high, target), Axis::nice(low, high, target)] {
                    assert!(axis.low < axis.high && axis.low.is_finite() && axis.high.is_finite());
                    assert!(axis.ticks.len() <= 2 * target + 2, "{low} {high}: {:?}", axis.ticks);
                    for (x, _) in &axis.ticks {
                        assert!(axis.at(*x).is_some(), "{x} outside of {low}..{high}");
                    }
                }
            }
        }
    }

    #[test]
    fn distinct_ticks_have_distinct_labels() {
        for (low, high) in
            [(0.0, 1.0), (999.0, 1001.0), (0.00012, 0.00013), (9_900.0, 10_100.0), (1e6, 1.01e6)]
        {
            let ticks = linear_ticks(low, high, 5);
            let mut seen = labels(&ticks);
            seen.dedup();
            assert!(ticks.len() >= 3 && seen.len() == ticks.len(), "{ticks:?}");
        }
    }

    #[test]
    fn log_axes() {
        assert_eq!(labels(&Axis::log(1e-5, 1e-2, 5).ticks), ["1e−5", "1e−4", "0.001", "0.01"]);
        assert_eq!(
            labels(&Axis::log(0.1, 10.0, 5).ticks),
            ["0.1", "0.2", "0.5", "1", "2", "5", "10"]
        );
        assert_eq!(labels(&Axis::log(1e3, 1e7, 5).ticks), ["1,000", "10k", "100k", "1M", "10M"]);
        assert!(Axis::log(1e-300, 1e300, 5).ticks.len() <= 6);
        assert_eq!(Axis::log(0.1, 10.0, 5).at(0.0), None);
        assert_eq!(Axis::log(0.1, 10.0, 5).at(-1.0), None);
        assert!((Axis::log(0.1, 10.0, 5).at(1.0).unwrap() - 0.5).abs() < 1e-12);
        assert!(Axis::log(3.0, 3.0, 5).at(3.0).is_some());
    }

    #[test]
    fn extent_ignores_what_is_not_finite() {
        assert_eq!(extent([f64::NAN, 2.0, f64::INFINITY, -1.0]), Some((-1.0, 2.0)));
        assert_eq!(extent([f64::NAN]), None);
        assert_eq!(extent([]), None);
    }

    #[test]
    fn positions() {
        let axis = Axis::linear(0.0, 10.0, 5);
        assert_eq!(axis.at(5.0), Some(0.5));
        assert_eq!(axis.at(f64::NAN), None);
        assert_eq!(axis.at(20.0), None);
        assert_eq!(Axis::nice(0.3, 9.7, 5).at(0.0), Some(0.0));
    }
}
