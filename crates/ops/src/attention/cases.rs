//! The cases of the generic checks.

use super::{Attention, AttentionDropout, DistanceBuckets, Segments};
use ff_graph::{Case, CaseInput, Fill};

/// B, T and S.
type Dims = [usize; 3];

fn case(name: &str, op: Attention, dims: Dims) -> Case {
    Case::new(format!("attention/{name}"), op.op(), inputs(op, dims))
}

fn inputs(op: Attention, [batch, queries, keys]: Dims) -> Vec<CaseInput> {
    let (wide, narrow) = (op.heads * op.head_dim, op.kv_heads * op.head_dim);
    let mut inputs = if op.fused {
        vec![CaseInput::normal([batch, queries, wide + 2 * narrow])]
    } else {
        vec![
            CaseInput::normal([batch, queries, wide]),
            CaseInput::normal([batch, keys, narrow]),
            CaseInput::normal([batch, keys, narrow]),
        ]
    };
    // Documents of three positions with occasional padding: some queries see no key.
    let segments = Fill::Indices(vec![0, 0, 0, 1, 1, 1, -1, 2, 2]);
    match op.segments {
        Segments::None => {}
        Segments::Keys => inputs.push(CaseInput::constant([batch, keys], segments)),
        Segments::Both => {
            inputs.push(CaseInput::constant([batch, keys], segments.clone()));
            inputs.push(CaseInput::constant([batch, queries], segments));
        }
    }
    if let Some(distances) = op.distances {
        inputs.push(CaseInput::normal([distances.count, op.heads]));
    }
    if op.sinks {
        inputs.push(CaseInput::normal([op.heads]));
    }
    inputs
}

/// With dropped weights.
pub(crate) fn dropout_cases() -> Vec<Case> {
    let case = |name: &str, p: f64, op: Attention, dims: Dims| {
        let dropped = AttentionDropout::op(op, p, name);
        Case::new(format!("attention_dropout/{name}"), dropped, inputs(op, dims))
    };
    let plain = Attention::new(2, 2, 3);
    let causal = Attention { causal: true, ..plain };
    let everything = Attention {
        scale: Some(0.4),
        soft_cap: Some(1.5),
        distances: Some(DistanceBuckets { count: 6, far: 5, both: true }),
        segments: Segments::Both,
        sinks: true,
        ..Attention::new(4, 2, 3)
    };
    vec![
        case("none", 0.0, plain, [2, 3, 4]),
        case("half", 0.5, plain, [2, 5, 5]),
        case("causal", 0.3, causal, [2, 5, 5]),
        case("cross", 0.2, Attention { segments: Segments::Keys, ..plain }, [2, 3, 7]),
        case("fused", 0.4, Attention { fused: true, ..causal }, [2, 5, 5]),
        case("everything", 0.3, everything, [2, 9, 9]),
        case("most", 0.9, plain, [1, 4, 4]),
        case("larger_than_a_tile", 0.1, Attention::new(1, 1, 2), [1, 66, 70]),
        case("no_keys", 0.5, plain, [1, 2, 0]),
        case("no_queries", 0.5, plain, [1, 0, 2]),
    ]
}

pub(crate) fn cases() -> Vec<Case> {
    let both = |count, far| Some(DistanceBuckets { count, far, both: true });
    let before = |count, far| Some(DistanceBuckets { count, far, both: false });
    let plain = Attention::new(2, 2, 3);
    let causal = Attention { causal: true, ..plain };
    let grouped = Attention { causal: true, ..Attention::new(4, 2, 3) };
    let fused = Attention { fused: true, ..causal };
    let one_head_with_sink = Attention { sinks: true, causal: true, ..Attention::new(1, 1, 2) };
    vec![
        case("multi_head", plain, [2, 5, 5]),
        case("causal", causal, [2, 5, 5]),
        case("grouped", grouped, [2, 5, 5]),
        case("multi_query", Attention { causal: true, ..Attention::new(3, 1, 5) }, [1, 4, 4]),
        case("cross", plain, [2, 3, 7]),
        case("causal_cross", causal, [2, 3, 7]),
        // The first four queries precede the first key.
        case("causal_short", causal, [1, 7, 3]),
        case("window", Attention { window: Some(3), ..causal }, [1, 9, 9]),
        case("window_alone", Attention { window: Some(2), ..plain }, [1, 6, 6]),
        case("window_ahead", Attention { window: Some(3), ahead: Some(2), ..plain }, [2, 9, 9]),
        case("ahead", Attention { ahead: Some(1), ..Attention::new(1, 1, 2) }, [1, 6, 6]),
        case("padding", Attention { segments: Segments::Keys, ..plain }, [2, 4, 7]),
        case("documents", Attention { segments: Segments::Both, ..causal }, [2, 9, 9]),
        case("documents_both_ways", Attention { segments: Segments::Both, ..plain }, [1, 9, 9]),
        case("soft_cap", Attention { soft_cap: Some(1.5), ..causal }, [1, 5, 5]),
        case("alibi", Attention { alibi: true, ..Attention::new(3, 3, 2) }, [1, 5, 5]),
        case("alibi_causal", Attention { alibi: true, ..causal }, [1, 5, 5]),
        case("scale", Attention { scale: Some(0.25), ..plain }, [1, 3, 3]),
        case("fused", fused, [2, 5, 5]),
        case("fused_grouped", Attention { fused: true, ..grouped }, [2, 5, 5]),
        case(
            "everything",
            Attention {
                window: Some(5),
                soft_cap: Some(2.0),
                alibi: true,
                segments: Segments::Both,
                fused: true,
                ..grouped
            },
            [2, 9, 9],
        ),
        case("sinks", Attention { sinks: true, ..causal }, [1, 4, 4]),
        case(
            "sinks_grouped_documents",
            Attention { sinks: true, window: Some(4), segments: Segments::Both, ..grouped },
            [1, 6, 6],
        ),
        // Some queries see no key.
        case("sinks_fused_short", Attention { sinks: true, ..causal }, [1, 7, 3]),
        case("sinks_larger_than_a_tile", one_head_with_sink, [1, 66, 66]),
        case("distances", Attention { distances: both(8, 6), ..plain }, [2, 9, 9]),
        case("distances_causal", Attention { distances: before(5, 9), ..causal }, [2, 12, 12]),
        case("distances_cross", Attention { distances: both(4, 3), ..plain }, [1, 3, 7]),
        case("distances_short", Attention { distances: before(2, 3), ..causal }, [1, 7, 3]),
        case(
            "distances_everything",
            Attention {
                scale: Some(0.4),
                soft_cap: Some(1.5),
                distances: both(6, 5),
                segments: Segments::Both,
                sinks: true,
                ..Attention::new(4, 2, 3)
            },
            [2, 9, 9],
        ),
        case(
            "distances_fused_padding",
            Attention { distances: both(7, 8), segments: Segments::Keys, fused: true, ..plain },
            [2, 7, 7],
        ),
        case(
            "distances_larger_than_a_tile",
            Attention { scale: Some(1.0), distances: both(32, 60), ..Attention::new(1, 1, 2) },
            [1, 66, 70],
        ),
        case("distances_no_keys", Attention { distances: both(4, 8), ..plain }, [1, 2, 0]),
        case("distances_no_queries", Attention { distances: both(4, 8), ..plain }, [1, 0, 2]),
        case("one", fused, [1, 1, 1]),
        case("no_rows", fused, [0, 4, 4]),
        case("no_queries", plain, [2, 0, 3]),
        case("no_keys", plain, [2, 3, 0]),
        case("larger_than_a_tile", causal, [1, 70, 70]),
        case(
            "larger_window",
            Attention { window: Some(30), ..Attention::new(1, 1, 17) },
            [1, 66, 131],
        ),
        case(
            "wide",
            Attention { segments: Segments::Both, ..Attention::new(1, 1, 33) },
            [1, 65, 65],
        ),
    ]
}
