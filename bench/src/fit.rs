//! The steps of `train/…` from a table in memory, including the shuffle and the gathering of each
//! batch's rows.

use crate::clock::Clock;
use crate::network::{NETWORKS, Network, build, labels, normal};
use crate::train::{STEPS_PER_EPOCH, fit};
use crate::work::{Arithmetic, Error, Work};
use feedforward::table::objective::TabularObjective;
use ff_nn::{Loss, LossConfig, ModelConfig};
use ff_table::{Encoded, Target};
use ff_tensor::Device;
use ff_train::TrainConfig;

/// The network of a table of some thousand rows: eight members with dropout.
const MEMBERS: usize = 8;
const ENSEMBLE: Network<'static> =
    Network { name: "members8-70-256-128-2", widths: &[70, 256, 128, 2], batch: 128 };

pub(crate) fn works() -> Vec<Work> {
    let work = |network: &'static Network<'static>, members: Option<usize>| Work {
        name: format!("fit/{}-b{}", network.name, network.batch),
        arithmetic: Arithmetic::F32,
        flops: network.training_flops() * members.unwrap_or(1) as f64,
        run: Box::new(move |device, clock| run(network, members, device, clock)),
    };
    NETWORKS
        .iter()
        .map(|network| work(network, None))
        .chain([work(&ENSEMBLE, Some(MEMBERS))])
        .collect()
}

fn run(
    network: &Network,
    members: Option<usize>,
    device: &Device,
    clock: &mut Clock,
) -> Result<(), Error> {
    let mut config = network.config();
    if members.is_some() {
        config.network = ModelConfig { members, dropout: 0.1, ..config.network };
    }
    let (model, graph) = build(&config, device)?;
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
