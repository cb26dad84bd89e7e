//! Operations that graphs write out in several nodes: both forms of Gelu, HardSwish, and rows of a
//! matrix that are looked up by a product with one-hot rows.

use super::Operator;
use super::{Attribute, Node, Plan};
use crate::onnx::data::{DType, Data};
use crate::onnx::ops::{self, ONE_HOT_PRODUCT};
use crate::onnx::tensor::Tensor;
use std::collections::HashMap;
use std::f32::consts::{FRAC_1_SQRT_2, SQRT_2};
use std::sync::{Arc, OnceLock};

/// √(2/π)
const SQRT_2_OVER_PI: f32 = 0.797_884_6;

/// Joins such nodes.
pub(super) fn join(plan: &mut Plan, constants: &HashMap<usize, Arc<Tensor>>) {
    let found = View::of(plan, constants).found();
    let mut gone = vec![false; plan.nodes.len()];
    for Found { parts, last, operator, attribute, inputs } in found {
        for i in parts {
            gone[i] = true;
        }
        let node = &mut plan.nodes[last];
        node.operator = operator;
        node.attributes = attribute.into_iter().map(|(name, a)| (name.to_owned(), a)).collect();
        let fixed = |slot: &usize| (constants.contains_key(slot), OnceLock::default());
        node.fixed = inputs.iter().map(fixed).collect();
        node.inputs = inputs.into_iter().map(Some).collect();
    }
    let mut gone = gone.into_iter();
    plan.nodes.retain(|_| !gone.next().unwrap_or(false));
}

/// Nodes that are one operation.
struct Found {
    /// All but the last.
    parts: Vec<usize>,
    /// The one whose output stays.
    last: usize,
    operator: &'static Operator,
    attribute: Option<(&'static str, Attribute)>,
    inputs: Vec<usize>,
}

/// A plan, and who makes and who reads each value.
struct View<'a> {
    nodes: &'a [Node],
    constants: &'a HashMap<usize, Arc<Tensor>>,
    readers: Vec<usize>,
    /// The last node that reads a value.
    next: HashMap<usize, usize>,
    makers: HashMap<usize, usize>,
}

impl<'a> View<'a> {
    fn of(plan: &'a Plan, constants: &'a HashMap<usize, Arc<Tensor>>) -> Self {
        let (mut next, mut makers) = (HashMap::new(), HashMap::new());
        for (i, node) in plan.nodes.iter().enumerate() {
            next.extend(node.inputs.iter().flatten().map(|&slot| (slot, i)));
            makers.extend(node.outputs.iter().flatten().map(|&slot| (slot, i)));
        }
        Self { nodes: &plan.nodes, constants, readers: plan.readers(), next, makers }
    }

    fn found(&self) -> Vec<Found> {
        let find = |i: usize| match self.nodes[i].operator.name {
            "Erf" => self.gelu(i),
            "Tanh" => self.gelu_by_tanh(i),
            "Clip" => self.hard_swish(i),
            "Cast" => self.one_hot_product(i),
            _ => None,
        };
        (0..self.nodes.len()).filter_map(find).collect()
    }

    /// Whether a slot holds one number near a value.
    fn near(&self, slot: Option<usize>, value: f32) -> bool {
        let tensor = slot.and_then(|slot| self.constants.get(&slot));
        tensor.is_some_and(|tensor| match (tensor.data(), tensor.dims()) {
            (Data::F32(v), [] | [1]) => v.iter().all(|x| (x - value).abs() <= 1e-6 * value),
            _ => false,
        })
    }

    /// The other input of a node that has a constant near a value.
    fn beside(&self, i: usize, value: f32) -> Option<usize> {
        match self.nodes[i].inputs[..] {
            [a, b] if self.near(b, value) => a,
            [a, b] if self.near(a, value) => b,
            _ => None,
        }
    }

    /// The node of this operator that makes a value for one reader.
    fn before(&self, slot: usize, name: &str) -> Option<usize> {
        let &i = self.makers.get(&slot)?;
        (self.readers[slot] == 1 && self.nodes[i].operator.name == name).then_some(i)
    }

    /// The only node that reads what another makes, and that value.
    fn after(&self, i: usize) -> Option<(usize, usize)> {
        let &[Some(slot)] = &self.nodes[i].outputs[..] else { return None };
        (self.readers[slot] == 1).then_some((*self.next.get(&slot)?, slot))
    }

    fn after_named(&self, i: usize, name: &str) -> Option<(usize, usize)> {
        self.after(i).filter(|(j, _)| self.nodes[*j].operator.name == name)
    }

    /// Whether a node has these two inputs.
    fn takes(&self, i: usize, x: usize, y: usize) -> bool {
        matches!(self.nodes[i].inputs[..], [Some(a), Some(b)] if (a, b) == (x, y) || (b, a) == (x, y))
    }

    /// The two products after a node that are x · value times it, whichever is multiplied first.
    fn times(&self, i: usize, x: usize, by: impl Fn(usize) -> bool) -> Option<[usize; 2]> {
        let (one, from) = self.after(i)?;
        let (two, between) = self.after(one)?;
        let first = by(one) && self.takes(two, x, between) && self.is_product(two);
        let second = self.takes(one, x, from) && self.is_product(one) && by(two);
        (first || second).then_some([one, two])
    }

    fn is_product(&self, i: usize) -> bool {
        self.nodes[i].operator.name == "Mul"
    }

    /// x / 2 · (1 + erf(x / √2))
    fn gelu(&self, erf: usize) -> Option<Found> {
        let scaled = self.nodes[erf].inputs[0]?;
        let (first, x) = if let Some(div) = self.before(scaled, "Div") {
            let &[x, by] = &self.nodes[div].inputs[..] else { return None };
            (div, x.filter(|_| self.near(by, SQRT_2))?)
        } else {
            let mul = self.before(scaled, "Mul")?;
            (mul, self.beside(mul, FRAC_1_SQRT_2)?)
        };
        let (add, _) = self.after_named(erf, "Add")?;
        self.beside(add, 1.0)?;
        let [one, last] = self.half_of(add, x)?;
        let operator = ops::find("", "Gelu")?;
        let parts = vec![first, erf, add, one];
        Some(Found { parts, last, operator, attribute: None, inputs: vec![x] })
    }

    /// The two products after a node that are x / 2 times it.
    fn half_of(&self, i: usize, x: usize) -> Option<[usize; 2]> {
        self.times(i, x, |i| self.is_product(i) && self.beside(i, 0.5).is_some())
    }

    /// x / 2 · (1 + tanh(√(2/π) (x + 0.044715 x³)))
    fn gelu_by_tanh(&self, tanh: usize) -> Option<Found> {
        let scaled = self.before(self.nodes[tanh].inputs[0]?, "Mul")?;
        let sum = self.before(self.beside(scaled, SQRT_2_OVER_PI)?, "Add")?;
        let &[Some(a), Some(b)] = &self.nodes[sum].inputs[..] else { return None };
        let mut parts = vec![scaled, sum, tanh];
        let (x, cube) = if self.readers[a] > self.readers[b] { (a, b) } else { (b, a) };
        let (factor, power) = self.monomial(cube, x, &mut parts)?;
        if power != 3 || (factor - 0.044_715).abs() > 1e-6 {
            return None;
        }
        let (add, _) = self.after_named(tanh, "Add")?;
        self.beside(add, 1.0)?;
        let [one, last] = self.half_of(add, x)?;
        parts.extend([add, one]);
        let attribute = Some(("approximate", Attribute::Text("tanh".into())));
        Some(Found { parts, last, operator: ops::find("", "Gelu")?, attribute, inputs: vec![x] })
    }

    /// The factor and the power of c xⁿ, and the nodes that make it.
    fn monomial(&self, slot: usize, x: usize, parts: &mut Vec<usize>) -> Option<(f32, u32)> {
        if slot == x {
            return Some((1.0, 1));
        }
        if let Some(tensor) = self.constants.get(&slot) {
            return match (tensor.data(), tensor.dims()) {
                (Data::F32(v), [] | [1]) => Some((*v.first()?, 0)),
                _ => None,
            };
        }
        if parts.len() > 12 {
            return None;
        }
        if let Some(pow) = self.before(slot, "Pow") {
            parts.push(pow);
            let &[from, power] = &self.nodes[pow].inputs[..] else { return None };
            return (from == Some(x) && self.near(power, 3.0)).then_some((1.0, 3));
        }
        let mul = self.before(slot, "Mul")?;
        parts.push(mul);
        let &[Some(a), Some(b)] = &self.nodes[mul].inputs[..] else { return None };
        let ((c, n), (d, m)) = (self.monomial(a, x, parts)?, self.monomial(b, x, parts)?);
        Some((c * d, n + m))
    }

    /// x · min(max(x + 3, 0), 6) / 6
    fn hard_swish(&self, clip: usize) -> Option<Found> {
        let node = &self.nodes[clip];
        let bound = |i: usize, name: &str, value: f32| match node.attributes.get(name) {
            Some(Attribute::Float(x)) => *x == value,
            _ => self.near(node.inputs.get(i).copied().flatten(), value),
        };
        if !(bound(1, "min", 0.0) && bound(2, "max", 6.0)) {
            return None;
        }
        let add = self.before(node.inputs[0]?, "Add")?;
        let x = self.beside(add, 3.0)?;
        let sixth = |i: usize| match self.nodes[i].operator.name {
            "Div" => self.nodes[i].inputs.get(1).is_some_and(|&by| self.near(by, 6.0)),
            "Mul" => self.beside(i, 1.0 / 6.0).is_some(),
            _ => false,
        };
        let [one, last] = self.times(clip, x, sixth)?;
        let operator = ops::find("", "HardSwish")?;
        let parts = vec![add, clip, one];
        Some(Found { parts, last, operator, attribute: None, inputs: vec![x] })
    }

    /// W[x], written as the product of W and rows that are 1 where x equals 0, 1, 2, …
    fn one_hot_product(&self, cast: usize) -> Option<Found> {
        let to = match self.nodes[cast].attributes.get("to")? {
            Attribute::Int(code) => DType::from_code(i32::try_from(*code).ok()?)?,
            _ => return None,
        };
        let equal = self.before(self.nodes[cast].inputs[0]?, "Equal")?;
        let (product, rows) = self.after_named(cast, "MatMul")?;
        let &[Some(a), Some(b)] = &self.nodes[equal].inputs[..] else { return None };
        let counts = |slot: usize| {
            self.constants.get(&slot).is_some_and(|tensor| {
                tensor.dims().split_last().is_some_and(|(_, rest)| rest.iter().all(|&d| d == 1))
                    && match tensor.data() {
                        Data::I32(v) => v.iter().zip(0..).all(|(x, i)| *x == i),
                        Data::I64(v) => v.iter().zip(0..).all(|(x, i)| *x == i),
                        _ => false,
                    }
            })
        };
        let (x, labels) = if counts(b) { (a, b) } else { (b, a) };
        let &[left, Some(weight)] = &self.nodes[product].inputs[..] else { return None };
        let matrix = self.constants.get(&weight)?;
        // A product with 0 is 0 for finite numbers alone.
        let finite = match matrix.data() {
            Data::F32(v) => matrix.dims().len() == 2 && v.iter().all(|x| x.is_finite()),
            _ => false,
        };
        let fits = matrix.dims().first() == self.constants.get(&labels)?.dims().last();
        (counts(labels) && finite && fits && left == Some(rows) && to == DType::F32).then(|| {
            Found {
                parts: vec![equal, cast],
                last: product,
                operator: &ONE_HOT_PRODUCT,
                attribute: None,
                inputs: vec![x, labels, weight],
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::onnx::proto::AttributeProto;
    use crate::onnx::{DType, GraphBuilder, Session, Tensor};

    const X: [f32; 7] = [-4.0, -1.5, -0.25, 0.0, 0.5, 2.0, 5.0];

    /// The operators that are left of a graph over x `[7]`, and its result.
    fn evaluated(build: impl Fn(&mut GraphBuilder, &str) -> String) -> (Vec<String>, Vec<f64>) {
        let mut graph = GraphBuilder::new("pattern");
        let x = graph.input("x", DType::F32, &[None], "");
        let y = build(&mut graph, &x);
        graph.output(&y, DType::F32, &[None]);
        let session = Session::new(graph.build()).unwrap();
        let left = session.plan.nodes.iter().map(|node| node.operator.name.to_owned()).collect();
        let y = session.run(vec![("x".into(), Tensor::vector(X.to_vec()))]).unwrap().remove(0).1;
        (left, y.data().floats().unwrap())
    }

    fn scalar(graph: &mut GraphBuilder, value: f32) -> String {
        graph.constant("c", &Tensor::scalar(vec![value]))
    }

    fn close(found: &[f64], exact: impl Fn(f64) -> f64) {
        for (y, x) in found.iter().zip(X) {
            let exact = exact(f64::from(x));
            assert!((y - exact).abs() <= 1e-6 * (1.0 + exact.abs()), "{x}: {y}, expected {exact}");
        }
    }

    fn erf_gelu(x: f64) -> f64 {
        0.5 * x * (1.0 + libm::erf(x * std::f64::consts::FRAC_1_SQRT_2))
    }

    #[test]
    fn gelu_by_erf_is_one_operator_in_each_order() {
        for (halve_first, divide) in [(true, true), (false, false)] {
            let (left, y) = evaluated(|g, x| {
                let [root, one, half] =
                    [if divide { 2.0f32.sqrt() } else { 0.5f32.sqrt() }, 1.0, 0.5]
                        .map(|c| scalar(g, c));
                let scaled = g.node(if divide { "Div" } else { "Mul" }, "scaled", &[x, &root]);
                let erf = g.node("Erf", "erf", &[&scaled]);
                let sum = g.node("Add", "sum", &[&one, &erf]);
                let by: [&str; 2] = if halve_first { [&half, x] } else { [x, &half] };
                let product = g.node("Mul", "product", &[by[0], &sum]);
                g.node("Mul", "y", &[&product, by[1]])
            });
            assert_eq!(left, ["Gelu"]);
            close(&y, erf_gelu);
        }
    }

    /// x / 2 · (1 + tanh(√(2/π) (x + factor x³))), the cube in one of three ways.
    fn by_tanh(g: &mut GraphBuilder, x: &str, way: usize, factor: f32) -> String {
        let [root, one, half, factor, three] =
            [super::SQRT_2_OVER_PI, 1.0, 0.5, factor, 3.0].map(|c| scalar(g, c));
        let cube = match way {
            0 => {
                let a = g.node("Mul", "a", &[&factor, x]);
                let b = g.node("Mul", "b", &[x, &a]);
                g.node("Mul", "cube", &[x, &b])
            }
            1 => {
                let a = g.node("Pow", "a", &[x, &three]);
                g.node("Mul", "cube", &[&a, &factor])
            }
            _ => {
                let a = g.node("Mul", "a", &[x, x]);
                let b = g.node("Mul", "b", &[&factor, x]);
                g.node("Mul", "cube", &[&a, &b])
            }
        };
        let sum = g.node("Add", "sum", &[x, &cube]);
        let scaled = g.node("Mul", "scaled", &[&sum, &root]);
        let tanh = g.node("Tanh", "tanh", &[&scaled]);
        let more = g.node("Add", "more", &[&tanh, &one]);
        let product = g.node("Mul", "product", &[&half, &more]);
        g.node("Mul", "y", &[x, &product])
    }

    #[test]
    fn gelu_by_tanh_is_one_operator_however_the_cube_is_made() {
        let gelu = |factor: f64| {
            move |x: f64| {
                let root = (2.0 / std::f64::consts::PI).sqrt();
                0.5 * x * (1.0 + (root * (x + factor * x * x * x)).tanh())
            }
        };
        for way in 0..3 {
            let (left, y) = evaluated(|g, x| by_tanh(g, x, way, 0.044_715));
            assert_eq!(left, ["Gelu"], "{way}");
            close(&y, gelu(0.044_715));
            // Another factor is another function.
            let (left, y) = evaluated(|g, x| by_tanh(g, x, way, 0.05));
            assert!(!left.contains(&"Gelu".to_owned()), "{way}");
            close(&y, gelu(0.05));
        }
    }

    #[test]
    fn hard_swish_is_one_operator_unless_a_part_of_it_is_read() {
        let f = |x: f64| x * (x + 3.0).clamp(0.0, 6.0) / 6.0;
        for way in 0..3 {
            let (left, y) = evaluated(|g, x| {
                let [three, zero, six, sixth] = [3.0, 0.0, 6.0, 1.0 / 6.0].map(|c| scalar(g, c));
                let sum = g.node("Add", "sum", &[x, &three]);
                let clip = g.node("Clip", "clip", &[&sum, &zero, &six]);
                match way {
                    0 => {
                        let product = g.node("Mul", "product", &[x, &clip]);
                        g.node("Div", "y", &[&product, &six])
                    }
                    1 => {
                        let part = g.node("Mul", "part", &[&clip, &sixth]);
                        g.node("Mul", "y", &[&part, x])
                    }
                    _ => {
                        let product = g.node("Mul", "product", &[x, &clip]);
                        let y = g.node("Div", "quotient", &[&product, &six]);
                        let back = g.node("Sub", "back", &[&clip, &clip]);
                        g.node("Add", "y", &[&y, &back])
                    }
                }
            });
            assert_eq!(left == ["HardSwish"], way < 2, "{way}: {left:?}");
            close(&y, f);
        }
    }

    #[test]
    fn rows_are_looked_up_instead_of_multiplied() {
        let labels = Tensor::of(&[1, 4], vec![0i64, 1, 2, 3].into()).unwrap();
        let weight: Vec<f32> = (0..12).map(|x| x as f32).collect();
        for infinite in [false, true] {
            let mut weight = weight.clone();
            if infinite {
                weight[0] = f32::INFINITY;
            }
            let mut g = GraphBuilder::new("rows");
            let x = g.input("x", DType::I64, &[None, Some(1)], "");
            let labels = g.constant("labels", &labels);
            let weight = g.constant("w", &Tensor::of(&[4, 3], weight.into()).unwrap());
            let equal = g.node("Equal", "equal", &[&x, &labels]);
            let to = AttributeProto::int("to", i64::from(DType::F32.code()));
            let rows = g.node_with("Cast", "rows", &[&equal], &[to]);
            let y = g.node("MatMul", "y", &[&rows, &weight]);
            g.output(&y, DType::F32, &[None, Some(3)]);
            let session = Session::new(g.build()).unwrap();
            // 0 · ∞ is no number, which only the product says.
            assert_eq!(session.plan.nodes.len(), if infinite { 3 } else { 1 });
            let x = Tensor::of(&[4, 1], vec![2i64, 0, 7, -1].into()).unwrap();
            let y = session.run(vec![("x".into(), x)]).unwrap().remove(0).1;
            assert_eq!(y.dims(), [4, 3]);
            let y = y.data().floats().unwrap();
            if infinite {
                assert!(y[0].is_nan());
            } else {
                assert_eq!(y, [6.0, 7.0, 8.0, 0.0, 1.0, 2.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
            }
        }
    }

    #[test]
    fn values_that_are_passed_on_are_read_where_they_come_from() {
        let (left, y) = evaluated(|g, x| {
            let a = g.node("Identity", "a", &[x]);
            let b = g.node("Identity", "b", &[&a]);
            let sum = g.node("Add", "sum", &[&b, &a]);
            g.node("Identity", "y", &[&sum])
        });
        // The name of an output stays.
        assert_eq!(left, ["Add", "Identity"]);
        close(&y, |x| 2.0 * x);
    }
}
