//! Stacks of experts' matrices, which gpt-oss has in both files: `transformers` with outputs last
//! and those of gate and up in turn, llama.cpp as matrices of their own with inputs last.

/// A stack in `transformers`, and those of llama.cpp that it is made of.
#[derive(Debug)]
pub(super) struct Stack {
    theirs: &'static str,
    /// One, or two whose outputs alternate.
    ours: &'static [&'static str],
}

/// The stacks of a layer.
const STACKS: [Stack; 2] = [
    Stack { theirs: "gate_up_proj", ours: &["ffn_gate_exps", "ffn_up_exps"] },
    Stack { theirs: "down_proj", ours: &["ffn_down_exps"] },
];

/// The experts, inputs and outputs of a stack of `transformers`; biases have no inputs.
fn sizes(dims: &[usize]) -> Option<[usize; 3]> {
    match *dims {
        [experts, inputs, outputs] => Some([experts, inputs, outputs]),
        [experts, outputs] => Some([experts, 1, outputs]),
        _ => None,
    }
}

impl Stack {
    /// The stack of a tensor of `transformers`, its layer, and whether it is of biases.
    pub(super) fn theirs(name: &str) -> Option<(&'static Self, &str, bool)> {
        let (layer, rest) = name.strip_prefix("model.layers.")?.split_once('.')?;
        let part = rest.strip_prefix("mlp.experts.")?;
        let (part, bias) = part.strip_suffix("_bias").map_or((part, false), |part| (part, true));
        let stack = const { &STACKS }.iter().find(|stack| stack.theirs == part)?;
        Some((stack, layer, bias))
    }

    /// The stack that a part of a layer of llama.cpp belongs to, and its place in it.
    pub(super) fn ours(part: &str) -> Option<(&'static Self, usize)> {
        let place =
            |stack: &'static Self| Some((stack, stack.ours.iter().position(|ours| *ours == part)?));
        const { &STACKS }.iter().find_map(place)
    }

    /// The name in `transformers`.
    pub(super) fn name(&self, layer: &str, bias: bool) -> String {
        let end = if bias { "_bias" } else { "" };
        format!("model.layers.{layer}.mlp.experts.{}{end}", self.theirs)
    }

    /// The names in llama.cpp.
    pub(super) fn names(&self, layer: &str, bias: bool) -> Vec<String> {
        let end = if bias { "bias" } else { "weight" };
        self.ours.iter().map(|ours| format!("blk.{layer}.{ours}.{end}")).collect()
    }

    /// The shape in `transformers` of stacks of llama.cpp of this shape.
    pub(super) fn dims(&self, ours: &[usize]) -> Option<Vec<usize>> {
        let n = self.ours.len();
        match *ours {
            [experts, outputs, inputs] => Some(vec![experts, inputs, n * outputs]),
            [experts, outputs] => Some(vec![experts, n * outputs]),
            _ => None,
        }
    }

    /// The shape in llama.cpp of each part of a stack of `transformers` of this shape.
    pub(super) fn parts_dims(&self, theirs: &[usize]) -> Option<Vec<usize>> {
        let [experts, inputs, outputs] = sizes(theirs)?;
        let outputs = outputs / self.ours.len();
        Some(match theirs.len() {
            3 => vec![experts, outputs, inputs],
            _ => vec![experts, outputs],
        })
    }

    /// The values of a stack of `transformers` of this shape from its parts; `None` if their
    /// numbers do not fit together.
    pub(super) fn join(&self, parts: &[Vec<f32>], dims: &[usize]) -> Option<Vec<f32>> {
        let [experts, inputs, outputs] = sizes(dims)?;
        let (n, all) = (self.ours.len(), experts * inputs * outputs);
        if parts.len() != n || parts.iter().any(|part| part.len() * n != all) {
            return None;
        }
        let mut values = vec![0.0; all];
        for (i, value) in values.iter_mut().enumerate() {
            let (expert, input, output) =
                (i / (inputs * outputs), i / outputs % inputs, i % outputs);
            *value = parts[output % n][(expert * (outputs / n) + output / n) * inputs + input];
        }
        Some(values)
    }

    /// One part of the values of a stack of `transformers`.
    pub(super) fn part(&self, values: &[f32], dims: &[usize], part: usize) -> Vec<f32> {
        let Some([experts, inputs, outputs]) = sizes(dims) else { return Vec::new() };
        let n = self.ours.len();
        let of = |i: usize| {
            let (row, input) = (i / inputs, i % inputs);
            let (expert, output) = (row / (outputs / n), row % (outputs / n));
            values[(expert * inputs + input) * outputs + output * n + part]
        };
        (0..experts * (outputs / n) * inputs).map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stacks_are_taken_apart_and_joined() {
        let (stack, layer, bias) =
            Stack::theirs("model.layers.3.mlp.experts.gate_up_proj").unwrap();
        assert_eq!((layer, bias), ("3", false));
        // Two experts with two inputs and two outputs of gate and up each.
        let values: Vec<f32> = (0..16).map(|i| i as f32).collect();
        let dims = [2, 2, 4];
        let parts: Vec<Vec<f32>> = (0..2).map(|i| stack.part(&values, &dims, i)).collect();
        // Row 0 of expert 0's gate: output 0 of both inputs.
        assert_eq!(parts[0][..4], [0.0, 4.0, 2.0, 6.0]);
        assert_eq!(parts[1][4..], [9.0, 13.0, 11.0, 15.0]);
        assert_eq!(stack.join(&parts, &dims).unwrap(), values);
        assert!(stack.join(&parts[..1], &dims).is_none());
        assert_eq!(stack.dims(&[2, 2, 2]).unwrap(), dims);
        assert_eq!(stack.parts_dims(&dims).unwrap(), [2, 2, 2]);
        let (stack, _, bias) =
            Stack::theirs("model.layers.0.mlp.experts.gate_up_proj_bias").unwrap();
        assert!(bias);
        assert_eq!(stack.part(&[1.0, 2.0, 3.0, 4.0], &[1, 4], 1), [2.0, 4.0]);
        assert_eq!(stack.names("0", bias), ["blk.0.ffn_gate_exps.bias", "blk.0.ffn_up_exps.bias"]);
    }
}
