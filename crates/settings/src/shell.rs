/// A word quoted for a POSIX shell: bare if possible; control characters in the `$'…'` of bash and
/// zsh.
///
/// ```
/// use ff_settings::shell_word;
/// assert_eq!(shell_word("runs/digits-1"), "runs/digits-1");
/// assert_eq!(shell_word("it's"), r"'it'\''s'");
/// assert_eq!(shell_word("it's\n\u{1b}"), r"$'it\'s\n\x1b'");
/// ```
pub fn shell_word(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "-_./=:,@%+".contains(c);
    if word.chars().any(char::is_control) {
        let escaped: String = word.chars().map(escape).collect();
        format!("$'{escaped}'")
    } else if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

fn escape(c: char) -> String {
    match c {
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        '\'' | '\\' => format!("\\{c}"),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c if c.is_control() => format!("\\u{:04x}", u32::from(c)),
        c => c.into(),
    }
}
