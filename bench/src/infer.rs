//! Predictions of one row and of 32, from a batch in memory to the logits.

use crate::clock::Clock;
use crate::network::{NETWORKS, Network, normal};
use crate::work::{Arithmetic, Error, Work};
use ff_tensor::Device;
use std::hint::black_box;

pub(crate) fn works() -> Vec<Work> {
    let sizes = [1, 32].into_iter().flat_map(|rows| NETWORKS.iter().map(move |n| (rows, n)));
    let works = |(rows, network): (usize, &'static Network<'static>)| {
        [
            work(network, rows),
            // The overhead of a call, for the comparison with ONNX Runtime, whose calls have one
            // too.
            Work {
                name: format!("empty{rows}/{}", network.name),
                arithmetic: Arithmetic::F32,
                flops: 0.0,
                run: Box::new(move |device, clock| empty(network, rows, device, clock)),
            },
        ]
    };
    sizes.flat_map(works).collect()
}

/// The predictions of a network for `rows` rows.
pub(crate) fn work(network: &'static Network<'static>, rows: usize) -> Work {
    Work {
        name: format!("infer{rows}/{}", network.name),
        arithmetic: Arithmetic::F32,
        flops: network.forward_flops(rows),
        run: Box::new(move |device, clock| infer(network, rows, device, clock)),
    }
}

fn infer(network: &Network, rows: usize, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let mut predictor = network.predictor(device)?;
    let x = normal(rows * network.inputs(), 1);
    let mut logits = vec![0.0; rows * network.classes()];
    while clock.go_on() {
        predictor.predict(black_box(&x), &mut logits)?;
        black_box(&mut logits);
    }
    Ok(())
}

fn empty(network: &Network, _rows: usize, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let mut predictor = network.predictor(device)?;
    while clock.go_on() {
        predictor.predict(black_box(&[]), &mut [])?;
    }
    Ok(())
}
