//! Causal attention of fused queries, keys and values, forward and backward, as in training; and
//! one step of generation with a cache.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Error, Work};
use ff_graph::{Graph, Params};
use ff_ops::{Attention, KeyValueCache};
use ff_tensor::{DType, Device, Tensor, bf16};

/// Sequences, sequence length, heads and features per head.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) batch: usize,
    pub(crate) length: usize,
    pub(crate) heads: usize,
    pub(crate) dim: usize,
    pub(crate) bf16: bool,
}

/// GPT-2 at two lengths, a smaller shape, and one of a character model.
const SHAPES: [(&str, [usize; 4]); 4] = [
    ("gpt2-b4-t64", [4, 64, 12, 64]),
    ("small-b4-t256", [4, 256, 6, 64]),
    ("chars-b12-t64", [12, 64, 4, 32]),
    ("gpt2-b1-t1024", [1, 1024, 12, 64]),
];

pub(crate) fn works() -> Vec<Work> {
    let mut works = Vec::new();
    for bf16 in [false, true] {
        for (name, [batch, length, heads, dim]) in SHAPES {
            let shape = Shape { batch, length, heads, dim, bf16 };
            works.push(Work {
                name: format!("attention-{}/{name}", if bf16 { "bf16" } else { "f32" }),
                arithmetic: if bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 },
                flops: shape.flops(),
                run: Box::new(move |device, clock| shape.train(device, clock)),
            });
        }
    }
    let shape = Shape { batch: 1, length: 1024, heads: 12, dim: 64, bf16: false };
    works.push(Work {
        name: "attention-step/gpt2-t1024".to_owned(),
        arithmetic: Arithmetic::F32,
        flops: shape.generate_flops(),
        run: Box::new(move |device, clock| shape.generate(device, clock)),
    });
    works
}

impl Shape {
    /// Two products forward and five backward (including the recomputed scores) over the unmasked
    /// pairs.
    pub(crate) fn flops(self) -> f64 {
        let pairs = self.length * (self.length + 1) / 2;
        (7 * 2 * pairs * self.dim * self.heads * self.batch) as f64
    }

    /// One query: its scores, and the sum of the values.
    pub(crate) fn generate_flops(self) -> f64 {
        (4 * self.length * self.heads * self.dim) as f64
    }

    fn values(self, device: &Device, dims: &[usize]) -> Result<Tensor, Error> {
        let x = normal(dims.iter().product(), 1);
        Ok(if self.bf16 {
            let x: Vec<bf16> = x.into_iter().map(bf16::from_f32).collect();
            Tensor::from_slice(device, &x, dims)?
        } else {
            Tensor::from_slice(device, &x, dims)?
        })
    }

    fn op(self) -> Attention {
        let op = Attention::new(self.heads, self.heads, self.dim);
        Attention { causal: true, fused: true, ..op }
    }

    pub(crate) fn train(self, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let op = self.op().op();
        let params = Params::allocate(device, DType::F32, vec![], true)?;
        let mut graph = Graph::new(device, params);
        let qkv = self.values(device, &[self.batch, self.length, 3 * self.heads * self.dim])?;
        while clock.go_on() {
            graph.reset();
            let qkv = graph.variable(qkv.clone());
            let y = graph.apply(&op, &[&qkv])?;
            graph.backward_from(y, None)?;
        }
        Ok(())
    }

    pub(crate) fn generate(self, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let (op, width) = (self.op(), self.heads * self.dim);
        let qkv = self.values(device, &[1, self.length, 3 * width])?;
        let mut cache = KeyValueCache::new(device, DType::F32, 1, width, self.length)?;
        cache.append_fused(&qkv)?;
        let q = self.values(device, &[1, 1, width])?;
        while clock.go_on() {
            op.attend(device, &q, &cache, [None; 3])?;
        }
        Ok(())
    }
}
