//! The page as a whole: complete even without data, well-formed, escaped, small.

use super::*;

/// Checks that every element is closed, in order, and that attributes are quoted.
///
/// A small parser of the report's HTML, not of HTML in general: it knows void elements and
/// self-closing SVG elements, and skips scripts and styles.
fn well_formed(html: &str) {
    const VOID: [&str; 6] = ["meta", "link", "br", "input", "!doctype", "img"];
    let mut open: Vec<&str> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        assert!(
            !rest[..at].contains('>'),
            "a bare > before {:?}",
            &rest[at..rest.len().min(at + 60)]
        );
        rest = &rest[at + 1..];
        let mut quoted = false;
        let end = rest.find(|c| {
            quoted ^= c == '"';
            c == '>' && !quoted
        });
        let end = end.unwrap_or_else(|| panic!("unclosed tag: {:?}", rest.get(..60)));
        let tag = &rest[..end];
        rest = &rest[end + 1..];
        assert!(!tag.contains('<'), "a tag inside a tag: {tag:?}");
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop(), Some(name), "closing, inside {open:?}");
            continue;
        }
        let name = tag.split([' ', '\n']).next().unwrap();
        let mut quoted = false;
        for pair in tag.as_bytes().windows(2) {
            quoted ^= pair[0] == b'"';
            assert!(quoted || pair[0] != b'=' || pair[1] == b'"', "unquoted: {tag:?}");
        }
        if VOID.contains(&name) || tag.ends_with('/') {
            continue;
        }
        if name == "script" || name == "style" {
            let close = format!("</{name}>");
            rest = &rest[rest.find(&close).expect("closed") + close.len()..];
            continue;
        }
        open.push(name);
    }
    assert!(open.is_empty(), "left open: {open:?}");
}

const HOSTILE: &str = "</td></table><script>alert(1)</script>\"' onload=x &amp; \u{202e}\u{0}";

/// A report with content of the given sizes in every section.
fn full(rows: usize, text: &str) -> ReportData {
    let x: Vec<f64> = (0..rows).map(|i| i as f64).collect();
    let y: Vec<f64> = x.iter().map(|x| (x * 0.01).sin() + 2.0).collect();
    let unit: Vec<f64> = x.iter().map(|x| x / rows.max(1) as f64).collect();
    let t = || text.to_string();
    let many = |n: usize| rows.min(n);
    let classes: Vec<String> = (0..many(300)).map(|i| format!("{text}{i}")).collect();
    let numeric =
        Distribution::Numeric { edges: x.clone(), counts: vec![3; rows.saturating_sub(1)] };
    let alert = Alert::new(Level::Warning, text, text);
    ReportData {
        title: t(),
        subtitle: t(),
        created: t(),
        status: Some(Status { kind: StatusKind::Failed, message: t() }),
        live: Some(Live { phase: t(), unit: t(), done: 3, total: 2, ..Live::default() }),
        verdict: Some(Verdict {
            split: t(),
            rows: 5,
            unit: t(),
            baseline: t(),
            interval: t(),
            scores: vec![Score::new(text, 0.8, true).interval(0.7, 0.9).baseline(0.5); many(1000)],
            sentence: String::new(),
            caveats: vec![t(); many(1000)],
        }),
        tuning: Some(Tuning {
            monitor: t(),
            epochs: 3,
            settings: vec![
                TunedSetting {
                    key: t(),
                    share: 0.5,
                    range: true,
                    log: true,
                    values: vec![t(); rows],
                    results: y.clone(),
                };
                many(100)
            ],
            trials: vec![TunedTrial { number: 1, settings: t(), epochs: 3, value: f64::NAN }; rows],
        }),
        decisions: vec![
            Decision { kind: DecisionKind::Dropped, what: t(), why: t(), undo: t() };
            many(20_000)
        ],
        data: Some(Data {
            source: t(),
            rows_read: 10,
            rows_used: 9,
            dropped: vec![Tally::new(text, 1); many(1000)],
            columns: vec![
                Column {
                    name: t(),
                    kind: t(),
                    range: t(),
                    role: t(),
                    alerts: vec![alert.clone(); 9],
                    distribution: Distribution::Categories(vec![Tally::new(text, 4); 15]),
                    ..Column::default()
                };
                many(3000)
            ],
            checks: vec![alert.clone(); many(1000)],
        }),
        split: Some(Split {
            method: t(),
            parts: vec![
                SplitPart {
                    name: t(),
                    rows: 3,
                    classes: vec![1; 300],
                    target: numeric.clone()
                };
                many(300)
            ],
            classes: classes.clone(),
            checks: vec![alert; many(1000)],
        }),
        text: Some(TextData {
            facts: vec![Fact::new(text, text); many(1000)],
            findings: vec![t(); many(1000)],
            length_edges: x.clone(),
            length_counts: vec![1; rows],
            example: vec![Token { text: t(), trained: true }; rows],
        }),
        curves: Some(Curves {
            panels: vec![
                Panel::new(text, text, text).with(Series::new(text, x.clone(), y.clone()));
                many(30)
            ],
            marks: vec![Mark { x: 3.0, label: t() }; many(1000)],
            note: t(),
        }),
        samples: vec![Sample { when: t(), prompt: t(), text: t() }; many(5000)],
        classification: Some(Classification {
            split: t(),
            confusion: vec![vec![2; classes.len()]; classes.len()],
            per_class: vec![
                ClassScores { name: t(), f1: f64::NAN, ..ClassScores::default() };
                many(5000)
            ],
            means: vec![ClassScores { name: t(), ..ClassScores::default() }; 2],
            roc: vec![
                RateCurve {
                    name: t(),
                    x: unit.clone(),
                    y: unit.clone(),
                    area: Some(0.5),
                    chance: None
                };
                many(20)
            ],
            precision_recall: vec![
                RateCurve {
                    name: t(),
                    x: unit.clone(),
                    y: unit.clone(),
                    area: None,
                    chance: Some(0.1)
                };
                many(20)
            ],
            calibration: Some(Calibration {
                of: t(),
                bins: vec![
                    CalibrationBin {
                        predicted: 0.4,
                        observed: 0.5,
                        low: Some(0.4),
                        high: Some(0.6),
                        count: 3
                    };
                    many(5000)
                ],
                error: Some(0.1),
                brier: Some(f64::NAN),
            }),
            threshold: Some(ThresholdCurve {
                split: t(),
                aim: t(),
                thresholds: unit,
                true_positive: vec![1; rows],
                false_positive: vec![0; rows],
                false_negative: vec![0; rows],
                true_negative: vec![0; rows],
                chosen: Some(0.5),
                ..ThresholdCurve::default()
            }),
            classes,
            positive: Some(1),
        }),
        regression: Some(Regression {
            split: t(),
            target: t(),
            unit: t(),
            actual: x.clone(),
            predicted: y.clone(),
            error: t(),
            overall: Some(1.0),
            segments: vec![Segment { column: t(), range: t(), rows: 3, error: 2.0 }; many(5000)],
        }),
        coverage: Some(Coverage {
            split: t(),
            scores: 3,
            from: t(),
            sets: rows.is_multiple_of(2),
            levels: vec![
                CoverageLevel { level: 0.9, coverage: 0.8, ..Default::default() };
                many(99)
            ],
        }),
        importance: Some(Importance {
            split: t(),
            metric: t(),
            repeats: 3,
            items: vec![ImportanceItem { name: t(), mean: 0.1, deviation: 0.2 }; many(5000)],
        }),
        dependence: vec![
            Dependence {
                column: t(),
                output: t(),
                grid: Grid::Numbers(x),
                mean: y.clone(),
                low: y.clone(),
                high: y,
                distribution: numeric,
            },
            Dependence {
                column: t(),
                output: t(),
                grid: Grid::Labels(vec![t(); many(500)]),
                mean: vec![0.5; rows],
                ..Dependence::default()
            },
        ],
        texts: vec![TextColumn {
            name: t(),
            split: t(),
            groups: vec![WordGroup { class: t(), words: vec![(t(), 0.5); many(40)] }; many(300)],
            error: t(),
            lengths: vec![TextLengths { characters: [1, 9], rows: 3, error: 0.5 }],
            repeated: [1, 2],
            pairs: vec![TextPair { rows: [1, 2], similarity: 0.95, text: t() }; many(40)],
        }],
        mistakes: Some(Mistakes {
            split: t(),
            wrong: Some(1),
            total: 2,
            loss: t(),
            columns: vec![t(); many(300)],
            rows: vec![
                Mistake {
                    actual: t(),
                    predicted: t(),
                    confidence: Some(0.5),
                    loss: f64::INFINITY,
                    cells: vec![t(); many(300)],
                    ..Mistake::default()
                };
                many(500)
            ],
            note: t(),
        }),
        model: Some(Model {
            summary: t(),
            layers: vec![
                Layer {
                    name: t(),
                    kind: t(),
                    shape: t(),
                    parameters: u64::MAX,
                    frozen: true,
                    flop: u64::MAX
                };
                many(5000)
            ],
        }),
        resources: vec![
            Resource {
                name: t(),
                planned: Some(f64::NAN),
                measured: Some(1e300),
                unit: Unit::Bytes
            };
            many(500)
        ],
        timings: vec![Timing { phase: t(), seconds: 1.0 }; many(500)],
        commands: vec![Command { purpose: t(), line: t() }; many(500)],
        environment: vec![Fact::new(text, text); many(5000)],
    }
}

#[test]
fn an_empty_report_is_a_whole_page_without_sections() {
    let page = render(&ReportData::default());
    well_formed(&page);
    assert!(!page.contains("<section"));
    assert!(!page.contains("http-equiv=\"refresh\""), "only a run that goes on reloads");
}

#[test]
fn each_section_can_be_absent_and_stand_alone() {
    let all = serde_json::to_value(full(5, "a")).unwrap();
    let keys: Vec<String> = all.as_object().unwrap().keys().cloned().collect();
    for key in &keys {
        let mut without = all.clone();
        without.as_object_mut().unwrap().remove(key);
        well_formed(&render(&serde_json::from_value(without).unwrap()));
        let mut alone = serde_json::Map::new();
        alone.insert(key.clone(), all[key].clone());
        let page = render(&serde_json::from_value(alone.into()).unwrap());
        well_formed(&page);
        let heads = ["title", "subtitle", "created", "status", "live"];
        assert_eq!(page.contains("<section"), !heads.contains(&key.as_str()), "{key}");
    }
}

#[test]
fn present_but_empty_parts_do_not_break_the_page() {
    let data = ReportData {
        live: Some(Live::default()),
        verdict: Some(Verdict::default()),
        data: Some(Data::default()),
        split: Some(Split::default()),
        text: Some(TextData::default()),
        curves: Some(Curves { panels: vec![Panel::default()], ..Curves::default() }),
        classification: Some(Classification {
            confusion: vec![vec![], vec![1]],
            roc: vec![RateCurve::default()],
            calibration: Some(Calibration::default()),
            threshold: Some(ThresholdCurve::default()),
            positive: Some(7),
            ..Classification::default()
        }),
        regression: Some(Regression::default()),
        tuning: Some(Tuning::default()),
        coverage: Some(Coverage::default()),
        importance: Some(Importance::default()),
        dependence: vec![Dependence::default()],
        mistakes: Some(Mistakes { rows: vec![Mistake::default()], ..Mistakes::default() }),
        model: Some(Model::default()),
        resources: vec![Resource::default()],
        timings: vec![Timing::default()],
        ..ReportData::default()
    };
    let page = render(&data);
    well_formed(&page);
    assert!(page.contains("No data"));
}

#[test]
fn hostile_text_is_shown_and_never_obeyed() {
    let page = render(&full(6, HOSTILE));
    well_formed(&page);
    assert!(!page.contains("<script>alert"));
    assert!(!page.contains("\" onload"), "no attribute is broken out of");
    assert!(page.contains("&lt;script&gt;alert(1)&lt;/script&gt;"));
    assert!(!page.contains('\0'));
}

#[test]
fn numbers_that_are_not_finite_never_reach_a_drawing() {
    let nan = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1.0, f64::NAN, 1e308, -1e308];
    let mut data = full(7, "a");
    let curves = data.curves.as_mut().unwrap();
    for panel in &mut curves.panels {
        panel.series[0].y = nan.to_vec();
    }
    curves.panels[0].y_scale = Scale::Log;
    curves.marks = vec![Mark { x: f64::NAN, label: "x".into() }];
    let regression = data.regression.as_mut().unwrap();
    (regression.actual, regression.predicted) = (nan.to_vec(), nan.iter().rev().copied().collect());
    data.verdict.as_mut().unwrap().scores =
        vec![Score::new("s", f64::NAN, true).interval(f64::NAN, f64::INFINITY)];
    data.dependence[0].mean = nan.to_vec();
    data.importance.as_mut().unwrap().items[0].mean = f64::NAN;
    let page = render(&data);
    well_formed(&page);
    // Coordinates are quoted attributes: a NaN would be next to a quote, a letter or a space.
    for svg in page.split("<svg").skip(1).map(|s| s.split("</svg>").next().unwrap()) {
        for tag in svg
            .split('<')
            .filter(|t| t.starts_with("path") || t.starts_with("rect") || t.starts_with("circle"))
        {
            assert!(!tag.contains("NaN") && !tag.contains("inf"), "{tag}");
        }
    }
}

#[test]
fn huge_inputs_stay_under_two_megabytes() {
    let page = render(&full(20_000, "a rather long text with <angle brackets> & \"quotes\" 汉字 "));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    well_formed(&page);
    assert!(page.contains("are shown, to keep this file small"), "omissions are stated");
    // Long texts everywhere are the worst case.
    let page = render(&full(300, &"<&\"'汉".repeat(300)));
    assert!(page.len() < 2_000_000, "{} bytes", page.len());
    well_formed(&page);
}

#[test]
fn a_page_that_lives_reloads_and_one_that_is_finished_does_not() {
    let live = Some(Live { reload_seconds: 7, ..Live::default() });
    let page = render(&ReportData { live, ..ReportData::default() });
    assert!(
        page.contains("http-equiv=\"refresh\" content=\"7\"") && page.contains("data-reload=\"7\"")
    );
}

#[test]
fn totals_that_do_not_add_up_are_called_out() {
    let mut data = Data { rows_read: 10, rows_used: 9, ..Data::default() };
    let page =
        |data: &Data| render(&ReportData { data: Some(data.clone()), ..ReportData::default() });
    assert!(page(&data).contains("do not add up"));
    data.dropped.push(Tally::new("empty", 1));
    assert!(!page(&data).contains("do not add up"));
}

#[test]
fn the_page_asks_for_nothing() {
    let page = render(&full(5, "a"));
    for word in ["http://", "https://", "//cdn", "@import", "url(", " src="] {
        assert!(!page.contains(word), "{word}");
    }
}

#[test]
fn the_verdict_names_split_baseline_and_direction() {
    let verdict = Verdict {
        split: "test".into(),
        rows: 1340,
        baseline: "always 0".into(),
        scores: vec![Score::new("log loss", 0.44, false).interval(0.35, 0.55).baseline(0.67)],
        ..Verdict::default()
    };
    let page = render(&ReportData { verdict: Some(verdict), ..ReportData::default() });
    for text in
        ["better than the baseline", "<b>test</b> (1,340 rows)", "always 0", "lower is better"]
    {
        assert!(page.contains(text), "{text}");
    }
}
