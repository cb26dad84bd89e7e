//! E-mail addresses, phone numbers and card numbers, masked.

use std::ops::Range;

use crate::config::CleanConfig;

/// Masks personal data and counts it by kind.
pub(super) fn mask(config: &CleanConfig, text: &mut String) -> Vec<(&'static str, u64)> {
    let mut masked = Vec::new();
    let kinds: [(bool, &'static str, &'static str, Finder); 3] = [
        (config.mask_emails, "email", "<email>", email),
        (config.mask_cards, "card", "<card>", card),
        (config.mask_phones, "phone", "<phone>", phone),
    ];
    for (wanted, name, mark, find) in kinds {
        if !wanted {
            continue;
        }
        let count = replace(text, mark, find);
        if count > 0 {
            masked.push((name, count));
        }
    }
    masked
}

/// What begins at a place or, for an address, has its `@` there; nothing before `from` belongs to
/// it.
type Finder = fn(bytes: &[u8], at: usize, from: usize) -> Option<Range<usize>>;

fn replace(text: &mut String, mark: &str, find: Finder) -> u64 {
    let bytes = text.as_bytes();
    let (mut count, mut from, mut at) = (0, 0, 0);
    let mut new = String::new();
    while at < bytes.len() {
        match find(bytes, at, from) {
            Some(found) => {
                new.push_str(&text[from..found.start]);
                new.push_str(mark);
                (count, from, at) = (count + 1, found.end, found.end);
            }
            None => at += 1,
        }
    }
    if count > 0 {
        new.push_str(&text[from..]);
        *text = new;
    }
    count
}

/// `name@host.tld`, around the `@` at a place.
fn email(bytes: &[u8], at: usize, from: usize) -> Option<Range<usize>> {
    if bytes[at] != b'@' {
        return None;
    }
    let local = |byte: u8| byte.is_ascii_alphanumeric() || b"._%+-".contains(&byte);
    let mut start = at;
    while start > from && local(bytes[start - 1]) {
        start -= 1;
    }
    while start < at && bytes[start] == b'.' {
        start += 1;
    }
    let host = |byte: &u8| byte.is_ascii_alphanumeric() || b".-".contains(byte);
    let length = bytes[at + 1..].iter().take_while(|byte| host(byte)).count();
    let name = std::str::from_utf8(&bytes[at + 1..at + 1 + length]).ok()?;
    let name = name.trim_end_matches(['.', '-']);
    let (before, top) = name.rsplit_once('.')?;
    let whole =
        start < at && !before.is_empty() && !name.contains("..") && !name.starts_with(['.', '-']);
    let top = top.len() >= 2 && top.bytes().all(|byte| byte.is_ascii_alphabetic());
    (whole && top).then_some(start..at + 1 + name.len())
}

/// Groups of digits that begin at a place, one separator or two between them.
struct Groups {
    end: usize,
    digits: Vec<u8>,
    lengths: Vec<usize>,
}

/// Reads groups of digits, at most so many digits, divided by some separators.
fn groups(bytes: &[u8], at: usize, separators: &[u8], most: usize) -> Option<Groups> {
    let mut groups = Groups { end: at, digits: Vec::new(), lengths: Vec::new() };
    let mut place = at;
    loop {
        let run = bytes[place..].iter().take_while(|byte| byte.is_ascii_digit()).count();
        if run == 0 || groups.digits.len() + run > most {
            break;
        }
        groups.digits.extend(bytes[place..place + run].iter().map(|byte| byte - b'0'));
        groups.lengths.push(run);
        groups.end = place + run;
        place = groups.end;
        let gap =
            bytes[place..].iter().take(2).take_while(|byte| separators.contains(byte)).count();
        if gap == 0 {
            break;
        }
        place += gap;
    }
    (!groups.digits.is_empty()).then_some(groups)
}

/// Whether a number could not begin at a place: within a word or a longer number.
fn within(bytes: &[u8], at: usize) -> bool {
    let before = at.checked_sub(1).map(|before| bytes[before]);
    before.is_some_and(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80)
}

fn goes_on(bytes: &[u8], end: usize) -> bool {
    bytes.get(end).is_some_and(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// 13 to 19 digits, in one or in groups of four or more, that pass Luhn's check and begin as cards
/// do.
fn card(bytes: &[u8], at: usize, _: usize) -> Option<Range<usize>> {
    if !matches!(bytes[at], b'2'..=b'6') || within(bytes, at) {
        return None;
    }
    let groups = groups(bytes, at, b" -", 19)?;
    let count = groups.digits.len();
    let grouped = groups.lengths[..groups.lengths.len() - 1].iter().all(|&length| length >= 4);
    let whole = (13..=19).contains(&count) && grouped && !goes_on(bytes, groups.end);
    (whole && luhn(&groups.digits)).then_some(at..groups.end)
}

/// Whether digits, every second one from the last doubled, add up to a multiple of ten.
fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(i, &digit)| match (i % 2, digit) {
            (0, digit) => u32::from(digit),
            (_, digit) if digit > 4 => u32::from(digit) * 2 - 9,
            (_, digit) => u32::from(digit) * 2,
        })
        .sum();
    sum.is_multiple_of(10)
}

/// `+` with a country's code; ten digits as 3-3-4, with or without a leading 1; or groups whose
/// first begins with a 0.
fn phone(bytes: &[u8], at: usize, _: usize) -> Option<Range<usize>> {
    let first = bytes[at];
    if !(first.is_ascii_digit() || matches!(first, b'+' | b'(')) || within(bytes, at) {
        return None;
    }
    let from = at + bytes[at..].iter().take(2).take_while(|byte| b"+(".contains(byte)).count();
    let groups = groups(bytes, from, b" -./()", 15)?;
    if goes_on(bytes, groups.end) {
        return None;
    }
    let count = groups.digits.len();
    let likely = match (first, groups.lengths.as_slice()) {
        (b'+', _) => (8..=15).contains(&count),
        (_, [3, 3, 4] | [1, 3, 3, 4]) => true,
        (b'(', _) => {
            from > at && (9..=12).contains(&count) && bytes[from..groups.end].contains(&b')')
        }
        (b'0', lengths) => lengths.len() > 1 && lengths[0] > 2 && (9..=12).contains(&count),
        _ => false,
    };
    likely.then_some(at..groups.end)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn masked(text: &str) -> String {
        let config = CleanConfig {
            mask_emails: true,
            mask_phones: true,
            mask_cards: true,
            ..CleanConfig::default()
        };
        let mut text = text.to_owned();
        mask(&config, &mut text);
        text
    }

    #[test]
    fn personal_data_is_masked() {
        for (text, wanted) in [
            ("write to Ann.Lee+x@mail.example.org.", "write to <email>."),
            ("a@b.co,c@d.io", "<email>,<email>"),
            ("ü.a@b.de", "ü.<email>"),
            ("card 4111 1111 1111 1111!", "card <card>!"),
            ("5500-0000-0000-0004 or 340000000000009", "<card> or <card>"),
            ("call +49 (0)30 901820 now", "call <phone> now"),
            ("(555) 123-4567, 555-123-4567, 1 555.123.4567", "<phone>, <phone>, <phone>"),
            ("tel 030 12345678 / 020 7946 0958", "tel <phone> / <phone>"),
            ("(030) 9018 20123", "<phone>"),
        ] {
            assert_eq!(masked(text), wanted);
        }
    }

    #[test]
    fn what_is_no_personal_data_stays() {
        for text in [
            "@home a@b a@b. @x.org a@.org a@b..org it@s",
            "4111 1111 1111 1112",
            "x4111111111111111 41111111111111111111111",
            "2026-11-25 10:30, 01-02-2026, 1,234,567,890",
            "12345678 and 1234567890 and 192.168.100.200",
            "pages 100-200, 3.14159265358979, 0.123456789",
            "id_0301234567 +1 5",
            "",
        ] {
            assert_eq!(masked(text), text);
        }
    }

    #[test]
    fn masks_are_counted_where_they_are_asked_for() {
        let config = CleanConfig { mask_emails: true, ..CleanConfig::default() };
        let mut text = "a@b.org +49 30 901820 c@d.org".to_owned();
        assert_eq!(mask(&config, &mut text), [("email", 2)]);
        assert_eq!(text, "<email> +49 30 901820 <email>");
    }
}
