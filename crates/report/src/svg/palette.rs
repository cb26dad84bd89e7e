//! The colours, distinguishable by colour-blind readers.
//!
//! Series differ in lightness as well as in hue (blue against orange first, distinguishable with
//! all common forms of colour blindness), and a test checks every pair of text and background
//! against WCAG's contrast.

/// Fonts available on every system.
pub(crate) const FONT: &str =
    "system-ui,-apple-system,\"Segoe UI\",Roboto,\"Helvetica Neue\",\"Noto Sans\",Arial,sans-serif";

/// Name, light value, dark value.
const COLOURS: &[(&str, &str, &str)] = &[
    ("bg", "#f7f6f3", "#121418"),
    ("surface", "#ffffff", "#1a1d23"),
    ("sunken", "#f1efeb", "#22262e"),
    ("text", "#1c2129", "#e8e9ec"),
    ("muted", "#5b626e", "#a3a9b5"),
    ("line", "#e3e0da", "#2e333d"),
    ("grid", "#eceae5", "#272b33"),
    ("accent", "#1f57a8", "#86b3f6"),
    ("good", "#116b45", "#5fcf9c"),
    ("warn", "#8a5300", "#f0b55a"),
    ("bad", "#b02a1f", "#ff8f82"),
    ("c1", "#2a66b5", "#78abf2"),
    ("c2", "#c05208", "#f39a55"),
    ("c3", "#0a7d70", "#45c4b0"),
    ("c4", "#8d4193", "#d294d8"),
    ("c5", "#8f6b00", "#dcbc4c"),
    ("c6", "#5f6875", "#9fa7b4"),
    ("on-heat", "#ffffff", "#10131a"),
];

/// The number of series colours.
pub(crate) const SERIES: usize = 6;

/// CSS declarations of the light colours.
pub(crate) fn light() -> String {
    declarations(|colour| colour.1)
}

/// CSS declarations of the dark colours.
pub(crate) fn dark() -> String {
    declarations(|colour| colour.2)
}

fn declarations(value: fn(&(&str, &'static str, &'static str)) -> &'static str) -> String {
    COLOURS.iter().flat_map(|colour| ["--", colour.0, ":", value(colour), ";"]).collect()
}

/// The colour of a series: the usual splits have fixed colours, others go by position.
pub(crate) fn series(name: &str, position: usize) -> usize {
    match name {
        "train" => 1,
        "valid" | "validation" => 2,
        "test" => 3,
        _ => position % SERIES + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn colour(name: &str, dark: bool) -> [f64; 3] {
        let (_, light_hex, dark_hex) = COLOURS.iter().find(|c| c.0 == name).unwrap();
        let hex = if dark { dark_hex } else { light_hex };
        [1, 3, 5].map(|i| {
            let v = f64::from(u8::from_str_radix(&hex[i..i + 2], 16).unwrap()) / 255.0;
            if v <= 0.04045 { v / 12.92 } else { ((v + 0.055) / 1.055).powf(2.4) }
        })
    }

    /// WCAG 2: (L₁ + 0.05) / (L₂ + 0.05) of the relative luminances.
    fn contrast(a: &str, b: &str, dark: bool) -> f64 {
        let l = |name| {
            let [r, g, b] = colour(name, dark);
            0.2126 * r + 0.7152 * g + 0.0722 * b + 0.05
        };
        let (a, b) = (l(a), l(b));
        a.max(b) / a.min(b)
    }

    #[test]
    fn text_reaches_aa_and_series_reach_three_to_one() {
        for dark in [false, true] {
            for ground in ["bg", "surface", "sunken"] {
                for ink in ["text", "muted", "accent", "good", "warn", "bad"] {
                    let c = contrast(ink, ground, dark);
                    assert!(c >= 4.5, "{ink} on {ground}, dark {dark}: {c:.2}");
                }
            }
            for i in 1..=SERIES {
                let c = contrast(&format!("c{i}"), "surface", dark);
                assert!(c >= 3.0, "c{i}, dark {dark}: {c:.2}");
            }
            // Labels on full cells of a heat map.
            for cell in ["c1", "c2"] {
                let c = contrast("on-heat", cell, dark);
                assert!(c >= 4.5, "label on {cell}, dark {dark}: {c:.2}");
            }
        }
    }

    #[test]
    fn splits_keep_their_colours() {
        assert_eq!(series("valid", 0), 2);
        assert_eq!(series("other", 7), 2);
        assert_eq!(series("train", 3), 1);
    }
}
