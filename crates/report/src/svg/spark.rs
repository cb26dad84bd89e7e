//! Small pictures inside tables: histograms of columns, bars of shares.

use crate::{
    data::{Distribution, Tally},
    html::{Clip, put},
    number,
};

const WIDTH: f64 = 112.0;
const HEIGHT: f64 = 30.0;

/// The distribution of a column at the size of a table cell; empty if unknown.
pub(crate) fn distribution(of: &Distribution) -> String {
    match of {
        Distribution::Unknown => String::new(),
        Distribution::Numeric { edges, counts } => numeric(edges, counts),
        Distribution::Categories(tallies) => categories(tallies),
    }
}

fn numeric(edges: &[f64], counts: &[u64]) -> String {
    let counts = merge(counts, 40);
    let most = counts.iter().copied().max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let (low, high) = (edges.first().copied(), edges.last().copied());
    let range = match (low, high) {
        (Some(low), Some(high)) => {
            format!("{} to {}", number::significant(low, 3), number::significant(high, 3))
        }
        _ => String::new(),
    };
    let mut out = head(&format!("histogram, {range}"));
    let step = WIDTH / counts.len() as f64;
    let mut path = String::new();
    for (i, &n) in counts.iter().enumerate() {
        if n > 0 {
            // A non-empty bin is at least a hairline.
            let h = (n as f64 / most as f64 * (HEIGHT - 2.0)).max(1.0);
            let w = (step - 0.8).max(0.6);
            put!(&mut path, "M{:.1} {HEIGHT}v-{h:.1}h{w:.1}v{h:.1}z", i as f64 * step);
        }
    }
    put!(&mut out, "<path class=\"bar s1\" d=\"{path}\"/></svg>");
    out
}

fn categories(tallies: &[Tally]) -> String {
    let shown = &tallies[..tallies.len().min(12)];
    let most = shown.iter().map(|t| t.count).max().unwrap_or(0);
    if most == 0 {
        return String::new();
    }
    let mut out = head("bars of the most frequent values");
    let step = (WIDTH / shown.len() as f64).min(28.0);
    for (i, t) in shown.iter().enumerate() {
        let h = (t.count as f64 / most as f64 * (HEIGHT - 2.0)).max(1.0);
        put!(
            &mut out,
            "<rect class=\"bar s3\" x=\"{:.1}\" y=\"{:.1}\" width=\"{:.1}\" height=\"{h:.1}\">\
             <title>{}: {}</title></rect>",
            i as f64 * step,
            HEIGHT - h,
            step - 3.0,
            Clip(&t.label, 40),
            number::count(t.count)
        );
    }
    out.push_str("</svg>");
    out
}

fn head(label: &str) -> String {
    format!(
        "<svg class=\"chart spark\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" width=\"{WIDTH}\" \
         height=\"{HEIGHT}\" role=\"img\" aria-label=\"{label}\">"
    )
}

/// Merges adjacent bins to at most `limit`.
fn merge(counts: &[u64], limit: usize) -> Vec<u64> {
    let by = counts.len().div_ceil(limit).max(1);
    counts.chunks(by).map(|c| c.iter().fold(0u64, |a, b| a.saturating_add(*b))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merging_keeps_the_total() {
        let merged = merge(&vec![1; 1001], 40);
        assert!(merged.len() <= 40);
        assert_eq!(merged.iter().sum::<u64>(), 1001);
    }

    #[test]
    fn nothing_counted_draws_nothing() {
        assert_eq!(distribution(&Distribution::Unknown), "");
        assert_eq!(distribution(&Distribution::Categories(vec![])), "");
        let zero = Distribution::Numeric { edges: vec![0.0, 1.0], counts: vec![0] };
        assert_eq!(distribution(&zero), "");
    }

    #[test]
    fn hostile_categories_are_escaped() {
        let svg = distribution(&Distribution::Categories(vec![Tally::new("<b>\"", 3)]));
        assert!(svg.contains("&lt;b&gt;&quot;") && !svg.contains("<b>"));
    }
}
