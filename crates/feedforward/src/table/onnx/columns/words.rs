//! Words as an expression.

use crate::error::{Error, Result};
use regex_syntax::hir::print::Printer;

/// The expression of a word for RE2, which knows no properties of Unicode by name: they are written
/// out as ranges.
///
/// A match is a segment of UAX #29 that has more than white space. Written out in full the rules
/// take more memory than RE2 gives an expression, so that some are missing: marks behind white
/// space or behind an underscore, apostrophes that end a Hebrew word, and a letter that follows
/// Katakana and an underscore.
pub(super) fn expression() -> Result<String> {
    let marks = r"\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}";
    let (letter, hebrew) = (r"\p{WB=ALetter}", r"\p{WB=Hebrew_Letter}");
    let (digit, kana, low) = (r"\p{WB=Numeric}", r"\p{WB=Katakana}", r"\p{WB=ExtendNumLet}");
    let emoji = r"\p{Extended_Pictographic}";
    let both = r"\p{WB=MidNumLet}\p{WB=Single_Quote}";
    // Between two letters, or two digits, of one word: apostrophes, full stops, commas.
    let within_letters = format!(r"\p{{WB=MidLetter}}{both}");
    let within_digits = format!(r"\p{{WB=MidNum}}{both}");
    let words = [
        format!("{letter}(?:[{letter}{marks}]|[{within_letters}]{letter})*"),
        format!(r#"{hebrew}(?:[{hebrew}\x{{591}}-\x{{5C7}}]|[{within_letters}"]{hebrew})*"#),
        format!(r"{digit}(?:[{digit}\x{{FE0F}}\x{{20E3}}]|[{within_digits}]{digit})*"),
        low.to_owned(),
    ]
    .join("|");
    let kana = format!(r"{kana}[{kana}\x{{3099}}\x{{309A}}\x{{FF9E}}\x{{FF9F}}]*");
    // Families and professions: emoji with a joiner between them.
    let skin = r"[\x{FE0F}\x{1F3FB}-\x{1F3FF}]*";
    let emoji = format!(r"{emoji}(?:{skin}\x{{200D}}{emoji})*");
    let flag = r"\p{WB=Regional_Indicator}{1,2}";
    let word = format!(r"(?:(?:{words})+|(?:{kana}|{low})+|{emoji}|{flag}|\S)[{marks}]*");
    let parsed = regex_syntax::parse(&word).map_err(|e| Error::usage(e.to_string()))?;
    let mut written = String::new();
    let printed = Printer::new().print(&parsed, &mut written);
    printed.map_err(|e| Error::usage(e.to_string()))?;
    Ok(written)
}

#[cfg(test)]
mod tests {
    use super::*;
    use unicode_segmentation::UnicodeSegmentation;

    #[test]
    fn words_are_those_of_unicode() {
        let expression = regex::Regex::new(&expression().unwrap()).unwrap();
        let found = |text: &str| -> Vec<String> {
            expression.find_iter(text).map(|word| word.as_str().to_owned()).collect()
        };
        let expected = |text: &str| -> Vec<String> {
            let words = text.split_word_bounds().filter(|word| !word.trim().is_empty());
            words.map(str::to_owned).collect()
        };
        for text in [
            "Don't go! It's 3.50 € (or 1,234.5) at bob@x.org, http://a.b/c?d=e_f",
            "naïve cafe\u{301} Straße ΣΟΦΟΣ Їжак हिन्दी ภาษาไทย 한국어",
            "天气好。東京タワー・ｶﾞｲﾄﾞ ひらがな",
            "צה\"ל שָׁלוֹם",
            "👩‍🚀👍🏽 🇩🇪🇫🇷🇮 1️⃣ ❤️ :-)",
            "a.b 1a2 x:y 5'6 a_b __ --\t\u{3000}\n end",
        ] {
            assert_eq!(found(text), expected(text), "{text}");
        }
        // All strings of up to three characters of these kinds.
        let kinds: Vec<char> = "aé1'.:,;-\"天ア 🇩👍\t".chars().collect();
        for length in 1..=3 {
            for mut at in 0..kinds.len().pow(length) {
                let mut text = String::new();
                for _ in 0..length {
                    text.push(kinds[at % kinds.len()]);
                    at /= kinds.len();
                }
                assert_eq!(found(&text), expected(&text), "{text:?}");
            }
        }
        // Each character within a word and behind a mark. The two tables of Unicode may differ in
        // age.
        let other = (char::MIN..=char::MAX).filter(|c| {
            let text = format!("a{c}b ({c}x");
            !c.is_whitespace() && found(&text) != expected(&text)
        });
        let other = other.count();
        assert!(other < 400, "{other} characters are split in another way");
    }
}
