//! The feedforward blocks of transformers, forward and backward: bias and activation, the gradient
//! of the input, and the gradients of the weights, added to those in the arena.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Error, Work};
use ff_graph::Graph;
use ff_nn::layers::FeedforwardBlock;
use ff_nn::{Builder, Init, Layer};
use ff_ops::Activation;
use ff_tensor::{DType, Device, Tensor, bf16};

/// GPT-2's block: 768 → 3072 → 768 with biases and the exact GELU.
pub(crate) const GPT2: Block =
    Block { tokens: 1024, width: 768, hidden: 3072, gated: false, bf16: false };
/// The block of a Llama with 1.1 billion parameters: 2048 → 5632 → 2048, SwiGLU, no biases.
const LLAMA: Block = Block { tokens: 512, width: 2048, hidden: 5632, gated: true, bf16: false };

#[derive(Clone, Copy)]
pub(crate) struct Block {
    pub(crate) tokens: usize,
    pub(crate) width: usize,
    pub(crate) hidden: usize,
    pub(crate) gated: bool,
    pub(crate) bf16: bool,
}

pub(crate) fn works() -> Vec<Work> {
    let work = |name: &str, block: Block| Work {
        name: format!("ffn-{}/{name}", if block.bf16 { "bf16" } else { "f32" }),
        arithmetic: if block.bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 },
        flops: block.flops(),
        run: Box::new(move |device, clock| block.run(device, clock)),
    };
    vec![
        work("gpt2", GPT2),
        work("llama", LLAMA),
        work("gpt2", Block { bf16: true, ..GPT2 }),
        work("llama", Block { bf16: true, ..LLAMA }),
    ]
}

impl Block {
    /// One forward pass and twice as much backward, for two matrices or three.
    pub(crate) fn flops(self) -> f64 {
        let matrices = if self.gated { 3 } else { 2 };
        (3 * 2 * self.tokens * self.width * self.hidden * matrices) as f64
    }

    pub(crate) fn run(self, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let mut builder = Builder::new();
        let op = ff_ops::FeedforwardBlock {
            activation: if self.gated { Activation::Silu } else { Activation::Gelu },
            gated: self.gated,
            bias: !self.gated,
            bf16: self.bf16,
            ..Default::default()
        };
        let init = Init::Normal { std: 0.02 };
        let block = FeedforwardBlock::new(&mut builder, op, self.width, self.hidden, init);
        let mut graph = Graph::new(device, builder.build(device, DType::F32, 0, true)?);
        let x = normal(self.tokens * self.width, 1);
        let dims = [self.tokens, self.width];
        let x = if self.bf16 {
            let x: Vec<bf16> = x.into_iter().map(bf16::from_f32).collect();
            Tensor::from_slice(device, &x, &dims)?
        } else {
            Tensor::from_slice(device, &x, &dims)?
        };
        while clock.go_on() {
            graph.reset();
            // Gradients are not cleared: each step adds to them.
            let x = graph.variable(x.clone());
            let y = block.forward(&mut graph, x)?;
            graph.backward_from(y, None)?;
        }
        Ok(())
    }
}
