//! Properties that the generic checks do not cover.

use super::*;
use crate::testing::{Run, tensor};
use ff_tensor::{Device, DeviceOptions, Key, Rng, Tensor, bf16};

fn normal(n: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(Key::new(seed));
    (0..n).map(|_| rng.normal() as f32).collect()
}

/// The definition in f64, one query and one key at a time.
fn plain(op: &Attention, sizes: [usize; 3], q: &[f32], k: &[f32], v: &[f32]) -> Vec<f64> {
    let [batch, queries, keys] = sizes;
    let (dim, group) = (op.head_dim, op.heads / op.kv_heads);
    let (wide, narrow) = (op.heads * dim, op.kv_heads * dim);
    let mut y = vec![0.0; batch * queries * wide];
    for (row, head) in (0..batch * queries).flat_map(|row| (0..op.heads).map(move |h| (row, h))) {
        let (b, at) = (row / queries, (row % queries + keys) as isize - queries as isize);
        let sees = |s: usize| {
            let back = at - s as isize;
            (!op.causal || back >= 0) && op.window.is_none_or(|w| back < w as isize)
        };
        let place = |s: usize| (b * keys + s) * narrow + head / group * dim;
        let product = |s: usize| -> f64 {
            let pairs = q[row * wide + head * dim..][..dim].iter().zip(&k[place(s)..]);
            pairs.map(|(&q, &k)| f64::from(q) * f64::from(k)).sum()
        };
        let weights: Vec<(usize, f64)> = (0..keys)
            .filter(|&s| sees(s))
            .map(|s| (s, (product(s) / (dim as f64).sqrt()).exp()))
            .collect();
        let total: f64 = weights.iter().map(|(_, w)| w).sum();
        for (s, weight) in weights {
            for d in 0..dim {
                y[row * wide + head * dim + d] += weight / total * f64::from(v[place(s) + d]);
            }
        }
    }
    y
}

fn assert_close(found: &[f64], expected: &[f64], tolerance: f64) {
    assert_eq!(found.len(), expected.len());
    for (i, (found, expected)) in found.iter().zip(expected).enumerate() {
        assert!((found - expected).abs() <= tolerance, "at {i}: {found}, expected {expected}");
    }
}

fn wide(x: &[f32]) -> Vec<f64> {
    x.iter().map(|&x| f64::from(x)).collect()
}

/// Weighted means of a hundred normal numbers: f32 errs by a few roundings.
const F32: f64 = 4e-6;

fn cached(op: Attention, steps: &[usize]) {
    let device = Device::default();
    let (batch, keys): (usize, usize) = (2, steps.iter().sum());
    let (width, narrow) = (op.heads * op.head_dim, op.kv_heads * op.head_dim);
    let (q, k, v) = (
        normal(batch * keys * width, 1),
        normal(batch * keys * narrow, 2),
        normal(batch * keys * narrow, 3),
    );
    let expected = plain(&op, [batch, keys, keys], &q, &k, &v);
    let mut cache = KeyValueCache::new(&device, DType::F32, batch, narrow, keys + 3).unwrap();
    let mut first = 0;
    for &step in steps {
        let part = |values: &[f32], width: usize| {
            let rows =
                values.chunks(keys * width).flat_map(|v| &v[first * width..][..step * width]);
            tensor(&rows.copied().collect::<Vec<f32>>(), &[batch, step, width])
        };
        cache.append(&part(&k, narrow), &part(&v, narrow)).unwrap();
        let y = op.attend(&device, &part(&q, width), &cache, [None; 3]).unwrap();
        let rows = expected.chunks(keys * width);
        let expected: Vec<f64> =
            rows.flat_map(|y| &y[first * width..][..step * width]).copied().collect();
        assert_close(&wide(y.slice().unwrap()), &expected, F32);
        first += step;
    }
    assert_eq!(cache.len(), keys);
}

#[test]
fn a_cache_gives_what_all_at_once_gives() {
    let causal = Attention { causal: true, ..Attention::new(4, 2, 6) };
    cached(causal, &[70, 1, 1, 5, 1]);
    cached(Attention { window: Some(9), ..causal }, &[3, 1, 80, 1, 1]);
    cached(Attention { causal: true, ..Attention::new(3, 3, 40) }, &[1, 1, 1]);
    cached(Attention { causal: true, ..Attention::new(4, 1, 64) }, &[130, 1]);
}

#[test]
fn a_fused_cache_is_the_same_and_padding_is_not_seen() {
    let device = Device::default();
    let op = Attention {
        causal: true,
        fused: true,
        segments: Segments::Keys,
        ..Attention::new(2, 1, 3)
    };
    let qkv = tensor(&normal(2 * 5 * 12, 4), &[2, 5, 12]);
    let segments = tensor(&[-1, -1, 0, 0, 0, 0, 0, 0, 0, 0], &[2, 5]);
    let all = Run::new(&op.op(), &[qkv.clone(), segments.clone()]).unwrap().output::<f32>(0);
    let mut cache = KeyValueCache::new(&device, DType::F32, 2, 3, 5).unwrap();
    cache.append_fused(&qkv).unwrap();
    let y = op.attend(&device, &qkv, &cache, [Some(segments.view()), None, None]).unwrap();
    assert_eq!(y.slice::<f32>().unwrap(), all);
    assert!(all[..12].iter().all(|&y| y == 0.0), "padding sees nothing");
}

#[test]
fn what_does_not_fit_a_cache_is_named() {
    let device = Device::default();
    let mut cache = KeyValueCache::new(&device, DType::F32, 1, 2, 2).unwrap();
    let x = |dims: &[usize]| tensor(&vec![0.0f32; dims.iter().product()], dims);
    let too_many = cache.append(&x(&[1, 3, 2]), &x(&[1, 3, 2])).unwrap_err().to_string();
    assert!(too_many.contains("no room for 3 more"), "{too_many}");
    assert!(cache.append(&x(&[2, 1, 2]), &x(&[2, 1, 2])).is_err());
    assert!(cache.append(&x(&[1, 1, 2]), &x(&[1, 1, 3])).is_err());
    assert!(cache.append_fused(&x(&[1, 1, 3])).is_err());
    let half = Tensor::from_slice(&device, &[bf16::ONE; 2], &[1, 1, 2]).unwrap();
    assert!(cache.append(&half, &half).is_err() && cache.is_empty());
    cache.append(&x(&[1, 2, 2]), &x(&[1, 2, 2])).unwrap();
    cache.truncate(5);
    assert_eq!((cache.len(), cache.capacity()), (2, 2));
    cache.truncate(1);
    let op = Attention::new(1, 1, 2);
    assert!(op.attend(&device, &x(&[1, 1, 3]), &cache, [None; 3]).is_err());
    assert!(op.attend(&device, &half, &cache, [None; 3]).is_err());
    let segments = tensor(&[0], &[1, 1]);
    assert!(
        op.attend(&device, &x(&[1, 1, 2]), &cache, [Some(segments.view()), None, None]).is_err()
    );
    let keys = Attention { segments: Segments::Keys, ..op };
    assert!(keys.attend(&device, &x(&[1, 1, 2]), &cache, [None; 3]).is_err());
    assert!(
        keys.attend(&device, &x(&[1, 1, 2]), &cache, [Some(segments.view()), None, None]).is_ok()
    );
    cache.clear();
    assert!(cache.is_empty());
}

#[test]
fn a_cache_goes_on_from_the_sequences_selected() {
    let device = Device::default();
    let op = Attention { causal: true, ..Attention::new(1, 1, 2) };
    let [q, k, v] = [1, 2, 3].map(|seed| tensor(&normal(3 * 2 * 2, seed), &[3, 2, 2]));
    let mut cache = KeyValueCache::new(&device, DType::F32, 3, 2, 4).unwrap();
    cache.append(&k, &v).unwrap();
    let attend = |cache: &KeyValueCache| -> Vec<f32> {
        op.attend(&device, &q, cache, [None; 3]).unwrap().slice().unwrap().to_vec()
    };
    let before = attend(&cache);
    cache.select(&device, &[0, 1, 2]).unwrap();
    assert_eq!(attend(&cache), before);
    cache.select(&device, &[2, 0, 2]).unwrap();
    assert_eq!(cache.len(), 2);
    let from = [k.slice::<f32>().unwrap(), v.slice().unwrap()]
        .map(|x| tensor(&[&x[8..12], &x[0..4], &x[8..12]].concat(), &[3, 2, 2]));
    let mut expected = KeyValueCache::new(&device, DType::F32, 3, 2, 4).unwrap();
    expected.append(&from[0], &from[1]).unwrap();
    assert_eq!(attend(&cache), attend(&expected));
    for wrong in [&[0, 1][..], &[0, 1, 3]] {
        let error = cache.select(&device, wrong).unwrap_err().to_string();
        assert!(error.contains("of a cache of 3 sequences"), "{error}");
    }
}

#[test]
fn wrong_attributes_and_shapes_are_named() {
    let spec = |dims: &[usize]| Spec::new(ff_tensor::Shape::new(dims).unwrap(), DType::F32);
    let x = [spec(&[1, 2, 4]), spec(&[1, 3, 2]), spec(&[1, 3, 2])];
    let op = Attention::new(2, 1, 2);
    assert!(op.contract(&x, &[true; 3]).is_ok());
    let buckets = |count, far, both| Some(DistanceBuckets { count, far, both });
    let message =
        |op: Attention, x: &[Spec]| op.contract(x, &vec![true; x.len()]).unwrap_err().to_string();
    for (op, part) in [
        (Attention::new(3, 2, 2), "must divide"),
        (Attention::new(0, 1, 2), "must divide"),
        (Attention { soft_cap: Some(0.0), ..op }, "finite and positive"),
        (Attention { scale: Some(f64::NAN), ..op }, "must be finite"),
        (Attention::new(2, 2, 2), "k and v [B, S, 4]"),
        (Attention { distances: buckets(3, 9, true), ..op }, "must be 4 or more"),
        (Attention { distances: buckets(8, 4, false), ..op }, "above the 4"),
        (Attention { distances: buckets(8, 5, false), ..op }, "expected 4 inputs"),
        (Attention { fused: true, ..op }, "expected 1 inputs"),
        (Attention { segments: Segments::Keys, ..op }, "expected 4 inputs"),
        (Attention::new(1 << 40, 1 << 40, 1 << 40), "too many"),
    ] {
        let message = message(op, &x);
        assert!(message.contains(part), "{message}");
    }
    let near = Attention { distances: buckets(8, 5, false), ..op };
    let wrong = [x[0], x[1], x[2], spec(&[2, 8])];
    assert!(message(near, &wrong).contains("must be [8, 2] of f32, found [2, 8]"));
    let keys = Attention { segments: Segments::Keys, ..op };
    let wrong = [x[0], x[1], x[2], Spec::new([1, 2], DType::I32)];
    assert!(message(keys, &wrong).contains("must be [1, 3]"));
    let wrong = [x[0], x[1], x[2], spec(&[1, 3])];
    assert!(message(keys, &wrong).contains("i32 for segments"));
}

/// Scores far beyond the range of the exponential, and rows with the greatest score last.
#[test]
fn large_scores_do_not_overflow() {
    let keys = 150;
    let op = Attention { scale: Some(1.0), ..Attention::new(1, 1, 1) };
    let k: Vec<f32> = (0..keys).map(|s| s as f32 * 10.0).collect();
    let v: Vec<f32> = (0..keys).map(|s| s as f32).collect();
    let inputs =
        [tensor(&[1.0f32, -1.0], &[1, 2, 1]), tensor(&k, &[1, keys, 1]), tensor(&v, &[1, keys, 1])];
    let run = Run::new(&op.op(), &inputs).unwrap();
    let y = run.output::<f32>(0);
    // The second-best key has a weight of e⁻¹⁰.
    let least = (-10f32).exp();
    assert!((y[0] - 149.0).abs() < 2.0 * least && (y[1] - least).abs() < 1e-2 * least, "{y:?}");
}

/// Sequences, queries, heads, key heads and features of a typical language model.
const SHAPES: [[usize; 5]; 4] =
    [[4, 64, 12, 12, 64], [2, 256, 6, 6, 64], [12, 64, 4, 4, 32], [1, 130, 6, 2, 40]];

/// y and the gradient of qkv for these values.
fn trained<S: ff_kernels::Stored>(
    device: &Device,
    op: Attention,
    dims: [usize; 2],
    values: &[f32],
) -> (Vec<S>, Vec<S>) {
    let of = |values: &[f32]| -> Vec<S> {
        values.iter().map(|&v| S::from_compute(Float::of(f64::from(v)))).collect()
    };
    let params = ff_graph::Params::allocate(device, DType::F32, vec![], true).unwrap();
    let mut graph = ff_graph::Graph::new(device, params);
    let [batch, length] = dims;
    let width = (op.heads + 2 * op.kv_heads) * op.head_dim;
    let x = Tensor::from_slice(device, &of(values), &[batch, length, width]).unwrap();
    let x = graph.variable(x);
    let y = graph.apply(&op.op(), &[&x]).unwrap();
    let out = y.slice::<S>().unwrap().to_vec();
    let dy = of(&normal(out.len(), 7));
    let dy = Tensor::from_slice(device, &dy, y.shape().dims()).unwrap();
    graph.backward_from(y, Some(dy)).unwrap();
    let dx = graph.grad(&x).unwrap().slice::<S>().unwrap().to_vec();
    (out, dx)
}

#[test]
fn threads_do_not_show_and_bf16_is_close_to_f32() {
    for [batch, length, heads, kv_heads, dim] in SHAPES {
        let op = Attention { causal: true, fused: true, ..Attention::new(heads, kv_heads, dim) };
        let n = batch * length * (heads + 2 * kv_heads) * dim;
        let x: Vec<f32> = normal(n, 6).iter().map(|&x| bf16::from_f32(x).to_f32()).collect();
        let (mut f32s, mut bf16s) = (Vec::new(), Vec::new());
        for threads in [1, 2, 4] {
            let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
            f32s.push(trained::<f32>(&device, op, [batch, length], &x));
            bf16s.push(trained::<bf16>(&device, op, [batch, length], &x));
        }
        assert!(f32s.iter().all(|r| *r == f32s[0]), "{op:?}: threads show");
        assert!(bf16s.iter().all(|r| *r == bf16s[0]), "{op:?}: threads show in bf16");
        // Both factors of each product are rounded by up to 2⁻⁹ relative to themselves, a few times
        // in all.
        let close = |found: &[bf16], expected: &[f32]| {
            let largest = expected.iter().fold(0.0f32, |m, v| m.max(v.abs()));
            let error = found.iter().zip(expected).map(|(f, e)| (f.to_f32() - e).abs());
            let error = error.fold(0.0, f32::max);
            assert!(error <= largest / 100.0, "{op:?}: {error} of {largest}");
        };
        close(&bf16s[0].0, &f32s[0].0);
        close(&bf16s[0].1, &f32s[0].1);
    }
}

/// Where the buckets of `transformers` 5.24 begin (`T5Attention._relative_position_bucket`).
#[test]
fn buckets_begin_where_transformers_has_them() {
    let check = |count, far, both, starts: &[isize]| {
        let buckets = DistanceBuckets { count, far, both };
        for distance in 0..far as isize + 3 {
            let own = starts.iter().rposition(|&start| start <= distance).unwrap();
            assert_eq!(buckets.bucket(-distance), own, "{buckets:?} {distance} before");
            let behind = if both && distance > 0 { own + count / 2 } else { 0 };
            assert_eq!(buckets.bucket(distance), behind, "{buckets:?} {distance} behind");
        }
    };
    check(32, 128, true, &[0, 1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 23, 32, 46, 64, 91]);
    check(8, 20, true, &[0, 1, 2, 7]);
    check(6, 100, true, &[0, 1, 10]);
    check(16, 37, true, &[0, 1, 2, 3, 4, 7, 13, 22]);
    check(
        32,
        128,
        false,
        &[
            0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 19, 21, 24, 27, 31, 35, 40,
            46, 52, 59, 67, 77, 87, 99, 113,
        ],
    );
    check(10, 1000, false, &[0, 1, 2, 3, 4, 5, 15, 42, 121, 347]);
    // No distance has the bucket before the last.
    check(5, 3, false, &[0, 1, 2, 3, 3]);
}

/// A cache, a token at a time or many, has the scores of their distances.
#[test]
fn scores_by_distance_are_those_of_a_cache() {
    let device = Device::default();
    let distances = Some(DistanceBuckets { count: 9, far: 30, both: false });
    let op = Attention { causal: true, distances, ..Attention::new(3, 3, 5) };
    let (batch, keys, width) = (2, 75, 15);
    let [q, k, v] = [11, 12, 13].map(|seed| normal(batch * keys * width, seed));
    let table = tensor(&normal(27, 14), &[9, 3]);
    let whole = |x: &[f32]| tensor(x, &[batch, keys, width]);
    let all = Run::new(&op.op(), &[whole(&q), whole(&k), whole(&v), table.clone()]).unwrap();
    let all = all.output::<f32>(0);
    let mut cache = KeyValueCache::new(&device, DType::F32, batch, width, keys).unwrap();
    let mut first = 0;
    for step in [1, 2, 70, 1, 1] {
        let rows = |x: &[f32]| -> Vec<f32> {
            x.chunks(keys * width)
                .flat_map(|x| x[first * width..][..step * width].to_vec())
                .collect()
        };
        let part = |x: &[f32]| tensor(&rows(x), &[batch, step, width]);
        cache.append(&part(&k), &part(&v)).unwrap();
        let y = op.attend(&device, &part(&q), &cache, [None, Some(table.view()), None]).unwrap();
        assert_close(&wide(y.slice().unwrap()), &wide(&rows(&all)), F32);
        first += step;
    }
    let error = op.attend(&device, &whole(&q), &cache, [None; 3]).unwrap_err().to_string();
    assert!(error.contains("scores by distance of 9 by 3 heads, found none"), "{error}");
}

/// Sequences and heads share the table, whose gradient sums over all of them.
#[test]
fn threads_do_not_show_in_the_gradient_of_scores_by_distance() {
    let distances = Some(DistanceBuckets { count: 32, far: 128, both: true });
    let op = Attention { scale: Some(1.0), distances, ..Attention::new(6, 6, 16) };
    let dims = [3, 150, 96];
    let inputs = [21, 22, 23].map(|seed| tensor(&normal(dims.iter().product(), seed), &dims));
    let table = tensor(&normal(32 * 6, 24), &[32, 6]);
    let mut found: Vec<[Vec<f32>; 3]> = Vec::new();
    for threads in [1, 2, 3, 4] {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let params = ff_graph::Params::allocate(&device, DType::F32, vec![], true).unwrap();
        let mut graph = ff_graph::Graph::new(&device, params);
        let x: Vec<_> = inputs.iter().chain([&table]).map(|x| graph.variable(x.clone())).collect();
        let y = graph.apply(&op.op(), &[&x[0], &x[1], &x[2], &x[3]]).unwrap();
        let out = y.slice::<f32>().unwrap().to_vec();
        let dy = tensor(&normal(out.len(), 25), &dims);
        graph.backward_from(y, Some(dy)).unwrap();
        let gradient = |i: usize| graph.grad(&x[i]).unwrap().slice::<f32>().unwrap().to_vec();
        found.push([out, gradient(0), gradient(3)]);
    }
    assert!(found.iter().all(|other| *other == found[0]), "threads show");
}

/// Documents packed side by side, and padding, give the results of each document alone.
#[test]
fn documents_are_as_if_alone() {
    let op = Attention { causal: true, fused: true, ..Attention::new(2, 2, 8) };
    let (lengths, width) = ([70, 3, 61], 48);
    let total: usize = lengths.iter().sum();
    let x = normal(total * width, 9);
    let mut segments = Vec::new();
    let mut expected = Vec::new();
    let mut first = 0;
    for (document, length) in lengths.into_iter().enumerate() {
        // The second document is padding.
        segments.extend(vec![if document == 1 { -1 } else { document as i32 }; length]);
        let part = tensor(&x[first * width..][..length * width], &[1, length, width]);
        let y = Run::new(&op.op(), &[part]).unwrap().output::<f32>(0);
        expected.extend(y.iter().map(|&y| if document == 1 { 0.0 } else { f64::from(y) }));
        first += length;
    }
    let segments = tensor(&segments, &[1, total]);
    let op = Attention { segments: Segments::Both, ..op };
    let inputs = [tensor(&x, &[1, total, width]), segments.clone(), segments];
    let y = Run::new(&op.op(), &inputs).unwrap().output::<f32>(0);
    assert_close(&wide(&y), &expected, F32);
}
