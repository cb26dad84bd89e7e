//! The threshold chooser: a table and a chart, with a slider if scripts run.

use super::Section;
use crate::{
    data::{Mark, ReportData, ThresholdCurve},
    html::{Align, Clip, Table, figure, put},
    number,
    svg::{
        NARROW, decimate,
        line::{Line, LineChart},
    },
};

/// The maximum number of thresholds of the slider.
const STEPS: usize = 400;

/// The confusion counts at one threshold.
#[derive(Clone, Copy)]
struct At {
    threshold: f64,
    tp: u64,
    fp: u64,
    fn_: u64,
    tn: u64,
}

impl At {
    fn precision(self) -> f64 {
        self.tp as f64 / (self.tp as f64 + self.fp as f64)
    }

    fn recall(self) -> f64 {
        self.tp as f64 / (self.tp as f64 + self.fn_ as f64)
    }

    fn f1(self) -> f64 {
        2.0 * self.tp as f64 / (2.0 * self.tp as f64 + self.fp as f64 + self.fn_ as f64)
    }
}

pub(super) fn section(data: &ReportData) -> Option<Section> {
    let t = data.classification.as_ref()?.threshold.as_ref()?;
    let points = points(t);
    let mut lead = String::from("The minimum probability of positive predictions");
    if let Some(chosen) = t.chosen {
        put!(&mut lead, "; in use: <b>{}</b>", number::significant(chosen, 3));
    }
    if !t.aim.is_empty() {
        put!(&mut lead, " ({})", Clip(&t.aim, 100));
    }
    if !t.split.is_empty() {
        put!(&mut lead, ". Counted on <b>{}</b>", Clip(&t.split, 60));
    }
    lead.push('.');
    if points.is_empty() {
        let body = crate::html::no_data("no threshold was tried");
        return Some(Section { id: "threshold", title: "Threshold", lead, body });
    }
    let body = format!(
        "<div class=\"grid two threshold\">{}{}</div>\n{}{}",
        figure("", "Scores at each threshold", &chart(t, &points), ""),
        chooser(t, &points),
        table(t, &points),
        json(t, &points)
    );
    Some(Section { id: "threshold", title: "Threshold", lead, body })
}

/// The counts up to the length of the shortest vector, thinned, without NaN thresholds.
fn points(t: &ThresholdCurve) -> Vec<At> {
    let n = [
        t.thresholds.len(),
        t.true_positive.len(),
        t.false_positive.len(),
        t.false_negative.len(),
        t.true_negative.len(),
    ];
    let n = n.into_iter().min().unwrap_or(0);
    let mut kept = decimate::spread(n, STEPS - 2);
    // Thinning keeps both ends and the threshold in use.
    kept.extend(n.checked_sub(1));
    kept.extend((0..n).find(|&i| Some(t.thresholds[i]) == t.chosen));
    kept.sort_unstable();
    kept.dedup();
    let at = |i: usize| At {
        threshold: t.thresholds[i],
        tp: t.true_positive[i],
        fp: t.false_positive[i],
        fn_: t.false_negative[i],
        tn: t.true_negative[i],
    };
    kept.into_iter().map(at).filter(|p| p.threshold.is_finite()).collect()
}

fn chart(t: &ThresholdCurve, points: &[At]) -> String {
    let x: Vec<f64> = points.iter().map(|p| p.threshold).collect();
    let [precision, recall, f1] = [At::precision, At::recall, At::f1]
        .map(|f| points.iter().map(|p| f(*p)).collect::<Vec<f64>>());
    let marks: Vec<Mark> = t
        .chosen
        .iter()
        .map(|&x| Mark { x, label: format!("in use {}", number::significant(x, 2)) })
        .collect();
    let line = |name, colour, y| Line { name, colour, x: &x, y, dots: false };
    LineChart {
        label: "Precision, recall and F1 at each threshold",
        x_label: "threshold (probability of the positive class)",
        lines: vec![
            line("precision", 1, &precision),
            line("recall", 2, &recall),
            line("F1", 3, &f1),
        ],
        x_range: Some((0.0, 1.0)),
        y_range: Some((0.0, 1.0)),
        marks: &marks,
        ..LineChart::default()
    }
    .draw(NARROW, 300.0)
}

/// The interactive part, hidden until the script shows it.
fn chooser(t: &ThresholdCurve, points: &[At]) -> String {
    let start = nearest(points, t.chosen.unwrap_or(0.5));
    let (fp, fn_) = (t.false_positive_cost.unwrap_or(1.0), t.false_negative_cost.unwrap_or(1.0));
    format!(
        "<div id=\"chooser\" class=\"chooser\" hidden><label class=\"slide\">Threshold <output \
         id=\"t-value\"></output><input type=\"range\" id=\"t-range\" min=\"0\" max=\"{}\" \
         value=\"{start}\" step=\"1\"></label><div class=\"tiles\" \
         aria-live=\"polite\"><div><span>precision</span><b \
         id=\"t-precision\"></b></div><div><span>recall</span><b \
         id=\"t-recall\"></b></div><div><span>F1</span><b \
         id=\"t-f1\"></b></div><div><span>accuracy</span><b \
         id=\"t-accuracy\"></b></div><div><span>false alarms</span><b \
         id=\"t-fp\"></b></div><div><span>missed</span><b \
         id=\"t-fn\"></b></div><div><span>flagged</span><b \
         id=\"t-flagged\"></b></div><div><span>cost</span><b id=\"t-cost\"></b></div></div><p \
         class=\"costs\"><label>Cost of a false alarm <input type=\"number\" id=\"t-cfp\" \
         min=\"0\" step=\"any\" value=\"{fp}\"></label> <label>Cost of a miss <input \
         type=\"number\" id=\"t-cfn\" min=\"0\" step=\"any\" value=\"{fn_}\"></label> <button \
         type=\"button\" id=\"t-best\">Lowest cost</button> <button type=\"button\" \
         id=\"t-bestf1\">Best F1</button></p></div>\n",
        points.len() - 1
    )
}

/// The scores at round thresholds and at the one in use, for readers without scripts.
fn table(t: &ThresholdCurve, points: &[At]) -> String {
    let mut rows: Vec<usize> = (1..10).map(|i| nearest(points, f64::from(i) / 10.0)).collect();
    let chosen = t.chosen.map(|c| nearest(points, c));
    rows.extend(chosen);
    rows.sort_unstable();
    rows.dedup();
    let heads = [
        ("threshold", Align::Text),
        ("precision ↑", Align::Number),
        ("recall ↑", Align::Number),
        ("F1 ↑", Align::Number),
        ("false alarms", Align::Number),
        ("missed", Align::Number),
    ];
    let mut table = Table::new("Scores at some thresholds", &heads);
    for i in rows {
        let p = points[i];
        let kind = if Some(i) == chosen { "mean" } else { "" };
        table.row(
            kind,
            &[
                number::significant(p.threshold, 2),
                number::score(p.precision()),
                number::score(p.recall()),
                number::score(p.f1()),
                number::count(p.fp),
                number::count(p.fn_),
            ],
        );
    }
    table.end(1, 1, "")
}

fn nearest(points: &[At], threshold: f64) -> usize {
    let far = |p: &At| (p.threshold - threshold).abs();
    (0..points.len()).min_by(|&a, &b| far(&points[a]).total_cmp(&far(&points[b]))).unwrap_or(0)
}

/// The counts for the script: only numbers, which cannot end the element.
fn json(t: &ThresholdCurve, points: &[At]) -> String {
    let list = |f: &dyn Fn(&At) -> String| points.iter().map(f).collect::<Vec<_>>().join(",");
    let chosen = t.chosen.filter(|c| c.is_finite()).map_or("null".into(), |c| c.to_string());
    format!(
        "<script type=\"application/json\" \
         id=\"threshold-data\">{{\"t\":[{}],\"tp\":[{}],\"fp\":[{}],\"fn\":[{}],\"tn\":[{}],\"chosen\":{chosen}}}</script>\n",
        list(&|p| format!("{:.6}", p.threshold)),
        list(&|p| p.tp.to_string()),
        list(&|p| p.fp.to_string()),
        list(&|p| p.fn_.to_string()),
        list(&|p| p.tn.to_string())
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thinning_keeps_the_ends_and_the_threshold_in_use() {
        let n = 10_001;
        let t = ThresholdCurve {
            thresholds: (0..n).map(|i| f64::from(i) / 10_000.0).collect(),
            true_positive: vec![1; n as usize],
            false_positive: vec![1; n as usize],
            false_negative: vec![1; n as usize],
            true_negative: vec![1; n as usize],
            chosen: Some(0.3337),
            ..ThresholdCurve::default()
        };
        let points = points(&t);
        assert!(points.len() <= STEPS);
        assert_eq!((points[0].threshold, points[points.len() - 1].threshold), (0.0, 1.0));
        assert!(points.iter().any(|p| p.threshold == 0.3337));
    }

    #[test]
    fn scores_follow_from_the_counts() {
        let p = At { threshold: 0.5, tp: 30, fp: 10, fn_: 20, tn: 40 };
        assert_eq!((p.precision(), p.recall()), (0.75, 0.6));
        assert!((p.f1() - 2.0 * 0.75 * 0.6 / 1.35).abs() < 1e-12);
    }
}
