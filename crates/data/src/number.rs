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

pub(crate) const POWERS: [f64; 23] = [
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

/// A number that was found in front of other bytes: ± digits / 10^decimals.
pub(crate) struct Scanned {
    pub(crate) negative: bool,
    /// Below 10¹⁵, so exact in a double.
    pub(crate) digits: u64,
    pub(crate) decimals: i32,
    /// The index of the byte behind it.
    pub(crate) end: usize,
}

/// Sixteen bytes at a time: a byte each of these.
const ZEROS: u128 = u128::from_le_bytes([b'0'; 16]);
const LOW: u128 = u128::from_le_bytes([0x7f; 16]);
const HIGH: u128 = u128::from_le_bytes([0x80; 16]);
const ABOVE_NINE: u128 = u128::from_le_bytes([0x76; 16]);

/// Reads a number of at most 15 characters that starts at `at` and is written plainly: digits, a point, an exponent; no
/// code such as `007`. `None` says nothing but that [`parse_number`] has to look.
///
/// All characters are looked at together, as the digits of one wide integer, because a loop over them costs a mistaken
/// branch a number (Lemire, *Number parsing at a gigabyte per second*, 2021).
#[inline]
pub(crate) fn scan(bytes: &[u8], at: usize) -> Option<Scanned> {
    let negative = *bytes.get(at)? == b'-';
    let start = at + usize::from(negative);
    let text = u128::from_le_bytes(bytes.get(start..start + 16)?.try_into().ok()?);
    let values = text ^ ZEROS;
    // The high bit of every byte that is no digit.
    let others = (((values & LOW) + ABOVE_NINE) | values) & HIGH;
    let whole = others.trailing_zeros() / 8;
    if whole == 0 || whole == 16 || (whole > 1 && values & 0xff == 0) {
        return None;
    }
    let below = |bytes: u32| (1u128 << (8 * bytes)) - 1;
    let (mut digits, mut count, mut fraction, mut length) =
        (values & below(whole), whole, 0, whole);
    if (text >> (8 * whole)) as u8 == b'.' {
        let after = others & (others - 1);
        if after == 0 {
            return None;
        }
        length = after.trailing_zeros() / 8;
        fraction = length - whole - 1;
        count = whole + fraction;
        digits |= (values >> (8 * whole) >> 8 & below(fraction)) << (8 * whole);
    }
    // The last digit comes to lie in the last byte, zeros before the first.
    let aligned = digits << (8 * (16 - count));
    let digits = eight(aligned as u64) * 100_000_000 + eight((aligned >> 64) as u64);
    let end = start + length as usize;
    let found = Scanned { negative, digits, decimals: fraction as i32, end };
    if (text >> (8 * length)) as u8 | 0x20 == b'e' { exponent(bytes, found) } else { Some(found) }
}

/// The number that eight digits make, the first in the lowest byte: pairs, then fours, then all.
#[inline]
fn eight(digits: u64) -> u64 {
    let pairs = digits.wrapping_mul(2561) >> 8 & 0x00ff_00ff_00ff_00ff;
    let fours = pairs.wrapping_mul(6_553_601) >> 16 & 0x0000_ffff_0000_ffff;
    fours.wrapping_mul(42_949_672_960_001) >> 32
}

/// Reads the exponent at the number's end.
fn exponent(bytes: &[u8], mut found: Scanned) -> Option<Scanned> {
    let mut at = found.end + 1;
    let sign = *bytes.get(at)?;
    at += usize::from(matches!(sign, b'-' | b'+'));
    let digit = |at: usize| bytes.get(at).map(|b| b.wrapping_sub(b'0')).filter(|d| *d < 10);
    let mut exponent = i32::from(digit(at)?);
    at += 1;
    if let Some(second) = digit(at) {
        exponent = 10 * exponent + i32::from(second);
        at += 1;
    }
    found.decimals += if sign == b'-' { exponent } else { -exponent };
    found.end = at;
    Some(found)
}

impl Scanned {
    /// The nearest double; `None` where one operation does not give it.
    #[inline]
    pub(crate) fn value(&self) -> Option<f64> {
        let power = *POWERS.get(self.decimals.unsigned_abs() as usize)?;
        let digits = self.digits as f64;
        let value = if self.decimals < 0 { digits * power } else { digits / power };
        Some(if self.negative { -value } else { value })
    }
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
        fn what_is_scanned_is_what_is_parsed(
            text in "[-+]?[0-9]{0,9}(\\.[0-9]{0,8})?([eE][-+]?[0-9]{0,3})?", rest in "[,\n][0-9,.e]{20}",
        ) {
            let bytes = [text.as_bytes(), rest.as_bytes()].concat();
            if let Some(found) = scan(&bytes, 0).filter(|found| found.end == text.len()) {
                prop_assert!(!is_code(text.as_bytes()));
                if let Some(value) = found.value() {
                    prop_assert_eq!(Some(value.to_bits()), parse_number(text.as_bytes()).map(f64::to_bits));
                }
            }
        }

        #[test]
        fn plain_numbers_are_scanned(text in "-?(0|[1-9][0-9]{0,6})(\\.[0-9]{1,6})?(e-[0-9]{1,2})?") {
            let bytes = [text.as_bytes(), b",1234567890123456"].concat();
            prop_assert_eq!(scan(&bytes, 0).map(|found| found.end), Some(text.len()));
        }

        #[test]
        fn agrees_on_decimals(text in "[-+]?[0-9]{1,12}(\\.[0-9]{0,8})?(e-?[0-9]{1,2})?") {
            prop_assert_eq!(parse_number(text.as_bytes()), text.parse().ok());
        }
    }
}
