//! Horizontal bars with whiskers, and bars of shares.

use super::{
    fit, open, px,
    scale::{Axis, extent},
    text_width,
};
use crate::{
    html::{Clip, Esc, no_data, put},
    number,
};

/// A bar: its name, its length, and the half-length of its whisker.
pub(crate) struct Bar<'a> {
    pub(crate) name: &'a str,
    pub(crate) value: f64,
    pub(crate) spread: f64,
}

/// Bars with whiskers from a common zero, names on the left, values on the right.
pub(crate) fn bars(label: &str, x_label: &str, rows: &[Bar], width: f64) -> String {
    const ROW: f64 = 24.0;
    let ends = rows.iter().flat_map(|b| {
        let spread = if b.spread.is_finite() { b.spread } else { 0.0 };
        [b.value - spread, b.value + spread, 0.0]
    });
    let Some((low, high)) = extent(ends).filter(|_| rows.iter().any(|b| b.value.is_finite()))
    else {
        return no_data("no finite value to draw");
    };
    let longest = rows.iter().map(|b| text_width(b.name, 12.0)).fold(0.0, f64::max);
    let left = longest.min(width * 0.36) + 12.0;
    let right = width - 56.0;
    let height = rows.len() as f64 * ROW + 44.0;
    let bottom = height - 40.0;
    let pad = (high - low) * 0.03;
    let (low, high) =
        (if low < 0.0 { low - pad } else { low }, if high > 0.0 { high + pad } else { high });
    let axis = Axis::linear(low, high, (width / 100.0) as usize);
    // All values with the decimals of the largest, so that they align.
    let largest = rows.iter().map(|b| b.value.abs()).filter(|x| x.is_finite()).fold(0.0, f64::max);
    let decimals =
        if largest > 0.0 { (2.0 - largest.log10().floor()).clamp(0.0, 8.0) } else { 0.0 };
    let write = |x: f64| match largest {
        l if !(1e-5..1e9).contains(&l) => number::significant(x, 3),
        _ => number::fixed(x, decimals as usize),
    };
    let at = |x: f64| axis.at(x).map(|t| left + t * (right - left));
    let zero = at(0.0).unwrap_or(left);

    let mut out = open("bars", width, height, label);
    out.push('>');
    for (x, text) in &axis.ticks {
        let Some(x) = at(*x) else { continue };
        put!(&mut out, "<path class=\"grid\" d=\"M{} 2V{}\"/>", px(x), px(bottom));
        put!(
            &mut out,
            "<text class=\"m\" x=\"{}\" y=\"{}\">{text}</text>",
            px(x),
            px(bottom + 17.0)
        );
    }
    for (i, bar) in rows.iter().enumerate() {
        let middle = (i as f64 + 0.5) * ROW;
        put!(
            &mut out,
            "<text class=\"e dark\" x=\"{}\" y=\"{}\">{}</text>",
            px(left - 8.0),
            px(middle + 4.0),
            Esc(&fit(bar.name, 12.0, left - 10.0))
        );
        let Some(end) = at(bar.value) else { continue };
        let colour = if bar.value < 0.0 { 2 } else { 1 };
        put!(
            &mut out,
            "<rect class=\"bar s{colour}\" x=\"{}\" y=\"{}\" width=\"{}\" height=\"14\" rx=\"2\">\
             <title>{}: {} ± {}</title></rect>",
            px(zero.min(end)),
            px(middle - 7.0),
            px((end - zero).abs().max(0.8)),
            Clip(bar.name, 80),
            number::score(bar.value),
            number::score(bar.spread)
        );
        if let (Some(a), Some(b), true) =
            (at(bar.value - bar.spread), at(bar.value + bar.spread), bar.spread > 0.0)
        {
            put!(
                &mut out,
                "<path class=\"whisk\" d=\"M{0} {1}H{2}M{0} {3}v6M{2} {3}v6\"/>",
                px(a),
                px(middle),
                px(b),
                px(middle - 3.0)
            );
        }
        put!(
            &mut out,
            "<text class=\"e\" x=\"{}\" y=\"{}\">{}</text>",
            px(width),
            px(middle + 4.0),
            write(bar.value)
        );
    }
    put!(&mut out, "<path class=\"base\" d=\"M{} 2V{}\"/>", px(zero), px(bottom));
    put!(
        &mut out,
        "<text class=\"m\" x=\"{}\" y=\"{}\">{}</text></svg>",
        px(f64::midpoint(left, right)),
        px(height - 5.0),
        Esc(x_label)
    );
    out
}

/// A bar of shares: segments of a whole as (name, amount, colour), in HTML, to stretch freely.
pub(crate) fn shares(label: &str, parts: &[(&str, f64, usize)]) -> String {
    let total: f64 = parts.iter().map(|p| p.1.max(0.0)).filter(|x| x.is_finite()).sum();
    let mut out =
        format!("<div class=\"shares\" role=\"img\" aria-label=\"{}\">", Clip(label, 300));
    for (name, amount, colour) in parts {
        let share = 100.0 * amount / total;
        if !share.is_finite() || share <= 0.0 {
            continue;
        }
        put!(
            &mut out,
            "<span class=\"c{colour}\" style=\"width:{share:.2}%\" title=\"{}: {}\"></span>",
            Clip(name, 80),
            number::percent(*amount, total)
        );
    }
    out.push_str("</div>");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whiskers_only_where_there_is_a_spread() {
        let rows = [
            Bar { name: "a", value: 0.2, spread: 0.05 },
            Bar { name: "b", value: -0.1, spread: 0.0 },
            Bar { name: "c", value: f64::NAN, spread: f64::NAN },
        ];
        let svg = bars("l", "x", &rows, 400.0);
        assert_eq!(svg.matches("class=\"whisk\"").count(), 1);
        assert_eq!(svg.matches("class=\"bar").count(), 2);
        assert!(svg.contains("s2"), "a negative bar has another colour");
        assert!(bars("l", "x", &[], 400.0).contains("No data"));
        let nan = [Bar { name: "c", value: f64::NAN, spread: 0.0 }];
        assert!(bars("l", "x", &nan, 400.0).contains("No data"));
    }

    #[test]
    fn shares_of_nothing_are_empty() {
        assert!(!shares("l", &[("a", 0.0, 1)]).contains("<span"));
        assert!(shares("l", &[("a", 1.0, 1), ("b", 3.0, 2)]).contains("width:75.00%"));
        assert!(!shares("l", &[("a", f64::NAN, 1)]).contains("NaN"));
    }
}
