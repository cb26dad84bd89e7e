//! The text of the page: escaping, clipping, tables, figures.

use std::fmt::{self, Display, Formatter, Write as _};

/// Text escaped for an element or a quoted attribute.
///
/// Control characters, which could cut a page short for some readers, become U+FFFD.
pub(crate) struct Esc<'a>(pub &'a str);

impl Display for Esc<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.0.chars().try_for_each(|c| escape(c, f))
    }
}

/// [`Esc`], clipped after a number of characters with an ellipsis.
pub(crate) struct Clip<'a>(pub &'a str, pub usize);

impl Display for Clip<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let fits = self.0.chars().nth(self.1).is_none();
        let shown = if fits { self.1 } else { self.1.saturating_sub(1) };
        self.0.chars().take(shown).try_for_each(|c| escape(c, f))?;
        if fits { Ok(()) } else { f.write_char('…') }
    }
}

fn escape(c: char, f: &mut Formatter<'_>) -> fmt::Result {
    match c {
        '&' => f.write_str("&amp;"),
        '<' => f.write_str("&lt;"),
        '>' => f.write_str("&gt;"),
        '"' => f.write_str("&quot;"),
        '\'' => f.write_str("&#39;"),
        '\n' | '\t' => f.write_char(c),
        c if c.is_control() || is_noncharacter(c) => f.write_char('\u{fffd}'),
        c => f.write_char(c),
    }
}

/// Code points that HTML and XML parsers reject even if escaped.
fn is_noncharacter(c: char) -> bool {
    matches!(c as u32, 0xfdd0..=0xfdef) || (c as u32 & 0xfffe) == 0xfffe
}

/// Appends formatted text to a page.
macro_rules! put {
    ($out:expr, $($arg:tt)*) => {
        // Writing to a String cannot fail.
        let _ = std::fmt::Write::write_fmt($out, format_args!($($arg)*));
    };
}
pub(crate) use put;

/// The alignment of a table's column.
#[derive(Clone, Copy, PartialEq)]
pub(crate) enum Align {
    Text,
    Number,
}

/// A table under construction, in a scrolling container.
pub(crate) struct Table {
    out: String,
    align: Vec<Align>,
}

impl Table {
    /// A table with its caption (for screen readers only) and its column heads.
    pub(crate) fn new(caption: &str, heads: &[(&str, Align)]) -> Self {
        let mut out = format!(
            "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"{0}\"><table>\
             <caption class=\"sr\">{0}</caption><thead><tr>",
            Clip(caption, 120)
        );
        for (head, align) in heads {
            put!(&mut out, "<th scope=\"col\"{}>{}</th>", class(*align), Clip(head, 60));
        }
        out.push_str("</tr></thead><tbody>\n");
        Self { out, align: heads.iter().map(|h| h.1).collect() }
    }

    /// Adds a row of cells in HTML, the first of which is the row head.
    pub(crate) fn row<S: AsRef<str>>(&mut self, kind: &str, cells: &[S]) {
        self.out.push_str("<tr");
        if !kind.is_empty() {
            put!(&mut self.out, " class=\"{kind}\"");
        }
        self.out.push('>');
        for (i, cell) in cells.iter().enumerate() {
            let class = class(self.align.get(i).copied().unwrap_or(Align::Text));
            let cell = cell.as_ref();
            if i == 0 {
                put!(&mut self.out, "<th scope=\"row\"{class}>{cell}</th>");
            } else {
                put!(&mut self.out, "<td{class}>{cell}</td>");
            }
        }
        self.out.push_str("</tr>\n");
    }

    /// The finished table, with a note on omitted rows.
    pub(crate) fn end(mut self, shown: usize, of: usize, what: &str) -> String {
        self.out.push_str("</tbody></table></div>\n");
        self.out.push_str(&left_out(shown, of, what));
        self.out
    }
}

fn class(align: Align) -> &'static str {
    if align == Align::Number { " class=\"num\"" } else { "" }
}

/// A note on items omitted by a cap, if any.
pub(crate) fn left_out(shown: usize, of: usize, what: &str) -> String {
    if shown >= of {
        return String::new();
    }
    let (shown, of) = (super::number::count(shown as u64), super::number::count(of as u64));
    format!(
        "<p class=\"note\">{shown} of {of} {} are shown, to keep this file small.</p>\n",
        Esc(what)
    )
}

/// A chart with its title and an optional note; `svg` is HTML.
pub(crate) fn figure(kind: &str, title: &str, svg: &str, note: &str) -> String {
    let mut out = format!("<figure class=\"{kind}\"><figcaption>{}</figcaption>", Clip(title, 120));
    out.push_str(svg);
    if !note.is_empty() {
        put!(&mut out, "<p class=\"note\">{}</p>", Clip(note, 400));
    }
    out.push_str("</figure>\n");
    out
}

/// A paragraph in place of a chart that cannot be drawn.
pub(crate) fn no_data(why: &str) -> String {
    format!("<p class=\"empty\">No data: {}.</p>", Esc(why))
}

/// A line of code with room for a copy button, added by the script.
pub(crate) fn code(line: &str) -> String {
    format!("<code class=\"copy\">{}</code>", Clip(line, 1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hostile_text_becomes_harmless() {
        let text = "</td><script>alert('x')</script>\"&\0\u{1b}[0m\u{ffff}";
        assert_eq!(
            Esc(text).to_string(),
            "&lt;/td&gt;&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;&quot;&amp;\
             \u{fffd}\u{fffd}[0m\u{fffd}"
        );
    }

    #[test]
    fn clipping_counts_characters_and_never_splits_an_entity() {
        assert_eq!(Clip("äöü", 3).to_string(), "äöü");
        assert_eq!(Clip("äöüß", 3).to_string(), "äö…");
        assert_eq!(Clip("<<<<", 3).to_string(), "&lt;&lt;…");
        assert_eq!(Clip("", 3).to_string(), "");
    }

    #[test]
    fn a_note_only_where_something_is_left_out() {
        assert_eq!(left_out(3, 3, "rows"), "");
        assert!(left_out(100, 2345, "rows").contains("100 of 2,345 rows"));
    }
}
