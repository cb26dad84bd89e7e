//! Halves of characters in JSON: `\\ud83d` alone stands for nothing.

/// Their replacement.
const REPLACEMENT: &[u8] = br"\ufffd";

/// A line of JSON with U+FFFD in place of each lone surrogate, and the first of these with its byte
/// in the line; `None` if there is none.
pub(super) fn without_surrogates(line: &[u8]) -> Option<(Vec<u8>, usize, u16)> {
    let mut found = None;
    let mut clean = Vec::with_capacity(line.len());
    let mut at = 0;
    while at < line.len() {
        let length = match line[at] {
            b'\\' => match unit(&line[at..]) {
                Some(high @ 0xd800..=0xdbff) => {
                    let low = unit(&line[at + 6..]);
                    if matches!(low, Some(0xdc00..=0xdfff)) {
                        12
                    } else {
                        lone(&mut found, at, high)
                    }
                }
                Some(low @ 0xdc00..=0xdfff) => lone(&mut found, at, low),
                Some(_) => 6,
                // The character behind a backslash is no beginning of an escape.
                None => 2,
            },
            _ => 1,
        };
        if length == 0 {
            clean.extend(REPLACEMENT);
            at += 6;
        } else {
            let end = (at + length).min(line.len());
            clean.extend(&line[at..end]);
            at = end;
        }
    }
    found.map(|(at, unit)| (clean, at, unit))
}

fn lone(found: &mut Option<(usize, u16)>, at: usize, unit: u16) -> usize {
    found.get_or_insert((at, unit));
    0
}

/// The value of an escape `\uXXXX` at the beginning.
fn unit(bytes: &[u8]) -> Option<u16> {
    let digits = bytes.strip_prefix(br"\u")?.get(..4)?;
    let digits = std::str::from_utf8(digits).ok()?;
    u16::from_str_radix(digits, 16).ok().filter(|_| !digits.starts_with('+'))
}

#[cfg(test)]
mod tests {
    use super::without_surrogates;

    #[test]
    fn only_lone_halves_are_replaced() {
        let clean = |line: &str| {
            let (clean, at, unit) = without_surrogates(line.as_bytes())?;
            Some((String::from_utf8(clean).unwrap(), at, unit))
        };
        for whole in [r#"{"a":"\ud83d\ude42 \u00e9"}"#, r#"{"a":"\\ud83d"}"#, r#"{"a":"\"#, "{}"] {
            assert_eq!(clean(whole), None, "{whole}");
        }
        let (text, at, unit) = clean(r#"{"a":"x\ud83dy","b":"\ude42"}"#).unwrap();
        assert_eq!((text.as_str(), at, unit), (r#"{"a":"x\ufffdy","b":"\ufffd"}"#, 7, 0xd83d));
        let (text, ..) = clean(r#""\ud83d\ud83d\ude42\n""#).unwrap();
        assert_eq!(text, r#""\ufffd\ud83d\ude42\n""#);
        assert_eq!(clean(r#""\uD83D\u12"#).unwrap().0, r#""\ufffd\u12"#);
    }
}
