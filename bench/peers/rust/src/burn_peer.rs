//! burn on its backend Flex, the fastest of its CPU backends without native libraries.

use crate::{BLOCKS, Block, LEARNING_RATE, NETWORKS, Step, Work};
use burn::module::Module;
use burn::nn::loss::CrossEntropyLossConfig;
use burn::nn::{Linear, LinearConfig};
use burn::optim::{AdamConfig, GradientsAccumulator, GradientsParams};
use burn::tensor::activation::{gelu, relu, silu};
use burn::tensor::{Device, Distribution, Int, Tensor};

#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(widths: &[usize], device: &Device) -> Self {
        let layer = |w: &[usize]| LinearConfig::new(w[0], w[1]).init(device);
        Self { layers: widths.windows(2).map(layer).collect() }
    }

    fn forward(&self, mut x: Tensor<2>) -> Tensor<2> {
        let (last, hidden) = self.layers.split_last().expect("a layer");
        for layer in hidden {
            x = relu(layer.forward(x));
        }
        last.forward(x)
    }
}

#[derive(Module, Debug)]
struct Ffn {
    first: Linear,
    up: Option<Linear>,
    down: Linear,
}

impl Ffn {
    fn new(block: Block, device: &Device) -> Self {
        let layer = |a, b| LinearConfig::new(a, b).with_bias(!block.gated).init(device);
        Self {
            first: layer(block.width, block.hidden),
            up: block.gated.then(|| layer(block.width, block.hidden)),
            down: layer(block.hidden, block.width),
        }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        let hidden = match &self.up {
            Some(up) => silu(self.first.forward(x.clone())) * up.forward(x),
            None => gelu(self.first.forward(x)),
        };
        self.down.forward(hidden)
    }
}

fn random(rows: usize, cols: usize, device: &Device) -> Tensor<2> {
    Tensor::random([rows, cols], Distribution::Normal(0.0, 1.0), device)
}

pub fn works() -> Vec<Work> {
    let mut works: Vec<Work> = Vec::new();
    for (name, widths, batch) in NETWORKS {
        works.push((format!("train/{name}-b{batch}"), Box::new(move || train(widths, batch))));
    }
    for rows in [1, 32] {
        for (name, widths, _) in NETWORKS {
            works.push((format!("infer{rows}/{name}"), Box::new(move || infer(widths, rows))));
        }
    }
    for (name, block) in BLOCKS {
        works.push((format!("ffn-f32/{name}"), Box::new(move || ffn(block))));
    }
    works
}

fn train(widths: &'static [usize], batch: usize) -> Step {
    let device = Device::flex().autodiff();
    let mut model = Some(Mlp::new(widths, &device));
    let mut optimizer = AdamConfig::new().init();
    let loss = CrossEntropyLossConfig::new().init(&device);
    let x = random(batch, widths[0], &device);
    let classes = *widths.last().expect("classes") as i64;
    let labels: Vec<i64> = (0..batch as i64).map(|i| i * 7 % classes).collect();
    let y = Tensor::<1, Int>::from_data(labels.as_slice(), &device);
    Box::new(move || {
        let trained = model.take().expect("a model");
        let loss = loss.forward(trained.forward(x.clone()), y.clone());
        let grads = GradientsParams::from_grads(loss.backward(), &trained);
        model = Some(optimizer.step(LEARNING_RATE, trained, grads));
    })
}

fn infer(widths: &'static [usize], rows: usize) -> Step {
    let device = Device::flex();
    let model = Mlp::new(widths, &device).valid();
    let x = random(rows, widths[0], &device);
    Box::new(move || {
        std::hint::black_box(model.forward(x.clone()));
    })
}

fn ffn(block: Block) -> Step {
    let device = Device::flex().autodiff();
    let model = Ffn::new(block, &device);
    let mut sums = GradientsAccumulator::new();
    let x = random(block.tokens, block.width, &device);
    Box::new(move || {
        let x = x.clone().require_grad();
        let mut grads = model.forward(x.clone()).backward();
        std::hint::black_box(x.grad(&grads));
        let params = GradientsParams::from_module(&mut grads, &model);
        sums.accumulate(&model, params);
    })
}
