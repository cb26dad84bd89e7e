//! Scratch.
#![allow(missing_docs, clippy::all, clippy::print_stdout, clippy::unwrap_used)]
use feedforward::nn::Builder;
use feedforward::nn::Precision;
use feedforward::nn::models::*;
use feedforward::ops::Graph;
use feedforward::tensor::{DType, Device, Tensor};
use feedforward::trainer::optim::{Optimizer, OptimizerConfig};
use std::time::Instant;
fn main() {
    let a: Vec<String> = std::env::args().collect();
    let (json, b, t) = match a[1].as_str() {
        "124m" => (
            r#"{"model_type":"gpt2","vocab_size":50257,"n_positions":1024,"n_embd":768,"n_layer":12,"n_head":12}"#,
            4,
            64,
        ),
        "6x384" => (
            r#"{"model_type":"gpt2","vocab_size":65,"n_positions":256,"n_embd":384,"n_layer":6,"n_head":6}"#,
            4,
            256,
        ),
        "nano" => (
            r#"{"model_type":"gpt2","vocab_size":65,"n_positions":64,"n_embd":128,"n_layer":4,"n_head":4}"#,
            12,
            64,
        ),
        _ => (
            r#"{"model_type":"llama","vocab_size":65,"hidden_size":384,"intermediate_size":1024,"num_hidden_layers":6,"num_attention_heads":6}"#,
            4,
            256,
        ),
    };
    let bf16 = a.get(2).is_some_and(|x| x == "bf16");
    let config = DecoderConfig::parse(json).unwrap();
    let device = Device::default();
    let mut builder = Builder::new();
    let options = LanguageOptions {
        precision: if bf16 { Precision::Bf16 } else { Precision::F32 },
        ..Default::default()
    };
    let model = CausalLm::new(&mut builder, &config, &options);
    let params = builder.build(&device, DType::F32, 0, true).unwrap();
    println!("{} parameters", params.len());
    let mut graph = Graph::new(&device, params);
    let mut opt = Optimizer::new(&OptimizerConfig::default(), graph.params(), &device).unwrap();
    let ids: Vec<i32> = (0..b * t).map(|i| ((i * 7919) % config.vocab_size) as i32).collect();
    let pos: Vec<i32> = (0..b * t).map(|i| (i % t) as i32).collect();
    let mut best = [f64::MAX; 4];
    for _ in 0..a.get(3).map_or(10, |n| n.parse().unwrap()) {
        graph.reset();
        graph.params_mut().clear_gradients();
        let input =
            |g: &Graph, v: &[i32]| g.input(Tensor::from_slice(&device, v, &[b, t]).unwrap());
        let batch =
            TokenBatch { ids: input(&graph, &ids), positions: input(&graph, &pos), segments: None };
        let targets = input(&graph, &ids);
        let t0 = Instant::now();
        let loss = model.loss(&mut graph, &batch, &targets).unwrap();
        let t1 = Instant::now();
        graph.backward(loss.total).unwrap();
        let t2 = Instant::now();
        opt.step(graph.params_mut(), (b * t) as f64, 1e-4).unwrap();
        let t3 = Instant::now();
        for (x, y) in best.iter_mut().zip([t1 - t0, t2 - t1, t3 - t2, t3 - t0]) {
            *x = x.min(y.as_secs_f64() * 1e3);
        }
    }
    let tally = graph.tally();
    println!(
        "{:?} forward {:.1} backward {:.1} optim {:.1} total {:.1} ms, {:.0} tokens/s; {:.2} GFLOP, {:.0} GFLOP/s",
        a[1..].to_vec(),
        best[0],
        best[1],
        best[2],
        best[3],
        (b * t) as f64 / best[3] * 1e3,
        (tally.flops + tally.dflops) as f64 / 1e9,
        (tally.flops + tally.dflops) as f64 / 1e6 / (best[0] + best[1])
    );
}
