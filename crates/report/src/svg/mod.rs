//! Charts as inline SVG whose colours are CSS variables, so that one drawing serves light and dark.
//!
//! Existing plotting crates fix their colours, or draw lines and points only; the report needs gaps at NaN,
//! logarithmic axes, whiskers, heat maps and one look for all of them, so these few hundred lines are ours.

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

/// The width that charts are drawn for: a phone's, or half a desktop's.
pub(crate) const NARROW: f64 = 360.0;

/// The width of a chart that shares a desktop's row with two others.
pub(crate) const THIRD: f64 = 300.0;

/// The width of a chart that spans a desktop page.
pub(crate) const WIDE: f64 = 880.0;

/// The styles of charts, shared by the page and by standalone files.
pub(crate) const STYLE: &str = include_str!("chart.css");

/// The opening tag of a chart that scales with its container.
pub(crate) fn open(class: &str, width: f64, height: f64, label: &str) -> String {
    format!(
        "<svg class=\"chart {class}\" viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" \
         aria-label=\"{}\"",
        Esc(label)
    )
}

/// One chart in two widths; the style sheet shows the one that fits.
pub(crate) fn responsive(draw: impl Fn(f64) -> String) -> String {
    format!(
        "<div class=\"wide-only\">{}</div><div class=\"narrow-only\">{}</div>",
        draw(WIDE),
        draw(NARROW)
    )
}

/// A chart as a file of its own: the colours come along and follow the viewer's light or dark mode.
///
/// `None` when `svg` is not a drawing of ours, such as the note that stands where there is no data.
pub(crate) fn standalone(title: &str, svg: &str) -> Option<String> {
    const MARGIN: f64 = 16.0;
    let (attributes, content) = svg.strip_prefix("<svg")?.split_once('>')?;
    let size = attributes.split_once("viewBox=\"0 0 ")?.1.split_once('"')?.0;
    let (width, height) = size.split_once(' ')?;
    let (width, height): (f64, f64) = (width.parse().ok()?, height.parse().ok()?);
    let (full_width, full_height) = (px(width + 2.0 * MARGIN), px(height + 2.0 * MARGIN));
    let attributes = attributes.replace(
        &format!("viewBox=\"0 0 {size}\""),
        &format!(
            "viewBox=\"-{MARGIN} -{MARGIN} {full_width} {full_height}\" width=\"{full_width}\" \
             height=\"{full_height}\""
        ),
    );
    let (light, dark) = (palette::light(), palette::dark());
    Some(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\"{attributes}><title>{}</title><style>{STYLE}\
         svg.chart{{{light}font-family:{};width:auto;height:auto}}\
         @media (prefers-color-scheme:dark){{svg.chart{{{dark}}}}}</style>\
         <rect x=\"-{MARGIN}\" y=\"-{MARGIN}\" width=\"100%\" height=\"100%\" rx=\"8\" \
         fill=\"var(--surface)\"/>{content}\n",
        Esc(title),
        palette::FONT
    ))
}

/// A coordinate: one decimal, which is finer than a pixel on any screen.
pub(crate) fn px(x: f64) -> String {
    let text = format!("{x:.1}");
    match text.strip_suffix(".0") {
        Some("-0") => "0".into(),
        Some(whole) => whole.into(),
        None => text,
    }
}

/// How wide a text will be, near enough to reserve room for it (the script never measures).
pub(crate) fn text_width(text: &str, size: f64) -> f64 {
    let units: f64 =
        text.chars()
            .map(|c| match c {
                'i' | 'l' | 'j' | '.' | ',' | '\'' | '|' | ' ' | '·' | ':' | 'I' | 't' | 'f'
                | 'r' => 0.36,
                'm' | 'w' | 'M' | 'W' | '%' | '…' => 0.9,
                c if c.is_ascii_uppercase() => 0.68,
                c if c.is_ascii() => 0.58,
                // Wide scripts take a full em; other letters are near the Latin mean.
                c if (c as u32) > 0x2e80 => 1.0,
                _ => 0.62,
            })
            .sum();
    units * size
}

/// As much of a text as fits a width, with an ellipsis.
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

    #[test]
    fn a_standalone_file_has_one_root_and_its_own_colours() {
        let file = standalone("a <b>", &format!("{}><g></g></svg>", open("line", 4.0, 3.0, "l")));
        let file = file.unwrap();
        assert!(file.starts_with("<svg xmlns=\"http://www.w3.org/2000/svg\" class=\"chart line\""));
        assert!(file.contains("viewBox=\"-16 -16 36 35\" width=\"36\" height=\"35\""), "{file}");
        assert_eq!(file.matches("<svg").count(), 1);
        assert!(file.contains("--c1:") && file.contains("a &lt;b&gt;"));
        assert_eq!(standalone("t", "<p>No data</p>"), None);
    }
}
