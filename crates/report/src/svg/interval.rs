//! A score on a line: its interval, its value and the baseline.

use super::{
    open, px,
    scale::{Axis, extent},
    text_width,
};
use crate::{
    data::Score,
    html::{Clip, Esc, put},
    number,
};

/// The headline picture: a scale with the interval as a bar, the value as a dot, the baseline as a
/// tick.
pub(crate) fn headline(score: &Score, baseline: &str, width: f64) -> String {
    let Some((axis, at)) = layout(score, width, 8.0) else { return String::new() };
    let label = format!(
        "{}: {} on a scale from {} to {}",
        score.name,
        number::score(score.value),
        number::score(axis.low),
        number::score(axis.high)
    );
    let mut out = open("interval", width, 96.0, &label);
    out.push('>');
    put!(
        &mut out,
        "<rect class=\"track\" x=\"0\" y=\"44\" width=\"{width}\" height=\"10\" rx=\"5\"/>"
    );
    let base = score.baseline.and_then(&at);
    for (x, text) in &axis.ticks {
        let Some(x) = at(*x) else { continue };
        put!(&mut out, "<path class=\"base\" d=\"M{} 60v4\"/>", px(x));
        let half = text_width(text, 12.0) / 2.0;
        // The line of the baseline is here.
        if base.is_some_and(|b| (b - x).abs() < half + 4.0) {
            continue;
        }
        put!(
            &mut out,
            "<text class=\"m\" x=\"{}\" y=\"78\">{text}</text>",
            px(x.clamp(half, width - half))
        );
    }
    if let (Some(low), Some(high)) = (score.low.and_then(&at), score.high.and_then(&at)) {
        put!(
            &mut out,
            "<rect class=\"bar soft s1\" x=\"{}\" y=\"40\" width=\"{}\" height=\"18\" rx=\"4\"/>",
            px(low),
            px((high - low).max(2.0))
        );
    }
    let own = at(score.value);
    if let Some(x) = base {
        let text = format!("{baseline} {}", score.baseline.map_or(String::new(), number::score));
        let text = super::fit(text.trim(), 12.0, width * 0.6);
        let half = text_width(&text, 12.0) / 2.0;
        put!(&mut out, "<path class=\"whisk\" style=\"stroke-width:2\" d=\"M{} 36V62\"/>", px(x));
        put!(
            &mut out,
            "<text class=\"m\" x=\"{}\" y=\"94\">{}</text>",
            px(x.clamp(half, (width - half).max(half))),
            Esc(&text)
        );
        put!(&mut out, "<path class=\"ref\" d=\"M{} 62V82\"/>", px(x));
    }
    if let Some(x) = own {
        let text = number::score(score.value);
        let half = text_width(&text, 14.0) / 2.0 + 2.0;
        put!(&mut out, "<circle class=\"pt s1\" cx=\"{}\" cy=\"49\" r=\"6\"/>", px(x));
        put!(
            &mut out,
            "<text class=\"m strong\" style=\"font-size:14px\" x=\"{}\" y=\"27\">{text}</text>",
            px(x.clamp(half, width - half))
        );
    }
    out.push_str("</svg>");
    out
}

/// The same at the size of a table cell.
pub(crate) fn small(score: &Score) -> String {
    const WIDTH: f64 = 150.0;
    let Some((_, at)) = layout(score, WIDTH, 6.0) else { return String::new() };
    let mut out = format!(
        "<svg class=\"chart mini\" viewBox=\"0 0 {WIDTH} 22\" width=\"{WIDTH}\" height=\"22\" \
         role=\"img\" aria-label=\"{}\"><path class=\"grid\" d=\"M0 11H{WIDTH}\"/>",
        Clip(&score.name, 60)
    );
    if let (Some(low), Some(high)) = (score.low.and_then(&at), score.high.and_then(&at)) {
        put!(
            &mut out,
            "<rect class=\"bar soft s1\" x=\"{}\" y=\"7\" width=\"{}\" height=\"8\" rx=\"4\"/>",
            px(low),
            px((high - low).max(1.0))
        );
    }
    if let Some(x) = score.baseline.and_then(&at) {
        put!(&mut out, "<path class=\"whisk\" d=\"M{} 2V20\"/>", px(x));
    }
    if let Some(x) = at(score.value) {
        put!(&mut out, "<circle class=\"pt s1\" cx=\"{}\" cy=\"11\" r=\"4.5\"/>", px(x));
    }
    out.push_str("</svg>");
    out
}

/// A scale with room on both sides; from 0 to 1 if shares nearly fill it.
fn layout(
    score: &Score,
    width: f64,
    margin: f64,
) -> Option<(Axis, impl Fn(f64) -> Option<f64> + use<>)> {
    let values = [Some(score.value), score.low, score.high, score.baseline];
    let (low, high) = extent(values.into_iter().flatten())?;
    let is_share = low >= 0.0 && high <= 1.0 && high - low > 0.15;
    let pad = ((high - low) * 0.25).max(high.abs() * 0.01);
    let axis = if is_share {
        Axis::linear(0.0, 1.0, (width / 90.0) as usize)
    } else if low >= 0.0 && low - pad < 0.35 * high {
        Axis::nice(0.0, high + pad, (width / 90.0) as usize)
    } else {
        Axis::nice(low - pad, high + pad, (width / 90.0) as usize)
    };
    let scale = axis.clone();
    let at = move |x: f64| scale.at(x).map(|t| margin + t * (width - 2.0 * margin));
    Some((axis, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_that_is_not_finite_draws_what_is_known() {
        let nan = Score::new("loss", f64::NAN, false);
        assert_eq!(small(&nan), "");
        assert_eq!(headline(&nan, "", 400.0), "");
        let svg = headline(&nan.baseline(0.7), "mean", 400.0);
        assert!(svg.contains("mean 0.7") && !svg.contains("class=\"pt"), "{svg}");
    }
}
