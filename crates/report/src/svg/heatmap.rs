//! The confusion matrix as a heat map, for 2 to about 50 classes.

use super::{fit, open, px, text_width};
use crate::{
    html::{Clip, Esc, put},
    number,
};

/// The maximum number of classes with numbers in cells; beyond, only colour and tooltips.
const NUMBERS: usize = 16;

/// A confusion matrix: correct cells blue, wrong cells orange, with a strength by their share of
/// the row.
///
/// Two classes have large cells with shares, up to [`NUMBERS`] have counts, more only colour.
pub(crate) fn confusion(label: &str, names: &[&str], cells: &[Vec<u64>]) -> String {
    let k = names.len();
    let cell: f64 = match k {
        0..=2 => 104.0,
        3..=5 => 64.0,
        6..=10 => 44.0,
        11..=16 => 34.0,
        17..=30 => 20.0,
        _ => 15.0,
    };
    let size = if k <= 10 { 12.0 } else { cell.min(14.0) * 0.8 };
    let longest = names.iter().map(|n| text_width(n, 12.0)).fold(0.0, f64::max);
    let left = longest.min(110.0) + 30.0;
    // Names above narrow columns are rotated.
    let upright = longest > cell - 6.0;
    let top = if upright { longest.min(90.0) + 34.0 } else { 44.0 };
    let (width, height) = (left + cell * k as f64 + 4.0, top + cell * k as f64 + 4.0);

    let mut out = open("heat", width, height, label);
    put!(&mut out, " style=\"--natural:{width:.0}px\">");
    put!(
        &mut out,
        "<text class=\"m strong\" x=\"{}\" y=\"13\">predicted</text>",
        px(left + cell * k as f64 / 2.0)
    );
    let middle = top + cell * k as f64 / 2.0;
    put!(
        &mut out,
        "<text class=\"m strong\" transform=\"translate(11 {0}) rotate(-90)\">actual</text>",
        px(middle)
    );
    for (i, name) in names.iter().enumerate() {
        let centre = (i as f64 + 0.5) * cell;
        put!(
            &mut out,
            "<text class=\"e dark\" x=\"{}\" y=\"{}\" style=\"font-size:{size:.1}px\">{}</text>",
            px(left - 7.0),
            px(top + centre + size * 0.35),
            Esc(&fit(name, 12.0, left - 30.0))
        );
        if upright {
            put!(
                &mut out,
                "<text class=\"dark\" style=\"font-size:{size:.1}px\" \
                 transform=\"translate({} {}) rotate(-90)\">{}</text>",
                px(left + centre + size * 0.35),
                px(top - 6.0),
                Esc(&fit(name, 12.0, top - 26.0))
            );
        } else {
            put!(
                &mut out,
                "<text class=\"m dark\" x=\"{}\" y=\"{}\">{}</text>",
                px(left + centre),
                px(top - 8.0),
                Esc(name)
            );
        }
    }
    for (i, row) in cells.iter().enumerate().take(k) {
        let total: f64 = row.iter().map(|&n| n as f64).sum();
        for (j, &n) in row.iter().enumerate().take(k) {
            let share = if total > 0.0 { n as f64 / total } else { 0.0 };
            let (x, y) = (left + j as f64 * cell, top + i as f64 * cell);
            out.push_str(&one(names, (i, j), n, total, share, (x, y, cell)));
        }
    }
    out.push_str("</svg>");
    out
}

fn one(
    names: &[&str],
    (i, j): (usize, usize),
    n: u64,
    total: f64,
    share: f64,
    (x, y, cell): (f64, f64, f64),
) -> String {
    let right = i == j;
    let mut out = String::new();
    // The square root keeps rare mistakes visible: it lifts 1 % to a tenth of full strength.
    let strength = if right { share } else { share.sqrt() };
    if n == 0 {
        put!(
            &mut out,
            "<rect class=\"cell track\" x=\"{}\" y=\"{}\" width=\"{cell}\" height=\"{cell}\"/>",
            px(x),
            px(y)
        );
    } else {
        put!(
            &mut out,
            "<g class=\"s{}\"><rect class=\"cell track\" x=\"{1}\" y=\"{2}\" width=\"{cell}\" \
             height=\"{cell}\"/><rect class=\"cell\" fill=\"var(--s)\" fill-opacity=\"{3:.2}\" \
             x=\"{1}\" y=\"{2}\" width=\"{cell}\" height=\"{cell}\"><title>actual {4}, predicted \
             {5}: {6} ({7})</title></rect></g>",
            if right { 1 } else { 2 },
            px(x),
            px(y),
            0.08 + 0.92 * strength,
            Clip(names[i], 40),
            Clip(names[j], 40),
            number::count(n),
            number::percent(n as f64, total)
        );
    }
    if names.len() > NUMBERS || (n == 0 && names.len() > 5) {
        return out;
    }
    let ink = if n > 0 && strength > 0.62 { "onheat" } else { "dark" };
    let (cx, cy) = (x + cell / 2.0, y + cell / 2.0);
    let text =
        if cell < 40.0 && n >= 10_000 { number::prefixed(n as f64, "") } else { number::count(n) };
    if names.len() <= 5 {
        let size = if names.len() == 2 { 22.0 } else { 16.0 };
        put!(
            &mut out,
            "<text class=\"m {ink}\" x=\"{0}\" y=\"{1}\" \
             style=\"font-size:{size}px;font-weight:600\">{text}</text><text class=\"m {ink}\" \
             x=\"{0}\" y=\"{2}\" style=\"font-size:11px\">{3}</text>",
            px(cx),
            px(cy + 3.0),
            px(cy + 20.0),
            number::percent(n as f64, total)
        );
    } else {
        put!(
            &mut out,
            "<text class=\"m {ink}\" x=\"{}\" y=\"{}\">{text}</text>",
            px(cx),
            px(cy + 4.0)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_is_drawn_with_all_its_cells() {
        for k in [1, 2, 3, 10, 16, 17, 50] {
            let names: Vec<String> = (0..k).map(|i| format!("class {i}")).collect();
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            let cells = vec![vec![3; k]; k];
            let svg = confusion("l", &names, &cells);
            assert_eq!(svg.matches("<title>").count(), k * k, "{k}");
            assert!(svg.len() < 1_200_000, "{k}: {}", svg.len());
        }
    }

    #[test]
    fn a_class_without_rows_has_no_nan() {
        let svg = confusion("l", &["a", "b"], &[vec![0, 0], vec![1, 2]]);
        assert!(!svg.contains("NaN"), "{svg}");
    }
}
