//! The feedforward blocks of transformers, forward and backward: bias and activation, the gradient of the input, and the
//! gradients of the weights added to those that lie in the arena.

use crate::clock::Clock;
use crate::network::normal_tensor;
use crate::work::{Arithmetic, Error, Work};
use ff_nn::layers::Feedforward;
use ff_nn::{Builder, Init, Layer};
use ff_ops::{Activation, Graph, Mul, Value};
use ff_tensor::{DType, Device};

/// GPT-2's: 768 → 3072 → 768 with biases and the exact GELU.
const GPT2: Block = Block { tokens: 1024, width: 768, hidden: 3072, bias: true, gated: false };
/// A Llama of 1.1 billion parameters: 2048 → 5632 → 2048, SwiGLU, no biases.
const LLAMA: Block = Block { tokens: 512, width: 2048, hidden: 5632, bias: false, gated: true };

#[derive(Clone, Copy)]
struct Block {
    tokens: usize,
    width: usize,
    hidden: usize,
    bias: bool,
    gated: bool,
}

pub(crate) fn works() -> Vec<Work> {
    let work = |name: &str, block: Block| Work {
        name: name.to_owned(),
        arithmetic: Arithmetic::F32,
        flops: block.flops(),
        run: Box::new(move |device, clock| block.run(device, clock)),
    };
    vec![work("ffn-f32/gpt2", GPT2), work("ffn-f32/llama", LLAMA)]
}

impl Block {
    /// Forward and twice as much backward, of two matrices or of three.
    fn flops(self) -> f64 {
        let matrices = if self.gated { 3 } else { 2 };
        (3 * 2 * self.tokens * self.width * self.hidden * matrices) as f64
    }

    fn run(self, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let mut builder = Builder::new();
        let mut layer = |name: &str, from: usize, to: usize, activation: Activation| {
            let init = Init::Normal { std: 0.02 };
            builder
                .scope(name, |b| Feedforward::with_init(b, from, to, activation, self.bias, init))
        };
        let first = if self.gated { Activation::Silu } else { Activation::Gelu };
        let gate = layer("gate", self.width, self.hidden, first);
        let up = self.gated.then(|| layer("up", self.width, self.hidden, Activation::Identity));
        let down = layer("down", self.hidden, self.width, Activation::Identity);
        let mul = Mul::op();
        let forward = |graph: &mut Graph, x: Value| -> ff_ops::Result<Value> {
            let mut hidden = gate.forward(graph, x.clone())?;
            if let Some(up) = &up {
                let up = up.forward(graph, x)?;
                hidden = graph.apply(&mul, &[&hidden, &up])?;
            }
            down.forward(graph, hidden)
        };

        let mut graph = Graph::new(device, builder.build(device, DType::F32, 0, true)?);
        let x = normal_tensor(device, [self.tokens, self.width])?;
        while clock.go_on() {
            graph.reset();
            // Gradients are not cleared: each step adds to them.
            let x = graph.variable(x.clone());
            let y = forward(&mut graph, x)?;
            graph.backward_from(y, None)?;
        }
        Ok(())
    }
}
