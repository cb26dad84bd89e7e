//! The steps of `train/…` from a table in memory, including the shuffle and the gathering of each
//! batch's rows.

use crate::clock::Clock;
use crate::network::{NETWORKS, Network, labels, normal};
use crate::train::{STEPS_PER_EPOCH, fit};
use crate::work::{Arithmetic, Error, Work};
use feedforward::table::objective::TabularObjective;
use ff_nn::{Loss, LossConfig};
use ff_table::{Encoded, Target};
use ff_tensor::Device;
use ff_train::TrainConfig;

pub(crate) fn works() -> Vec<Work> {
    NETWORKS
        .iter()
        .map(|network| Work {
            name: format!("fit/{}-b{}", network.name, network.batch),
            arithmetic: Arithmetic::F32,
            flops: network.training_flops(),
            run: Box::new(|device, clock| run(network, device, clock)),
        })
        .collect()
}

fn run(network: &Network, device: &Device, clock: &mut Clock) -> Result<(), Error> {
    let (model, graph) = network.build(device)?;
    let loss = Loss::new(&LossConfig::default(), Some(network.classes()), None)?;
    let rows = network.batch * STEPS_PER_EPOCH;
    let train = Encoded {
        rows,
        n_numeric: network.inputs(),
        numeric: normal(rows * network.inputs(), 1),
        target: Some(Target::Class(labels(rows, network.classes()))),
        ..Encoded::default()
    };
    let valid = Encoded::default();
    let mut objective =
        TabularObjective::new(&model, &loss, &train, &valid, &TrainConfig::default());
    fit(graph, &mut objective, network.batch, clock)
}
