use super::*;
use crate::FeedforwardBlock;
use crate::testing::{Run, tensor};
use ff_graph::{Graph, Params};
use ff_kernels::Float;
use ff_tensor::{Device, DeviceOptions, Tensor};

const SIZES: [usize; 4] = [37, 6, 5, 9];

/// x, router, gate, up and down of small numbers, exact in bf16.
fn inputs<T: Float>([rows, width, experts, hidden]: [usize; 4]) -> Vec<Tensor> {
    let values = |n: usize, step: usize| -> Vec<T> {
        (0..n).map(|i| T::of(((i * step + i / 7) % 23) as f64 / 16.0 - 0.6875)).collect()
    };
    let inner = experts * hidden * width;
    vec![
        tensor(&values(rows * width, 5), &[rows, width]),
        tensor(&values(experts * width, 7), &[experts, width]),
        tensor(&values(inner, 11), &[experts, hidden, width]),
        tensor(&values(inner, 3), &[experts, hidden, width]),
        tensor(&values(inner, 13), &[experts, width, hidden]),
    ]
}

#[test]
fn one_expert_is_the_feedforward_block() {
    let x = inputs::<f64>([11, 6, 1, 9]);
    let op = MixtureOfExperts { top_k: 1, ..Default::default() };
    let mixture = Run::new(&op.op(), &x).unwrap();
    let block = FeedforwardBlock { gated: true, activation: op.activation, ..Default::default() };
    let flat = |i: usize, dims: &[usize]| tensor(x[i].slice::<f64>().unwrap(), dims);
    let weights = [x[0].clone(), flat(2, &[9, 6]), flat(3, &[9, 6]), flat(4, &[6, 9])];
    let block = Run::new(&block.op(), &weights).unwrap();
    assert_eq!(mixture.output::<f64>(0), block.output::<f64>(0));
    let dy: Vec<f64> = (0..66).map(|i| (i % 7) as f64 - 3.0).collect();
    let (found, expected) = (mixture.backward(&dy), block.backward(&dy));
    assert_eq!(found[0], expected[0]);
    assert!(found[1].iter().all(|&d| d == 0.0)); // a single expert has no gradient to its router
    assert_eq!(found[2..], expected[1..]);
}

#[test]
fn rows_do_not_depend_on_their_neighbours() {
    let x = inputs::<f32>(SIZES);
    let op = MixtureOfExperts::default().op();
    let whole = Run::new(&op, &x).unwrap().output::<f32>(0);
    for row in [0, 17, 36] {
        let mut one = x.clone();
        one[0] = tensor(&x[0].slice::<f32>().unwrap()[row * 6..][..6], &[1, 6]);
        assert_eq!(Run::new(&op, &one).unwrap().output::<f32>(0), whole[row * 6..][..6]);
    }
}

#[test]
fn the_spread_is_what_the_router_finds_and_what_it_chooses() {
    // A router of zeros: p is uniform, and the first of equal logits are chosen.
    let mut x = inputs::<f64>(SIZES);
    x[1] = tensor(&[0.0f64; 30], &[5, 6]);
    let op = MixtureOfExperts { top_k: 2, ..Default::default() };
    let run = Run::new(&op.op(), &x).unwrap();
    let spread = run.output::<f64>(1);
    assert!(spread[..5].iter().all(|p| (p - 37.0 / 5.0).abs() < 1e-12));
    assert_eq!(spread[5..], [37.0, 37.0, 0.0, 0.0, 0.0]);
    // 37 · (ln 5)².
    assert!((run.output::<f64>(2)[0] - 37.0 * 5f64.ln().powi(2)).abs() < 1e-12);
}

#[test]
fn products_of_bf16_are_near_those_of_f32() {
    let x = inputs::<f32>(SIZES);
    let dy: Vec<f32> = (0..37 * 6).map(|i| (i % 5) as f32 - 2.0).collect();
    let run = |bf16| {
        let run = Run::new(&MixtureOfExperts { bf16, ..Default::default() }.op(), &x).unwrap();
        let y = run.output::<f32>(0);
        (y, run.backward(&dy))
    };
    let (exact, rounded) = (run(false), run(true));
    let near = |a: &[f32], b: &[f32]| {
        let largest = b.iter().fold(0f32, |m, v| m.max(v.abs()));
        // h, dz and du are rounded to 8 bits, then summed 9 or more at a time.
        assert!(a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 2f32.powi(-6) * largest));
        assert!(a != b);
    };
    near(&rounded.0, &exact.0);
    rounded.1.iter().zip(&exact.1).for_each(|(a, b)| near(a, b));
}

#[test]
fn activations_of_bf16() {
    let mut x = inputs::<f32>(SIZES);
    let exact = Run::new(&MixtureOfExperts::default().op(), &x).unwrap().output::<f32>(0);
    let values: Vec<bf16> =
        x[0].slice::<f32>().unwrap().iter().map(|&v| bf16::from_f32(v)).collect();
    x[0] = tensor(&values, &[37, 6]);
    let device = Device::default();
    let mut graph =
        Graph::new(&device, Params::allocate(&device, DType::F32, vec![], true).unwrap());
    let values: Vec<_> = x.iter().map(|t| graph.variable(t.clone())).collect();
    let op = MixtureOfExperts { bf16: true, ..Default::default() }.op();
    let outputs = graph.apply_all(&op, &values.iter().collect::<Vec<_>>()).unwrap();
    let largest = exact.iter().fold(0f32, |m, v| m.max(v.abs()));
    for (a, b) in outputs[0].slice::<bf16>().unwrap().iter().zip(&exact) {
        assert!((a.to_f32() - b).abs() <= 2f32.powi(-6) * largest);
    }
    let y = outputs[0].clone();
    graph.backward_from(y, None).unwrap();
    assert_eq!(graph.grad(&values[0]).unwrap().dtype(), DType::BF16);
    assert!(graph.grad(&values[4]).unwrap().slice::<f32>().unwrap().iter().any(|&g| g != 0.0));
}

#[test]
fn nan_does_not_spread_and_does_not_panic() {
    let mut x = inputs::<f32>(SIZES);
    let clean = Run::new(&MixtureOfExperts::default().op(), &x).unwrap().output::<f32>(0);
    let mut values = x[0].slice::<f32>().unwrap().to_vec();
    values[3 * 6 + 1] = f32::NAN;
    x[0] = tensor(&values, &[37, 6]);
    for op in [
        MixtureOfExperts::default(),
        MixtureOfExperts { normalize: false, ..Default::default() },
        MixtureOfExperts { top_k: 5, softmax_first: false, ..Default::default() },
    ] {
        let run = Run::new(&op.op(), &x).unwrap();
        let y = run.output::<f32>(0);
        assert!(y[18..24].iter().all(|y| y.is_nan()));
        assert!(y[..18].iter().chain(&y[24..]).all(|y| y.is_finite()));
        assert!(run.output::<f32>(1)[0].is_nan() && run.output::<f32>(2)[0].is_nan());
        if op == MixtureOfExperts::default() {
            assert_eq!(y[..18], clean[..18]);
        }
        let gradients = run.backward(&[1.0f32; 37 * 6]);
        assert!(gradients[0][..18].iter().all(|g| g.is_finite()));
    }
    // NaN logits for every row.
    x[1] = tensor(&[f32::NAN; 30], &[5, 6]);
    let run = Run::new(&MixtureOfExperts::default().op(), &x).unwrap();
    assert!(run.output::<f32>(0).iter().all(|y| y.is_nan()));
}

#[test]
fn any_number_of_threads() {
    let x = inputs::<f32>([301, 32, 6, 48]);
    let run = |threads| {
        let device = Device::open(DeviceOptions { threads, isa: None }).unwrap();
        let params = Params::allocate(&device, DType::F32, vec![], true).unwrap();
        let mut graph = Graph::new(&device, params);
        let copy = |t: &Tensor| {
            Tensor::from_slice(&device, t.slice::<f32>().unwrap(), t.shape().dims()).unwrap()
        };
        let values: Vec<_> = x.iter().map(|t| graph.variable(copy(t))).collect();
        let op = MixtureOfExperts { normalize: false, ..Default::default() }.op();
        let mut outputs = graph.apply_all(&op, &values.iter().collect::<Vec<_>>()).unwrap();
        let mut bits: Vec<u32> =
            outputs.iter().flat_map(|y| y.slice::<f32>().unwrap()).map(|v| v.to_bits()).collect();
        let y = outputs.swap_remove(0);
        graph.backward_from(y, None).unwrap();
        for value in &values {
            let gradient = graph.grad(value).unwrap().slice::<f32>().unwrap();
            bits.extend(gradient.iter().map(|v| v.to_bits()));
        }
        bits
    };
    let one = run(1);
    assert!([2, 4].into_iter().all(|threads| run(threads) == one));
}

#[test]
fn messages() {
    let x = inputs::<f64>(SIZES);
    let check = |op: MixtureOfExperts, inputs: &[Tensor], message: &str| {
        let error = Run::new(&op.op(), inputs).err().unwrap().to_string();
        assert_eq!(error, format!("{NAME}: {message}"));
    };
    let op = MixtureOfExperts::default();
    for top_k in [0, 6] {
        let message = format!("top_k must lie between 1 and the 5 experts, found {top_k}");
        check(MixtureOfExperts { top_k, ..op }, &x, &message);
    }
    let mut swapped = x.clone();
    swapped.swap(3, 4);
    check(
        op,
        &swapped,
        "x [37, 6] with router [5, 6], gate [5, 9, 6], up [5, 6, 9] and down [5, 9, 6]; expected \
         […, in], [experts, in], \
         twice [experts, hidden, in] and [experts, in, hidden]",
    );
    check(op, &x[..4], "expected 5 inputs (x, router, gate, up, down), found 4");
}
