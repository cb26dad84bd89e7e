//! The networks of the works, built as a user would.

use crate::work::Error;
use ff_graph::Graph;
use ff_nn::models::{Mlp, MlpConfig, Predictor};
use ff_nn::{Builder, ModelConfig};
use ff_tensor::{DType, Device, Key, Rng, Tensor};

/// A feedforward network with ReLU between its layers.
pub(crate) struct Network<'a> {
    pub(crate) name: &'a str,
    /// Inputs, hidden layers, classes.
    pub(crate) widths: &'a [usize],
    /// Rows per training step.
    pub(crate) batch: usize,
}

/// The benchmarked networks.
pub(crate) const NETWORKS: [Network<'static>; 3] = [
    Network { name: "digits-64-128-10", widths: &[64, 128, 10], batch: 64 },
    Network { name: "mnist-784-512-256-10", widths: &[784, 512, 256, 10], batch: 128 },
    Network { name: "tab-50-256-256-2", widths: &[50, 256, 256, 2], batch: 256 },
];

impl Network<'_> {
    pub(crate) fn inputs(&self) -> usize {
        self.widths[0]
    }

    pub(crate) fn classes(&self) -> usize {
        self.widths[self.widths.len() - 1]
    }

    /// Operations of the forward pass for `rows` rows.
    pub(crate) fn forward_flops(&self, rows: usize) -> f64 {
        let products: usize = self.widths.windows(2).map(|w| w[0] * w[1]).sum();
        2.0 * (rows * products) as f64
    }

    /// Operations of forward and backward; the first layer's input needs no gradient.
    pub(crate) fn training_flops(&self) -> f64 {
        let first = 2 * self.batch * self.widths[0] * self.widths[1];
        3.0 * self.forward_flops(self.batch) - first as f64
    }

    /// The network and a graph that holds its parameters.
    pub(crate) fn build(&self, device: &Device) -> Result<(Mlp, Graph), Error> {
        build(&self.config(), device)
    }

    /// The network, ready to predict.
    pub(crate) fn predictor(&self, device: &Device) -> Result<Predictor, Error> {
        let mut builder = Builder::new();
        Mlp::new(&mut builder, &self.config());
        let params = builder.build(device, DType::F32, 0, false)?;
        Ok(Predictor::new(&self.config(), &params, device)?)
    }

    pub(crate) fn config(&self) -> MlpConfig {
        MlpConfig {
            numeric: self.inputs(),
            outputs: self.classes(),
            network: ModelConfig {
                hidden: self.widths[1..self.widths.len() - 1].to_vec(),
                ..ModelConfig::default()
            },
            ..MlpConfig::default()
        }
    }
}

/// A network and a graph that holds its parameters.
pub(crate) fn build(config: &MlpConfig, device: &Device) -> Result<(Mlp, Graph), Error> {
    let mut builder = Builder::new();
    let model = Mlp::new(&mut builder, config);
    let params = builder.build(device, DType::F32, 0, true)?;
    Ok((model, Graph::new(device, params)))
}

/// Normal random numbers.
pub(crate) fn normal(len: usize, seed: u64) -> Vec<f32> {
    let mut rng = Rng::new(Key::new(seed));
    (0..len).map(|_| rng.normal() as f32).collect()
}

/// A matrix of normal random numbers.
pub(crate) fn normal_tensor(device: &Device, dims: [usize; 2]) -> Result<Tensor, Error> {
    Ok(Tensor::from_slice(device, &normal(dims[0] * dims[1], 1), &dims)?)
}

/// Random classes.
pub(crate) fn labels(rows: usize, classes: usize) -> Vec<i32> {
    let mut rng = Rng::new(Key::new(2));
    (0..rows).map(|_| rng.below(classes as u64) as i32).collect()
}
