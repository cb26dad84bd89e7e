//! The page around the sections: head, title, contents, script.

use super::{
    data::{Live, ReportData, StatusKind},
    html::{Clip, Esc, put},
    number,
    sections::{self, Section},
    svg::{self, palette},
};

/// The maximum size of a page, in bytes.
const LIMIT: usize = 2_000_000;

/// Renders a report as one self-contained HTML page of less than 2 MB.
///
/// Sections without data are omitted; a page with [`ReportData::live`] reloads itself.
///
/// ```
/// use ff_report::{ReportData, render};
///
/// let page = render(&ReportData { title: "iris <species>".into(), ..ReportData::default() });
/// assert!(page.starts_with("<!doctype html>"));
/// assert!(page.contains("iris &lt;species&gt;"), "text is escaped");
/// assert!(!page.contains("http://") && !page.contains("https://"), "no network");
/// ```
pub fn render(data: &ReportData) -> String {
    let sections = sections::all(data);
    let mut out = head(data);
    out.push_str("<body>\n<a class=\"skip\" href=\"#main\">Skip to the content</a>\n");
    out.push_str("<div class=\"page\">\n");
    out.push_str(&contents(&sections));
    out.push_str("<main id=\"main\">\n");
    out.push_str(&title(data));
    let script = include_str!("script.js");
    let mut left_out = Vec::new();
    for section in &sections {
        // The caps inside sections keep pages far below the limit; this is the last resort.
        if out.len() + section.body.len() + script.len() + 20_000 > LIMIT {
            left_out.push(section.title);
            continue;
        }
        put!(
            &mut out,
            "<section id=\"{0}\" aria-labelledby=\"{0}-title\">\n<h2 id=\"{0}-title\">{1}</h2>\n",
            section.id,
            section.title
        );
        if !section.lead.is_empty() {
            put!(&mut out, "<p class=\"lead\">{}</p>\n", section.lead);
        }
        out.push_str(&section.body);
        out.push_str("</section>\n");
    }
    if !left_out.is_empty() {
        put!(
            &mut out,
            "<p class=\"note\">Omitted to keep this file under 2 MB: {}.</p>\n",
            left_out.join(", ")
        );
    }
    put!(
        &mut out,
        "<footer>Written by feedforward {}{}. This file is complete: it loads nothing.</footer>\n",
        env!("CARGO_PKG_VERSION"),
        if data.created.is_empty() {
            String::new()
        } else {
            format!(", {}", Clip(&data.created, 80))
        }
    );
    put!(&mut out, "</main>\n</div>\n<script>\n{script}</script>\n</body>\n</html>\n");
    out
}

fn head(data: &ReportData) -> String {
    let (light, dark) = (palette::light(), palette::dark());
    let title = if data.title.is_empty() { "Report" } else { &data.title };
    let mut out = String::from("<!doctype html>\n<html lang=\"en\"");
    if let Some(live) = &data.live {
        put!(&mut out, " data-reload=\"{}\"", reload(live));
    }
    out.push_str(
        ">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; \
         style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:\">\n\
         <link rel=\"icon\" href=\"data:,\">\n",
    );
    if let Some(live) = &data.live {
        // With a script, the page reloads itself, and reloading can be paused.
        put!(
            &mut out,
            "<noscript><meta http-equiv=\"refresh\" content=\"{}\"></noscript>\n",
            reload(live)
        );
    }
    put!(&mut out, "<title>{} · feedforward</title>\n<style>\n", Clip(title, 120));
    put!(
        &mut out,
        ":root{{color-scheme:light;{light}--font:{}}}\n@media \
         (prefers-color-scheme:dark){{:root:not([data-theme=light]){{color-scheme:dark;{dark}}}}}\n:root[data-theme=dark]{{color-scheme:dark;{dark}}}\n{}\n{}\n@media \
         print{{:root,:root[data-theme=dark],:root:not([data-theme=light]){{color-scheme:light;{light}}}}}\n",
        palette::FONT,
        include_str!("style.css"),
        svg::STYLE
    );
    // The theme is set before the first paint, so that a reload does not flash.
    out.push_str(
        "</style>\n<script>try{var t=localStorage.getItem('feedforward-theme');\
         if(t)document.documentElement.dataset.theme=t}catch(e){}</script>\n</head>\n",
    );
    out
}

fn contents(sections: &[Section]) -> String {
    let mut out = String::from(
        "<nav class=\"contents\" aria-label=\"Contents\"><a class=\"brand\" href=\"#main\">\
         <span aria-hidden=\"true\"></span>feedforward</a><ol>\n",
    );
    for s in sections {
        put!(&mut out, "<li><a href=\"#{}\">{}</a></li>\n", s.id, s.title);
    }
    out.push_str(
        "</ol><button type=\"button\" class=\"theme\" hidden \
         aria-label=\"Switch between light and dark\">Light / dark</button></nav>\n",
    );
    out
}

fn title(data: &ReportData) -> String {
    let mut out = String::from("<header class=\"title\">\n");
    let title = if data.title.is_empty() { "Report" } else { &data.title };
    put!(&mut out, "<h1>{}</h1>\n", Clip(title, 200));
    if !data.subtitle.is_empty() {
        put!(&mut out, "<p class=\"subtitle\">{}</p>\n", Clip(&data.subtitle, 400));
    }
    let mut facts = Vec::new();
    if let Some(status) = &data.status {
        let (class, sign, word) = match status.kind {
            StatusKind::Running => ("running", "●", "running"),
            StatusKind::Finished => ("good", "✓", "finished"),
            StatusKind::Stopped => ("good", "✓", "stopped"),
            StatusKind::Failed => ("bad", "✗", "failed"),
        };
        let message = if status.message.is_empty() {
            String::new()
        } else {
            format!(" {}", Clip(&status.message, 400))
        };
        facts.push(format!(
            "<span class=\"status\"><b class=\"pill {class}\"><span \
             aria-hidden=\"true\">{sign}</span> {word}</b>{message}</span>"
        ));
    }
    if !data.created.is_empty() {
        facts.push(format!("<span class=\"muted\">{}</span>", Clip(&data.created, 80)));
    }
    if !facts.is_empty() {
        put!(&mut out, "<p class=\"facts\">{}</p>\n", facts.join("\n"));
    }
    if let Some(live) = &data.live {
        out.push_str(&progress(live));
    }
    out.push_str("</header>\n");
    out
}

fn progress(live: &Live) -> String {
    let mut text = vec![];
    if !live.phase.is_empty() {
        text.push(Esc(&live.phase).to_string());
    }
    let unit = if live.unit.is_empty() { "steps" } else { &live.unit };
    if live.total > 0 {
        text.push(format!(
            "{} of {} {} ({})",
            number::count(live.done),
            number::count(live.total),
            Clip(unit, 40),
            number::percent(live.done as f64, live.total as f64)
        ));
    } else if live.done > 0 {
        text.push(format!("{} {}", number::count(live.done), Clip(unit, 40)));
    }
    if let Some(left) = live.seconds_left {
        text.push(format!("{} left", number::seconds(left)));
    }
    let bar = if live.total > 0 {
        let (done, total) = (live.done.min(live.total), live.total);
        format!("<progress value=\"{done}\" max=\"{total}\" aria-label=\"Progress\"></progress>")
    } else {
        String::new()
    };
    format!(
        "<div class=\"live\">{bar}<p><span>{}</span> <span class=\"muted\" id=\"reload\">This page \
         reloads every {} s.</span> <button type=\"button\" id=\"pause\" \
         hidden>Pause</button></p></div>\n",
        text.join(" · "),
        reload(live)
    )
}

fn reload(live: &Live) -> u32 {
    if live.reload_seconds == 0 { 5 } else { live.reload_seconds }
}
