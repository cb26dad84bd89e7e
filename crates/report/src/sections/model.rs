//! The layers of the network.

use super::Section;
use crate::{
    data::{Layer, ReportData},
    html::{Align, Clip, Table},
    number,
};

const LAYERS: usize = 200;

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let model = data.model.as_ref()?;
    let sum = |f: fn(&Layer) -> u64| model.layers.iter().fold(0u64, |a, l| a.saturating_add(f(l)));
    let total = sum(|l| l.parameters);
    let frozen = sum(|l| if l.frozen { l.parameters } else { 0 });
    let flop = sum(|l| l.flop);
    let shaped = model.layers.iter().any(|layer| !layer.shape.is_empty());
    let mut heads = vec![("layer", Align::Text), ("kind", Align::Text)];
    if shaped {
        heads.push(("shape", Align::Text));
    }
    heads.push(("parameters", Align::Number));
    if flop > 0 {
        heads.push(("FLOP a step", Align::Number));
    }
    let mut table = Table::new("Layers", &heads);
    for layer in model.layers.iter().take(LAYERS) {
        let width = if total > 0 { 100.0 * layer.parameters as f64 / total as f64 } else { 0.0 };
        let frozen = if layer.frozen { " <span class=\"chip info\">frozen</span>" } else { "" };
        let mut cells = vec![
            format!("<span class=\"name\">{}</span>", Clip(&layer.name, 100)),
            format!("{}{frozen}", Clip(&layer.kind, 80)),
        ];
        if shaped {
            cells.push(format!("<code>{}</code>", Clip(&layer.shape, 60)));
        }
        cells.push(match layer.parameters {
            0 => "<span class=\"muted\">0</span>".into(),
            n => format!(
                "<span class=\"meter\" style=\"--v:{width:.1}%\">{}</span>",
                number::count(n)
            ),
        });
        if flop > 0 {
            cells.push(number::prefixed(layer.flop as f64, ""));
        }
        table.row("", &cells);
    }
    if model.layers.len() > 1 {
        let mut cells = vec!["total".into(), String::new()];
        if shaped {
            cells.push(String::new());
        }
        cells.push(number::count(total));
        if flop > 0 {
            cells.push(number::prefixed(flop as f64, ""));
        }
        table.row("mean", &cells);
    }
    let mut lead = Clip(&model.summary, 300).to_string();
    if frozen > 0 {
        let trained = total.saturating_sub(frozen);
        lead = format!(
            "{lead} · {} of {} parameters are trained ({})",
            number::count(trained),
            number::count(total),
            number::percent(trained as f64, total as f64)
        );
    }
    let body = if model.layers.is_empty() {
        String::new()
    } else {
        table.end(model.layers.len().min(LAYERS), model.layers.len(), "layers")
    };
    Some(Section { id: "layers", title: "Layers", lead, body })
}
