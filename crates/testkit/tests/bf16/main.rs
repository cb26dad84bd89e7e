//! Products in bf16 against exact ones, on every instruction set of this machine and several
//! numbers of threads.
#![allow(clippy::unwrap_used)]

mod bounds;
mod run;

use bounds::Expected;
use ff_graph::{Op, Spec};
use ff_ops::{Activation, FeedforwardBf16, FeedforwardBlock};
use ff_tensor::{DType, Device, DeviceOptions, Isa};
use run::{Inputs, Outcome, planned_and_measured, run};
use std::sync::Arc;

/// Rows, input and output or hidden features: single ones, odd ones, more than a tile, and more
/// than a chunk of K.
const SIZES: [(usize, usize, usize); 7] =
    [(1, 1, 1), (1, 7, 33), (7, 33, 1), (33, 65, 7), (65, 130, 97), (3, 1001, 5), (1001, 5, 3)];

const TYPES: [DType; 2] = [DType::F32, DType::BF16];

/// f′ from nothing, from the output and from the input.
const ACTIVATIONS: [Activation; 3] = [Activation::Identity, Activation::Relu, Activation::Gelu];

/// Every instruction set of this machine on one thread and on more.
fn devices() -> Vec<(Isa, Vec<Device>)> {
    let open = |isa, threads| Device::open(DeviceOptions { threads, isa: Some(isa) }).unwrap();
    [Isa::Plain, Isa::Avx2, Isa::Avx512]
        .into_iter()
        .filter(|&isa| isa <= Isa::detect())
        .map(|isa| (isa, [1, 2, 4].map(|threads| open(isa, threads)).into()))
        .collect()
}

/// Runs an operation on every device: within the bounds, and bit-identical for any number of
/// threads. Returns the last outcome.
fn check(
    devices: &[(Isa, Vec<Device>)],
    what: &str,
    op: &Arc<dyn Op>,
    inputs: &Inputs,
    expected: &Expected,
) -> Outcome {
    let mut last = None;
    for (isa, devices) in devices {
        let outcomes: Vec<Outcome> =
            devices.iter().map(|device| run(device, op, inputs, 1).unwrap()).collect();
        expected.assert(&outcomes[0], &format!("{what} on {isa}"));
        for outcome in &outcomes[1..] {
            assert!(
                outcomes[0].same_bits(outcome),
                "{what} on {isa}: depends on the number of \
                                                     threads"
            );
        }
        last = outcomes.into_iter().next();
    }
    last.unwrap()
}

#[test]
fn the_layer_is_within_its_rounding() {
    let devices = devices();
    for (i, &(rows, input, output)) in SIZES.iter().enumerate() {
        for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
            for (activation, bias) in
                ACTIVATIONS.into_iter().flat_map(|f| [true, false].map(|b| (f, b)))
            {
                let op = FeedforwardBf16 { activation, bias, output: y };
                let dims = [[rows, input], [output, input]];
                let inputs = Inputs::new(i as u64, x, y, &dims, bias.then_some(&[output][..]));
                let what = format!("{op:?} of {x} {rows} × {input}");
                let expected = Expected::layer(op, &inputs);
                check(
                    &devices,
                    &what,
                    &FeedforwardBf16::op(activation, bias, y),
                    &inputs,
                    &expected,
                );
            }
        }
    }
}

#[test]
fn the_block_is_within_its_rounding_recomputed_or_not() {
    let devices = devices();
    for (i, &(rows, input, hidden)) in SIZES.iter().enumerate() {
        for (x, activation) in TYPES.into_iter().flat_map(|x| ACTIVATIONS.map(|f| (x, f))) {
            for (gated, bias) in [(false, false), (false, true), (true, false), (true, true)] {
                let recompute = false;
                let op = FeedforwardBlock { activation, gated, bias, recompute, bf16: true };
                let inputs = block_inputs(i as u64, op, x, (rows, input, hidden));
                let what = format!("{op:?} of {x} {rows} × {input}");
                let expected = Expected::block(op, &inputs);
                let kept = check(&devices, &what, &op.op(), &inputs, &expected);
                let op = FeedforwardBlock { recompute: true, ..op }.op();
                let again = check(&devices, &what, &op, &inputs, &expected);
                assert!(kept.same_bits(&again), "{what}: depends on recomputation");
            }
        }
    }
}

fn block_inputs(
    seed: u64,
    op: FeedforwardBlock,
    x: DType,
    (rows, input, hidden): (usize, usize, usize),
) -> Inputs {
    let output = input.min(66);
    let mut dims = vec![[rows, input], [hidden, input]];
    let mut biases = vec![hidden];
    if op.gated {
        dims.push([hidden, input]);
        biases.push(hidden);
    }
    dims.push([output, hidden]);
    biases.push(output);
    Inputs::new(seed, x, x, &dims, op.bias.then_some(&biases))
}

/// Gradients accumulate in two nodes with shared inputs.
#[test]
fn gradients_are_added() {
    let device = Device::default();
    for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
        let inputs = Inputs::new(3, x, y, &[[33, 65], [7, 65]], Some(&[7]));
        let op = FeedforwardBf16::op(Activation::Gelu, true, y);
        let (one, two) =
            (run(&device, &op, &inputs, 1).unwrap(), run(&device, &op, &inputs, 2).unwrap());
        for (i, (one, two)) in one.dx.iter().zip(&two.dx).enumerate() {
            for (one, two) in one.iter().zip(two) {
                // The sum of a rounded and an exact value errs by at most two roundings.
                let rounding = if i == 0 && x == DType::BF16 { bounds::U } else { 1e-6 };
                assert!(
                    (two - 2.0 * one).abs() <= 2.0 * rounding * two.abs() + 1e-5,
                    "{two} {one}"
                );
            }
        }
    }
}

#[test]
fn the_pool_is_planned_to_the_byte() {
    for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
        for activation in ACTIVATIONS {
            let inputs = Inputs::new(0, x, y, &[[33, 65], [97, 65]], Some(&[97]));
            let op = FeedforwardBf16::op(activation, true, y);
            for (what, [planned, measured]) in planned_and_measured(&op, &inputs) {
                assert_eq!(planned, measured, "{what}: {op:?} of {x}");
            }
        }
    }
    for (x, activation) in TYPES.into_iter().flat_map(|x| ACTIVATIONS.map(|f| (x, f))) {
        for i in 0..8 {
            let [gated, bias, recompute] = [0, 1, 2].map(|bit| i >> bit & 1 == 1);
            let op = FeedforwardBlock { activation, gated, bias, recompute, bf16: true };
            let inputs = block_inputs(0, op, x, (33, 65, 97));
            for (what, [planned, measured]) in planned_and_measured(&op.op(), &inputs) {
                assert_eq!(planned, measured, "{what}: {op:?} of {x}");
            }
        }
    }
}

/// A NaN in a row reaches that row, one in a weight its products, and nothing else.
#[test]
fn nan_is_not_lost() {
    const AT: (usize, usize, usize) = (5, 11, 2);
    for (isa, devices) in devices() {
        for (x, y) in TYPES.into_iter().flat_map(|x| TYPES.map(|y| (x, y))) {
            for activation in ACTIVATIONS {
                let inputs = Inputs::new(1, x, y, &[[33, 65], [7, 65]], Some(&[7]));
                let op = FeedforwardBf16::op(activation, true, y);
                let spoilt = |input: usize, place: usize| {
                    let mut inputs = inputs.clone();
                    inputs.values[input][place] = f64::NAN;
                    run(&devices[1], &op, &inputs, 1).unwrap()
                };
                let (row, column, out) = AT;
                for (input, place) in [(0, row * 65 + column), (1, out * 65 + column), (2, out)] {
                    let outcome = spoilt(input, place);
                    for (i, y) in outcome.y.iter().enumerate() {
                        let reached = if input == 0 { i / 7 == row } else { i % 7 == out };
                        assert_eq!(y.is_nan(), reached, "{op:?} on {isa}: input {input}, y {i}");
                    }
                    if activation == Activation::Identity && input == 0 {
                        assert!(outcome.dx[1].iter().any(|dw| dw.is_nan()));
                    }
                }
            }
        }
        for gated in [false, true] {
            let op = FeedforwardBlock { gated, bf16: true, ..Default::default() };
            let mut inputs = block_inputs(1, op, DType::F32, (33, 65, 7));
            inputs.values[0][5 * 65 + 11] = f64::NAN;
            let outcome = run(&devices[1], &op.op(), &inputs, 1).unwrap();
            for (i, y) in outcome.y.iter().enumerate() {
                assert_eq!(y.is_nan(), i / 65 == 5, "{op:?} on {isa}: y {i}");
            }
        }
    }
}

#[test]
fn other_types_are_refused() {
    let message = |op: &Arc<dyn Op>, types: &[DType], dims: &[[usize; 2]]| {
        let x: Vec<Spec> = dims.iter().zip(types).map(|(&dims, &t)| Spec::new(dims, t)).collect();
        op.contract(&x, &vec![false; x.len()]).unwrap_err().to_string()
    };
    let layer = [[8, 2], [4, 2]];
    let refused = |found, expected| {
        format!("values of type {found} are not supported here, expected {expected}")
    };
    let op = |output| FeedforwardBf16::op(Activation::Relu, false, output);
    for wrong in [DType::F64, DType::I32, DType::U8] {
        let any = refused(wrong, "f32 or bf16");
        assert_eq!(message(&op(DType::F32), &[wrong, DType::F32], &layer), any);
        assert_eq!(message(&op(wrong), &[DType::F32, DType::F32], &layer), any);
    }
    for wrong in [DType::F64, DType::BF16] {
        assert_eq!(message(&op(DType::F32), &[DType::F32, wrong], &layer), refused(wrong, "f32"));
    }
    let block = FeedforwardBlock { bf16: true, ..Default::default() }.op();
    let dims = [[8, 2], [4, 2], [2, 4]];
    for (x, weight) in [(DType::BF16, DType::BF16), (DType::F32, DType::F64)] {
        let message = message(&block, &[x, weight, weight], &dims);
        assert!(message.contains(&weight.to_string()), "{message}");
    }
    for wrong in [DType::F64, DType::I32] {
        let message = message(&block, &[wrong, DType::F32, DType::F32], &dims);
        assert!(message.contains(&wrong.to_string()), "{message}");
    }
}
