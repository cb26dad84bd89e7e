//! Charts as inline SVG with CSS variables as colours, so that one drawing serves light and dark
//! mode.
//!
//! Existing plotting crates have fixed colours or draw only lines and points; the report needs gaps
//! at NaN, logarithmic axes, whiskers, heat maps and a common style.

pub(crate) mod bars;
pub(crate) mod decimate;
pub(crate) mod frame;
pub(crate) mod heatmap;
pub(crate) mod histogram;
pub(crate) mod interval;
pub(crate) mod line;
pub(crate) mod palette;
pub(crate) mod scale;
pub(crate) mod scatter;
pub(crate) mod spark;

use super::html::Esc;

/// The width of charts on a phone, or on half a desktop.
pub(crate) const NARROW: f64 = 360.0;

/// The width of a chart that shares a desktop row with two others.
pub(crate) const THIRD: f64 = 300.0;

/// The width of a chart that spans a desktop page.
pub(crate) const WIDE: f64 = 880.0;

/// The styles of charts.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// The opening tag of a chart that scales with its container.
pub(crate) fn open(class: &str, width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg class=\"chart {class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"{}\"",
        Esc(label)
    )
}

/// One chart in two widths; the style sheet shows the fitting one.
pub(crate) fn responsive(draw: impl Fn(f64) -> String) -> String {
    format!(
        "<div class=\"wide-only\">{}</div><div class=\"narrow-only\">{}</div>",
        draw(WIDE),
        draw(NARROW)
    )
}

/// A coordinate with one decimal, finer than a pixel on any screen.
pub(crate) fn px(x: f64) -> String {
    let text = format!("{x:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

/// The approximate width of a text, to reserve room for it (the script never measures).
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let units: f64 =
        text.chars()
            .map(|c| match c {
                'i' | 'l' | 'j' | '.' | ',' | '\'' | '|' | ' ' | '·' | ':' | 'I' | 't' | 'f'
                | 'r' => 0.36,
                'm' | 'w' | 'M' | 'W' | '%' | '…' => 0.9,
                c if c.is_ascii_uppercase() => 0.68,
                c if c.is_ascii() => 0.58,
                // Wide scripts take a full em; other letters are close to the Latin mean.
                c if (c as u32) > 0x2e80 => 1.0,
                _ => 0.62,
            })
            .sum();
    units * size
}

/// A text clipped to a width, with an ellipsis.
pub(crate) fn fit(text: &str, size: f64, width: f64) -> String {
    if text_width(text, size) <= width {
        return text.into();
    }
    let mut out = String::new();
    for c in text.chars() {
        out.push(c);
        if text_width(&out, size) + 0.9 * size > width {
            out.pop();
            break;
        }
    }
    out.push('…');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_are_short() {
        assert_eq!(px(12.0), "12");
        assert_eq!(px(-0.01), "0");
        assert_eq!(px(2.7499), "2.7");
    }

    #[test]
    fn texts_are_fitted() {
        assert_eq!(fit("age", 12.0, 100.0), "age");
        let cut = fit("a_very_long_column_name_that_cannot_fit", 12.0, 80.0);
        assert!(cut.ends_with('…') && text_width(&cut, 12.0) <= 80.0, "{cut}");
        assert_eq!(fit("x", 12.0, 1.0), "…");
    }
}
