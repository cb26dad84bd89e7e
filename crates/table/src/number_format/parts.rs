//! A number in its dress, taken apart.

/// Currencies that stand before or behind numbers.
const CURRENCIES: [&str; 46] = [
    "$", "€", "£", "¥", "₹", "₽", "₩", "₺", "₫", "₴", "₦", "฿", "₪", "₱", "¢", "US$", "R$", "A$",
    "C$", "NZ$", "HK$", "S$", "USD", "EUR", "GBP", "JPY", "CHF", "CNY", "INR", "BRL", "RUB", "SEK",
    "NOK", "DKK", "PLN", "CZK", "HUF", "TRY", "AUD", "CAD", "NZD", "kr", "Kč", "zł", "Fr.", "Rs.",
];

/// The longest unit.
const LONGEST_UNIT: usize = 12;

/// The parts of a text such as `-$1,234.50`, `(12.0)` or `5,0 kg`.
#[derive(Debug)]
pub(super) struct Parts<'a> {
    negative: bool,
    /// Whether brackets say so.
    pub(super) brackets: bool,
    pub(super) currency: Option<&'a str>,
    pub(super) unit: Option<&'a str>,
    /// Digits and what stands between them.
    pub(super) body: &'a str,
    exponent: Option<(bool, &'a str)>,
}

impl<'a> Parts<'a> {
    /// Takes a text apart; `None` where it is no number in any format.
    pub(super) fn of(text: &'a str) -> Option<Self> {
        let text = text.trim();
        let inner = text.strip_prefix('(').and_then(|text| text.strip_suffix(')'));
        let brackets = inner.is_some();
        let text = inner.unwrap_or(text).trim();
        let first = text.find(|c: char| c.is_ascii_digit())?;
        // A decimal sign may come first, as in `.5`.
        let first = match text[..first].chars().next_back() {
            Some(sign @ ('.' | ',')) if !CURRENCIES.contains(&text[..first].trim()) => {
                first - sign.len_utf8()
            }
            _ => first,
        };
        let (before, rest) = text.split_at(first);
        let (before, negative) = sign(before.trim())?;
        let end = rest.find(|c: char| !is_body(c)).unwrap_or(rest.len());
        let body = rest[..end].trim_end();
        let (mut exponent, mut behind) = (None, rest[body.len()..].trim_start());
        if let Some(found) = exponent_of(&rest[body.len()..]) {
            (exponent, behind) = (Some((found.0, found.1)), found.2.trim_start());
        }
        let trailing = behind == "-" && !negative && !brackets;
        let behind = if trailing { "" } else { behind };
        if brackets && negative {
            return None;
        }
        let mut parts = Self {
            negative: negative || brackets || trailing,
            brackets,
            currency: None,
            unit: None,
            body,
            exponent,
        };
        if !before.is_empty() {
            parts.currency = Some(before).filter(|text| CURRENCIES.contains(text));
            parts.currency?;
        }
        if CURRENCIES.contains(&behind) && parts.currency.is_none() {
            parts.currency = Some(behind);
        } else if !behind.is_empty() {
            parts.unit = Some(behind).filter(|text| is_unit(text));
            parts.unit?;
        }
        Some(parts)
    }

    /// The number as plain text, if it is one with these separators.
    pub(super) fn plain(&self, decimal: char, thousands: char) -> Option<String> {
        let (whole, decimals) = self.body.split_once(decimal).unwrap_or((self.body, ""));
        if !decimals.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let groups: Vec<&str> = whole.split(|c| is_like(c, thousands)).collect();
        let digits = |group: &&str| group.bytes().all(|byte| byte.is_ascii_digit());
        if !groups.iter().all(digits) || (whole.is_empty() && decimals.is_empty()) {
            return None;
        }
        if let [first, between @ .., last] = groups.as_slice() {
            // In India the groups above the last have two digits.
            let pairs =
                thousands == ',' && !between.is_empty() && between.iter().all(|g| g.len() == 2);
            let threes = between.iter().all(|group| group.len() == 3);
            let grouped = (1..=3).contains(&first.len()) && last.len() == 3 && (threes || pairs);
            if groups.len() > 1 && (!grouped || first.starts_with('0')) {
                return None;
            }
        }
        let whole = groups.concat();
        if whole.len() > 1 && whole.starts_with('0') {
            return None;
        }
        let sign = if self.negative { "-" } else { "" };
        let point = if decimals.is_empty() { "" } else { "." };
        let zero = if whole.is_empty() { "0" } else { "" };
        let mut text = format!("{sign}{zero}{whole}{point}{decimals}");
        if let Some((negative, digits)) = self.exponent {
            text.push_str(if negative { "e-" } else { "e" });
            text.push_str(digits);
        }
        Some(text)
    }
}

/// Whether a character of a number is this separator.
pub(super) fn is_like(c: char, separator: char) -> bool {
    match separator {
        ' ' => c.is_whitespace(),
        '\'' => c == '\'' || c == '’',
        _ => c == separator,
    }
}

fn is_body(c: char) -> bool {
    c.is_ascii_digit()
        || matches!(c, '.' | ',' | '\'' | '’' | ' ' | '\u{a0}' | '\u{2009}' | '\u{202f}')
}

/// Takes the sign off what stands before a number, before or behind a currency.
fn sign(before: &str) -> Option<(&str, bool)> {
    let signs = ['-', '+', '\u{2212}'];
    let rest = before.trim_start_matches(signs).trim_end_matches(signs).trim();
    let count = before.chars().filter(|c| signs.contains(c)).count();
    (count <= 1).then(|| (rest, count == 1 && !before.contains('+')))
}

/// The exponent that a text begins with, and what follows.
fn exponent_of(text: &str) -> Option<(bool, &str, &str)> {
    let rest = text.strip_prefix(['e', 'E', 'd', 'D'])?;
    let negative = rest.starts_with(['-', '\u{2212}']);
    let digits = rest.strip_prefix(['-', '+', '\u{2212}']).unwrap_or(rest);
    let end = digits.find(|c: char| !c.is_ascii_digit()).unwrap_or(digits.len());
    (1..=3).contains(&end).then(|| (negative, &digits[..end], &digits[end..]))
}

fn is_unit(text: &str) -> bool {
    let sign = |c: char| c.is_alphabetic() || "%‰°µ/²³·".contains(c);
    text.chars().count() <= LONGEST_UNIT && text.chars().all(sign)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_taken_out_of_their_dress() {
        for (text, decimal, thousands, plain) in [
            ("1,5", ',', '.', Some("1.5")),
            ("1.234,50", ',', '.', Some("1234.50")),
            ("1.234.567", ',', '.', Some("1234567")),
            ("12,34,567.8", '.', ',', Some("1234567.8")),
            ("1'234.5", '.', '\'', Some("1234.5")),
            ("1’234", '.', '\'', Some("1234")),
            ("1 234,5", ',', ' ', Some("1234.5")),
            ("1\u{a0}234", '.', ' ', Some("1234")),
            ("1\u{202f}234", '.', ' ', Some("1234")),
            ("\u{2212}1,5", ',', '.', Some("-1.5")),
            ("(12.0)", '.', ',', Some("-12.0")),
            ("12,5-", ',', '.', Some("-12.5")),
            ("1.2D+03", '.', ',', Some("1.2e03")),
            ("1,5E-03", ',', '.', Some("1.5e-03")),
            ("-$1,234.50", '.', ',', Some("-1234.50")),
            ("$ -5", '.', ',', Some("-5")),
            ("1.234,50 €", ',', '.', Some("1234.50")),
            ("CHF 1'200.00", '.', '\'', Some("1200.00")),
            ("94.4%", '.', ',', Some("94.4")),
            ("5.0 kg", '.', ',', Some("5.0")),
            ("12 km/h", '.', ',', Some("12")),
            (",5", ',', '.', Some("0.5")),
            ("0,123", ',', '.', Some("0.123")),
            ("0,123", '.', ',', None),
            ("1,23", '.', ',', None),
            ("1,2345", '.', ',', None),
            ("1234,567", '.', ',', None),
            ("007", '.', ',', None),
            ("01,5", ',', '.', None),
            ("1.2.3", ',', '.', None),
            ("555 123 4567", '.', ' ', None),
            ("1,2,3", ',', '.', None),
            ("12-13", '.', ',', None),
            ("3/4", '.', ',', None),
            ("Q1", '.', ',', None),
            ("2021-01-05", '.', ',', None),
            ("10:30", '.', ',', None),
            ("(1", '.', ',', None),
            ("$5€", '.', ',', None),
            ("--5", '.', ',', None),
            ("", '.', ',', None),
        ] {
            let found = Parts::of(text).and_then(|parts| parts.plain(decimal, thousands));
            assert_eq!(found.as_deref(), plain, "{text}");
        }
    }
}
