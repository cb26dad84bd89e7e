//! The last layer of language models with its loss, forward and backward: logits, softmax
//! cross-entropy, the gradient of the input, and the gradient of the weight, added to the one in
//! the arena.

use crate::clock::Clock;
use crate::network::normal;
use crate::work::{Arithmetic, Error, Work};
use ff_graph::{Graph, ParamKind, ParamSpec, Params};
use ff_ops::LinearCrossEntropy;
use ff_tensor::{DType, Device, Tensor, bf16};

#[derive(Clone, Copy)]
pub(crate) struct Head {
    pub(crate) name: &'static str,
    pub(crate) tokens: usize,
    pub(crate) width: usize,
    pub(crate) classes: usize,
    pub(crate) bf16: bool,
}

/// A small vocabulary of characters, and GPT-2's, with logits computed in chunks, twice.
const HEADS: [Head; 3] = [
    Head { name: "characters", tokens: 768, width: 128, classes: 65, bf16: false },
    Head { name: "small", tokens: 2048, width: 384, classes: 8192, bf16: false },
    Head { name: "gpt2", tokens: 1024, width: 768, classes: 50_257, bf16: false },
];

pub(crate) fn works() -> Vec<Work> {
    let work = |head: Head| Work {
        name: format!("head-{}/{}", if head.bf16 { "bf16" } else { "f32" }, head.name),
        arithmetic: if head.bf16 { Arithmetic::Bf16 } else { Arithmetic::F32 },
        flops: head.flops(),
        run: Box::new(move |device, clock| head.run(device, clock)),
    };
    let rounded = HEADS.map(|head| Head { bf16: true, ..head });
    HEADS.into_iter().chain(rounded).map(work).collect()
}

impl Head {
    /// Logits, the gradient of the input and that of the weight; logits computed twice count once.
    pub(crate) fn flops(self) -> f64 {
        (3 * 2 * self.tokens * self.width * self.classes) as f64
    }

    pub(crate) fn run(self, device: &Device, clock: &mut Clock) -> Result<(), Error> {
        let Self { tokens, width, classes, .. } = self;
        let spec = ParamSpec::new("weight", [classes, width], ParamKind::Weight);
        let mut params = Params::allocate(device, DType::F32, vec![spec], true)?;
        let id = params.id("weight").ok_or("the weight exists")?;
        for (to, from) in params.values_mut::<f32>(id)?.iter_mut().zip(normal(classes * width, 1)) {
            *to = 0.02 * from;
        }
        let mut graph = Graph::new(device, params);
        let x = normal(tokens * width, 2);
        let dims = [tokens, width];
        let x = if self.bf16 {
            let x: Vec<bf16> = x.into_iter().map(bf16::from_f32).collect();
            Tensor::from_slice(device, &x, &dims)?
        } else {
            Tensor::from_slice(device, &x, &dims)?
        };
        let targets: Vec<i32> = (0..tokens).map(|i| (i * 7919 % classes) as i32).collect();
        let targets = Tensor::from_slice(device, &targets, &[tokens])?;
        let op = LinearCrossEntropy { bf16: self.bf16, ..Default::default() }.op();
        while clock.go_on() {
            graph.reset();
            let x = graph.variable(x.clone());
            let (weight, targets) = (graph.param(id), graph.input(targets.clone()));
            let mut outputs = graph.apply_all(&op, &[&x, &weight, &targets])?;
            outputs.truncate(1);
            graph.backward(outputs.remove(0))?;
        }
        Ok(())
    }
}
