//! Numbers as text: reading them fast, writing them short.

/// Reads a number, spaces around it allowed; `nan` and `inf` in any case are numbers too.
///
/// Up to 15 significant digits and a power of ten up to 22 are exact in a double, so one division or
/// multiplication gives the nearest one (Clinger, *How to read floating point numbers accurately*, 1990); the
/// standard library reads the rest.
#[inline]
pub(crate) fn parse_number(bytes: &[u8]) -> Option<f64> {
    let bytes = bytes.trim_ascii();
    short(bytes).or_else(|| long(bytes))
}

const POWERS: [f64; 23] = [
    1e0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15, 1e16,
    1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
];

#[inline]
fn short(bytes: &[u8]) -> Option<f64> {
    let (negative, digits) = match bytes {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        _ => (false, bytes),
    };
    // With at most 16 characters there are at most 15 digits beside a point; 16 without one is left to `long`.
    if digits.is_empty() || digits.len() > 16 {
        return None;
    }
    let mut mantissa = 0u64;
    let mut point = None;
    for (i, &byte) in digits.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit < 10 {
            mantissa = mantissa * 10 + u64::from(digit);
        } else if byte == b'.' && point.is_none() {
            point = Some(i);
        } else {
            return None;
        }
    }
    let decimals = match point {
        Some(_) if digits.len() == 1 => return None,
        Some(point) => digits.len() - 1 - point,
        None if digits.len() == 16 => return None,
        None => 0,
    };
    let value = mantissa as f64 / POWERS[decimals];
    Some(if negative { -value } else { value })
}

#[cold]
fn long(bytes: &[u8]) -> Option<f64> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// Whether a text is written as a code and not as a number: a leading zero before another digit, as in `007`.
pub(crate) fn is_code(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    let digits = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

/// The shortest text that reads back to the same double: `3`, `0.1`, `1e300`.
pub(crate) fn format_number(x: f64) -> String {
    if x == 0.0 || (1e-5..1e16).contains(&x.abs()) || !x.is_finite() {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

/// The shortest text that reads back to the same single.
pub(crate) fn format_single(x: f32) -> String {
    if x == 0.0 || (1e-5..1e7).contains(&x.abs()) || !x.is_finite() {
        format!("{x}")
    } else {
        format!("{x:e}")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn reads_what_people_write() {
        for (text, value) in [
            ("0", 0.0),
            ("-0", -0.0),
            ("+1.5", 1.5),
            (" 42 ", 42.0),
            (".5", 0.5),
            ("5.", 5.0),
            ("1e-7", 1e-7),
            ("123456789012345.6", 123456789012345.6),
            ("9007199254740993", 9007199254740992.0),
            ("1234567890123456789", 1234567890123456789.0),
            ("inf", f64::INFINITY),
            ("-Infinity", f64::NEG_INFINITY),
        ] {
            let read = parse_number(text.as_bytes()).unwrap();
            assert_eq!(read.to_bits(), f64::to_bits(value), "{text}");
        }
        assert!(parse_number(b"nan").unwrap().is_nan());
        for text in ["", " ", ".", "-", "+", "1,5", "1 2", "0x1", "1.2.3", "12a", "--1", "1e"] {
            assert_eq!(parse_number(text.as_bytes()), None, "{text:?}");
        }
    }

    #[test]
    fn codes_are_told_from_numbers() {
        assert!(is_code(b"007") && is_code(b"00") && is_code(b" 01.5"));
        assert!(!is_code(b"0") && !is_code(b"0.7") && !is_code(b"70") && !is_code(b""));
    }

    proptest! {
        #[test]
        fn agrees_with_the_standard_library(x in proptest::num::f64::ANY) {
            let text = format!("{x}");
            let read = parse_number(text.as_bytes()).unwrap();
            prop_assert!(read.to_bits() == x.to_bits() || x.is_nan());
            let read = parse_number(format_number(x).as_bytes()).unwrap();
            prop_assert!(read.to_bits() == x.to_bits() || x.is_nan());
        }

        #[test]
        fn agrees_on_decimals(text in "[-+]?[0-9]{1,12}(\\.[0-9]{0,8})?(e-?[0-9]{1,2})?") {
            prop_assert_eq!(parse_number(text.as_bytes()), text.parse().ok());
        }
    }
}
