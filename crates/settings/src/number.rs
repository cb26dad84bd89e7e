/// A number as people write it: at most six significant digits, without the noise of binary
/// fractions.
///
/// ```
/// assert_eq!(ff_settings::number(0.0012000000000000001), "0.0012");
/// assert_eq!(ff_settings::number(3e-5), "3e-5");
/// ```
pub fn number(x: f64) -> String {
    significant(x, 6)
}

/// A number of so many significant digits, without trailing zeros.
///
/// ```
/// assert_eq!(ff_settings::significant(17.987654, 4), "17.99");
/// ```
pub fn significant(x: f64, digits: usize) -> String {
    if !x.is_finite() || x == 0.0 {
        return x.to_string();
    }
    let short = |text: &str| {
        let end = if text.contains('.') { text.trim_end_matches('0') } else { text };
        end.trim_end_matches('.').to_owned()
    };
    // Rounding may carry into another digit, so the exponent is that of the rounded number.
    let text = format!("{x:.*e}", digits.saturating_sub(1));
    let (fraction, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    match exponent.parse::<i32>() {
        Ok(magnitude) if (-4..9).contains(&magnitude) => {
            let decimals = usize::try_from(digits as i32 - 1 - magnitude).unwrap_or(0);
            short(&format!("{x:.decimals$}"))
        }
        _ => format!("{}e{exponent}", short(fraction)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_as_people_write_them() {
        for (x, text) in [
            (0.0012000000000000001, "0.0012"),
            (0.1 + 0.2, "0.3"),
            (f64::from(0.001f32), "0.001"),
            (f64::from(2e-5f32), "2e-5"),
            (0.00075, "0.00075"),
            (0.000099999999, "0.0001"),
            (9.99999999e-5, "0.0001"),
            (1.0 / 3.0, "0.333333"),
            (3e-5, "3e-5"),
            (1.25e-7, "1.25e-7"),
            (-0.05, "-0.05"),
            (0.0, "0"),
            (1.0, "1"),
            (100.0, "100"),
            (999_999.96, "1000000"),
            (123_456_789.0, "123456789"),
            (2e12, "2e12"),
            (f64::INFINITY, "inf"),
        ] {
            assert_eq!(number(x), text, "{x:?}");
        }
        assert_eq!(significant(12345.678, 4), "12346");
        assert_eq!(significant(9.9996e-5, 4), "0.0001");
    }
}
