//! candle on its CPU backend.

use crate::{BLOCKS, Block, LEARNING_RATE, NETWORKS, Step, Work};
use candle_core::{DType, Device, Result, Tensor, Var};
use candle_nn::{
    AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear, linear_no_bias,
    loss::cross_entropy, ops::silu,
};

fn network(widths: &[usize]) -> Result<(VarMap, Vec<Linear>)> {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let layer = |(i, w): (usize, &[usize])| linear(w[0], w[1], builder.pp(i));
    let layers = widths.windows(2).enumerate().map(layer).collect::<Result<_>>()?;
    Ok((vars, layers))
}

fn forward(layers: &[Linear], x: &Tensor) -> Result<Tensor> {
    let (last, hidden) = layers.split_last().expect("a layer");
    let mut x = x.clone();
    for layer in hidden {
        x = layer.forward(&x)?.relu()?;
    }
    last.forward(&x)
}

fn random(rows: usize, cols: usize) -> Result<Tensor> {
    Tensor::randn(0f32, 1f32, (rows, cols), &Device::Cpu)
}

pub fn works() -> Vec<Work> {
    let mut works: Vec<Work> = Vec::new();
    for (name, widths, batch) in NETWORKS {
        let make = move || train(widths, batch).expect("candle");
        works.push((format!("train/{name}-b{batch}"), Box::new(make)));
    }
    for rows in [1, 32] {
        for (name, widths, _) in NETWORKS {
            let make = move || infer(widths, rows).expect("candle");
            works.push((format!("infer{rows}/{name}"), Box::new(make)));
        }
    }
    for (name, block) in BLOCKS {
        works.push((format!("ffn-f32/{name}"), Box::new(move || ffn(block).expect("candle"))));
    }
    works
}

fn train(widths: &'static [usize], batch: usize) -> Result<Step> {
    let (vars, layers) = network(widths)?;
    // AdamW without its decay is Adam.
    let params = ParamsAdamW { lr: LEARNING_RATE, weight_decay: 0.0, ..ParamsAdamW::default() };
    let mut optimizer = AdamW::new(vars.all_vars(), params)?;
    let x = random(batch, widths[0])?;
    let classes = *widths.last().expect("classes") as u32;
    let labels: Vec<u32> = (0..batch as u32).map(|i| i * 7 % classes).collect();
    let y = Tensor::from_vec(labels, batch, &Device::Cpu)?;
    Ok(Box::new(move || {
        let loss = forward(&layers, &x).and_then(|logits| cross_entropy(&logits, &y));
        loss.and_then(|loss| optimizer.backward_step(&loss)).expect("candle");
    }))
}

fn infer(widths: &'static [usize], rows: usize) -> Result<Step> {
    let (_, layers) = network(widths)?;
    // Weights detached from variables: nothing is recorded for a backward pass.
    let detached =
        |l: &Linear| Linear::new(l.weight().detach(), l.bias().map(Tensor::detach));
    let layers: Vec<Linear> = layers.iter().map(detached).collect();
    let x = random(rows, widths[0])?;
    Ok(Box::new(move || {
        std::hint::black_box(forward(&layers, &x).expect("candle"));
    }))
}

fn ffn(block: Block) -> Result<Step> {
    let vars = VarMap::new();
    let builder = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let layer = |a, b, name| match block.gated {
        true => linear_no_bias(a, b, builder.pp(name)),
        false => linear(a, b, builder.pp(name)),
    };
    let first = layer(block.width, block.hidden, "first")?;
    let up = block.gated.then(|| layer(block.width, block.hidden, "up")).transpose()?;
    let down = layer(block.hidden, block.width, "down")?;
    let x = Var::from_tensor(&random(block.tokens, block.width)?)?;
    let params = vars.all_vars();
    let mut sums: Vec<Option<Tensor>> = vec![None; params.len()];
    let forward = move |x: &Tensor| {
        let hidden = match &up {
            Some(up) => (silu(&first.forward(x)?)? * up.forward(x)?)?,
            None => first.forward(x)?.gelu_erf()?,
        };
        down.forward(&hidden)
    };
    let mut step = move || -> Result<()> {
        let grads = forward(&x)?.backward()?;
        std::hint::black_box(grads.get(&x));
        for (sum, param) in sums.iter_mut().zip(&params) {
            let grad = grads.get(param).expect("a gradient");
            *sum = Some(match sum.take() {
                Some(sum) => (sum + grad)?,
                None => grad.clone(),
            });
        }
        Ok(())
    };
    Ok(Box::new(move || step().expect("candle")))
}
