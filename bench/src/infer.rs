//! Predictions of one row and of 32, from a batch in memory to the logits.

use crate::clock::Clock;
use crate::network::{NETWORKS, Network, normal_tensor};
use crate::work::{Arithmetic, Error, Work};
use ff_nn::models::MlpInput;
use ff_ops::Mode;
use ff_tensor::Device;
use std::hint::black_box;

pub(crate) fn works() -> Vec<Work> {
    let sizes = [1, 32].into_iter().flat_map(|rows| NETWORKS.iter().map(move |n| (rows, n)));
    let works = |(rows, network): (usize, &'static Network<'static>)| {
        [
            Work {
                name: format!("infer{rows}/{}", network.name),
                arithmetic: Arithmetic::F32,
                flops: network.forward_flops(rows),
                run: Box::new(move |device, clock| infer(network, rows, device, clock)),
            },
            // What a call costs by itself, for the comparison with ONNX Runtime, whose calls cost something too.
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

fn infer(network: &Network, rows: usize, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let (model, mut graph) = network.build(device, false)?;
    graph.set_mode(Mode::Eval);
    let x = normal_tensor(device, [rows, network.inputs()])?;
    while clock.go_on() {
        graph.reset();
        let input = MlpInput { numeric: Some(graph.input(x.clone())), ..MlpInput::default() };
        let logits = model.forward(&mut graph, &input)?;
        black_box(logits.slice::<f32>()?);
    }
    Ok(())
}

fn empty(network: &Network, rows: usize, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let (_, mut graph) = network.build(device, false)?;
    graph.set_mode(Mode::Eval);
    let x = normal_tensor(device, [rows, network.inputs()])?;
    while clock.go_on() {
        graph.reset();
        black_box(graph.input(x.clone()).slice::<f32>()?);
    }
    Ok(())
}
