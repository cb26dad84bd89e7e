//! Numbers as text: reading them fast, writing them short.

/// Reads a number, spaces around it allowed; `nan` and `inf` in any case are numbers too.
///
/// Up to 15 significant digits and a power of ten up to 22 are exact in a double, so one division
/// or multiplication gives the nearest one (Clinger, *How to read floating point numbers
/// accurately*, 1990); the standard library reads the rest.
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
    // With at most 16 characters there are at most 15 digits beside a point; 16 without one is left
    // to `long`.
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

/// Eight bytes at a time: a byte each of these.
const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);
const LOW: u64 = u64::from_le_bytes([0x7f; 8]);
const HIGH: u64 = u64::from_le_bytes([0x80; 8]);
const ABOVE_NINE: u64 = u64::from_le_bytes([0x76; 8]);

/// Reads a number of at most 16 characters that starts at `at` and is written plainly: digits, up
/// to seven of them before a point, an exponent; no code such as `007`. `None` says nothing but
/// that [`parse_number`] has to look.
///
/// Eight characters are looked at together, as the bytes of one integer, because a loop over them
/// costs a mistaken branch a number (Lemire, *Number parsing at a gigabyte per second*, 2021).
#[inline]
pub(crate) fn scan(bytes: &[u8], at: usize) -> Option<Scanned> {
    let negative = *bytes.get(at)? == b'-';
    let start = at + usize::from(negative);
    let window = u128::from_le_bytes(*bytes.get(start..)?.first_chunk()?);
    let (text, rest) = (window as u64, (window >> 64) as u64);
    let whole = leading(text ^ ZEROS);
    if whole == 0 || whole == 8 || (whole > 1 && text as u8 == b'0') {
        return None;
    }
    let point = (text >> (8 * whole)) as u8 == b'.';
    let (digits, count);
    if point {
        // The characters behind the point move one place forward.
        let before = (1 << (8 * whole)) - 1;
        let joined = (text & before | text >> 8 & !before) << 8 >> 8 | rest << 56;
        let values = joined ^ ZEROS;
        count = match leading(values) {
            8 => 8 + leading(rest >> 8 ^ ZEROS),
            count => count,
        };
        digits = if count < 8 {
            first(values, count)
        } else {
            const TENS: [u64; 8] = [1, 10, 100, 1_000, 10_000, 100_000, 1_000_000, 10_000_000];
            let more = (count - 8) & 7;
            let low = if more == 0 { 0 } else { first(rest >> 8 ^ ZEROS, more) };
            eight(values) * TENS[more as usize] + low
        };
    } else {
        (digits, count) = (first(text ^ ZEROS, whole), whole);
    }
    let end = start + count as usize + usize::from(point);
    let found = Scanned { negative, digits, decimals: (count - whole) as i32, end };
    if bytes.get(end)? | 0x20 == b'e' { exponent(bytes, found) } else { Some(found) }
}

/// The number of digits that eight characters less `0` begin with.
#[inline]
fn leading(values: u64) -> u32 {
    // The high bit of every byte that is no digit.
    let others = (((values & LOW) + ABOVE_NINE) | values) & HIGH;
    others.trailing_zeros() / 8
}

/// The number that the first `count` digits make, from 1 to 8 of them.
#[inline]
fn first(values: u64, count: u32) -> u64 {
    // The last digit comes to lie in the last byte, zeros before the first.
    eight(values << (64 - 8 * count))
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

/// Whether a text is written as a code and not as a number: a leading zero before another digit, as
/// in `007`.
pub(crate) fn is_code(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    let digits = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    matches!(digits, [b'0', b'0'..=b'9', ..])
}

/// Whether a text is a whole number that a double does not hold, as are most above 2⁵³.
pub(crate) fn is_long(bytes: &[u8]) -> bool {
    let bytes = bytes.trim_ascii();
    bytes.len() > 15 && is_whole(bytes) && whole(bytes).is_none_or(|x| x as f64 as i128 != x)
}

/// Whether a text is a sign and digits.
fn is_whole(bytes: &[u8]) -> bool {
    let digits = bytes.strip_prefix(b"-").or_else(|| bytes.strip_prefix(b"+")).unwrap_or(bytes);
    !digits.is_empty() && digits.iter().all(u8::is_ascii_digit)
}

/// A whole number of at most 128 bits.
fn whole(bytes: &[u8]) -> Option<i128> {
    std::str::from_utf8(bytes).ok()?.parse().ok()
}

/// The one way to write the number that a text is, so that `1` and `1.0` are the same label; whole
/// numbers keep every digit.
pub(crate) fn canonical(text: &str) -> Option<String> {
    let text = text.trim();
    if text.len() > 15 && is_whole(text.as_bytes()) {
        return Some(whole(text.as_bytes()).map_or_else(|| text.to_owned(), |x| x.to_string()));
    }
    let x = parse_number(text.as_bytes())?;
    let whole = x.fract() == 0.0 && (1e15..1e36).contains(&x.abs());
    Some(if whole { (x as i128).to_string() } else { format_number(x) })
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

    #[test]
    fn whole_numbers_keep_their_digits() {
        for (text, label) in [
            ("9007199254740993", "9007199254740993"),
            ("+9007199254740993", "9007199254740993"),
            ("9007199254740992.0", "9007199254740992"),
            ("-18446744073709551615", "-18446744073709551615"),
            ("1e16", "10000000000000000"),
            ("10000000000000000", "10000000000000000"),
            (" 1.0 ", "1"),
            ("0.10", "0.1"),
        ] {
            assert_eq!(canonical(text).as_deref(), Some(label), "{text}");
        }
        assert_eq!(canonical("red"), None);
        assert!(is_long(b"9007199254740993") && is_long(&[b'9'; 60]));
        assert!(
            !is_long(b"9007199254740992") && !is_long(b"123") && !is_long(b"0.12345678901234567")
        );
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
