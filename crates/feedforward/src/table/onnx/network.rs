//! The network as nodes.

use super::columns::Features;
use super::{attribute, constant};
use crate::error::{Error, Result};
use crate::table::model::TableModel;
use ff_interop::onnx::GraphBuilder;
use ff_nn::layers::NormKind;
use ff_nn::models::MlpConfig;
use ff_nn::{ActivationKind, ModelConfig};
use ff_ops::{Activation, MemberMean, PeriodicForm};

/// The ε of every norm in a recipe.
const NORM_EPS: f32 = 1e-5;

/// A network and the graph that it becomes.
struct Net<'a> {
    graph: &'a mut GraphBuilder,
    model: &'a TableModel,
    config: &'a MlpConfig,
}

/// Probabilities `[N, classes]`, or standardised numbers `[N, 1]`, of a row's features.
pub(super) fn outputs(
    graph: &mut GraphBuilder,
    model: &TableModel,
    features: &Features,
) -> Result<String> {
    let config = &model.file().network;
    let mut net = Net { graph, model, config };
    let network = &config.network;
    let mut parts: Vec<String> = match &features.numeric {
        Some(x) if config.bins.iter().any(|&bins| bins > 0) => vec![net.numbers(x)?],
        Some(x) => vec![x.clone()],
        None => Vec::new(),
    };
    for (i, ids) in features.ids.iter().enumerate() {
        let (n, dim) = (config.cardinalities[i], config.embedding_dim(config.cardinalities[i]));
        let rows = net.weight(&format!("embeddings.{i}.weight"), &[n, dim])?;
        parts.push(net.graph.node("Gather", &format!("embeddings.{i}"), &[&rows, ids]));
    }
    for (i, weights) in features.texts.iter().enumerate() {
        parts.push(net.bag(
            weights,
            &format!("texts.{i}"),
            [config.texts[i], config.text_dim()],
        )?);
    }
    if config.texts_alone() {
        let mut parts = parts.into_iter();
        let first = parts.next().ok_or_else(|| Error::usage("the model has no inputs"))?;
        let z = parts.fold(first, |sum, part| net.node("Add", "texts.sum", &[&sum, &part]));
        return net.result(z);
    }
    let names: Vec<&str> = parts.iter().map(String::as_str).collect();
    let mut x = match names[..] {
        [] => return Err(Error::usage("the model has no inputs")),
        [one] => one.to_owned(),
        _ => net.graph.node_with("Concat", "input", &names, &[attribute::int("axis", 1)]),
    };
    if network.front_scale {
        let scale = net.weight("input.scale", &[config.in_features()])?;
        x = net.node("Mul", "input.scaled", &[&x, &scale]);
    }
    if network.members.is_some() {
        // All members start from one row.
        let axis = constant(net.graph, "members/axis", &[1], vec![1i64])?;
        x = net.graph.node("Unsqueeze", "members/input", &[&x, &axis]);
    }
    let mut width = config.in_features();
    for (i, &next) in network.hidden.iter().enumerate() {
        let y = net.hidden(&x, i, [width, next])?;
        let same = width == next && (i > 0 || network.members.is_none());
        x = if network.residual && same {
            net.node("Add", &format!("layers.{i}.residual"), &[&x, &y])
        } else {
            y
        };
        for (name, _) in network.layers() {
            x = if name == "gated" {
                net.gated(&x, i, next)?
            } else {
                let message = format!(
                    "the layer model.{name} has no form in ONNX yet; train without it to export"
                );
                return Err(Error::usage(message));
            };
        }
        width = next;
    }
    net.head(&x, width)
}

impl Net<'_> {
    fn values(&self, name: &str) -> Result<Vec<f32>> {
        let values = self.model.weight(name).map(<[f32]>::to_vec);
        values.ok_or_else(|| Error::usage(format!("the model has no tensor `{name}`")))
    }

    fn weight(&mut self, name: &str, dims: &[usize]) -> Result<String> {
        constant(self.graph, name, dims, self.values(name)?)
    }

    fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.graph.node(operator, name, inputs)
    }

    fn scalar(&mut self, name: &str, value: f32) -> Result<String> {
        constant(self.graph, name, &[], vec![value])
    }

    /// x Wᵀ, of a weight `[out, in]`.
    fn product(&mut self, x: &str, name: &str, [width, next]: [usize; 2]) -> Result<String> {
        let w = self.values(&format!("{name}.weight"))?;
        let transposed =
            (0..width * next).map(|i| w[i % next * width + i / next]).collect::<Vec<_>>();
        let w =
            constant(self.graph, &format!("{name}.weight_transposed"), &[width, next], transposed)?;
        Ok(self.node("MatMul", &format!("{name}.product"), &[x, &w]))
    }

    /// x Wᵀ + b.
    fn linear(&mut self, x: &str, name: &str, widths: [usize; 2]) -> Result<String> {
        let y = self.product(x, name, widths)?;
        if !self.config.network.bias {
            return Ok(y);
        }
        let b = self.weight(&format!("{name}.bias"), &[widths[1]])?;
        Ok(self.node("Add", &format!("{name}.linear"), &[&y, &b]))
    }

    /// x W + b, of a weight `[in, out]`.
    fn bag(&mut self, x: &str, name: &str, [width, next]: [usize; 2]) -> Result<String> {
        let w = self.weight(&format!("{name}.weight"), &[width, next])?;
        let b = self.weight(&format!("{name}.bias"), &[next])?;
        let y = self.node("MatMul", &format!("{name}.product"), &[x, &w]);
        Ok(self.node("Add", name, &[&y, &b]))
    }

    /// Vectors of numbers, in the order of a row.
    fn numbers(&mut self, x: &str) -> Result<String> {
        let bins = &self.config.bins;
        let embedded: Vec<i64> =
            (0..bins.len()).filter(|&i| bins[i] > 0).map(|i| i as i64).collect();
        let (n, d) = (embedded.len(), self.config.network.number_dim());
        let g = &mut *self.graph;
        let chosen = if n == bins.len() {
            x.to_owned()
        } else {
            let index = constant(g, "numeric.embedded", &[n], embedded)?;
            g.node_with("Gather", "numeric.chosen", &[x, &index], &[attribute::int("axis", 1)])
        };
        let last = constant(g, "numeric.last", &[1], vec![2i64])?;
        let column = g.node("Unsqueeze", "numeric.columns", &[&chosen, &last]);
        let y = match self.config.network.numeric.periodic() {
            Some(form) => self.periodic(&column, n, form)?,
            None => self.piecewise(&column)?,
        };
        let shape = constant(self.graph, "numeric.shape", &[2], vec![-1i64, (n * d) as i64])?;
        let y = self.node("Reshape", "numeric.row", &[&y, &shape]);
        self.in_order(x, &y)
    }

    /// x `[N, n, 1]` as waves, a linear layer and what follows it `[N, n, d]`: see
    /// [`ff_ops::Periodic`].
    fn periodic(&mut self, column: &str, n: usize, form: PeriodicForm) -> Result<String> {
        let network = &self.config.network;
        let (k, m) = (network.frequencies(), network.number_dim() - form.extra());
        let turns = |values: Vec<f32>| {
            values.into_iter().map(|v| (f64::from(v) * std::f64::consts::TAU) as f32).collect()
        };
        let c: Vec<f32> = turns(self.values("numeric.frequencies")?);
        let c = constant(self.graph, "numeric.frequencies", &[n, k], c)?;
        let angle = self.node("Mul", "numeric.angle", &[column, &c]);
        let last = attribute::int("axis", 2);
        let z = match form {
            PeriodicForm::Dense => {
                let phases = self.weight("numeric.phases", &[n, k])?;
                let angle = self.node("Add", "numeric.shifted", &[&angle, &phases]);
                self.node("Cos", "numeric.waves", &[&angle])
            }
            PeriodicForm::Relu => {
                let cos = self.node("Cos", "numeric.cosines", &[&angle]);
                let sin = self.node("Sin", "numeric.sines", &[&angle]);
                let last = std::slice::from_ref(&last);
                self.graph.node_with("Concat", "numeric.waves", &[&cos, &sin], last)
            }
        };
        // A product for each column: [n, N, waves] · [n, waves, m].
        let turned = attribute::list("perm", &[1, 0, 2]);
        let turned = std::slice::from_ref(&turned);
        let z = self.graph.node_with("Transpose", "numeric.by_column", &[&z], turned);
        let (waves, v) = (form.waves(k), self.values("numeric.weight")?);
        let v: Vec<f32> = (0..n * waves * m)
            .map(|at| v[(at / (waves * m) * m + at % m) * waves + at / m % waves])
            .collect();
        let v = constant(self.graph, "numeric.weight", &[n, waves, m], v)?;
        let y = self.node("MatMul", "numeric.product", &[&z, &v]);
        let y = self.graph.node_with("Transpose", "numeric.by_row", &[&y], turned);
        let b = self.weight("numeric.bias", &[n, m])?;
        let y = self.node("Add", "numeric.linear", &[&y, &b]);
        Ok(match form {
            PeriodicForm::Dense => {
                self.graph.node_with("Concat", "numeric.vectors", &[&y, column], &[last])
            }
            PeriodicForm::Relu => self.node("Relu", "numeric.vectors", &[&y]),
        })
    }

    /// Vectors `[N, n, d]` of numbers x `[N, n, 1]`: see [`ff_ops::PiecewiseLinear`].
    ///
    /// With tᵢ = (x − eᵢ) / (eᵢ₊₁ − eᵢ) cut off at 0 and 1, but for the first bin below and the
    /// last one above, y = x w + b + Σᵢ tᵢ Vᵢ.
    fn piecewise(&mut self, column: &str) -> Result<String> {
        let bins = &self.config.bins;
        let d = self.config.network.number_dim();
        let embedded: Vec<usize> = (0..bins.len()).filter(|&i| bins[i] > 0).collect();
        let (n, most) = (embedded.len(), bins.iter().copied().max().unwrap_or(0));
        let edges = self.values("numeric.edges")?;
        let mut low = vec![0.0f32; n * most];
        let mut width = vec![1.0f32; n * most];
        let (mut least, mut largest) = (vec![0.0f32; n * most], vec![1.0f32; n * most]);
        let mut v = self.values("numeric.bins")?;
        for (i, &column) in embedded.iter().enumerate() {
            let edges = &edges[i * (most + 1)..];
            for j in 0..most {
                let at = i * most + j;
                if j >= bins[column] {
                    v[at * d..(at + 1) * d].fill(0.0);
                    continue;
                }
                (low[at], width[at]) = (edges[j], edges[j + 1] - edges[j]);
            }
            least[i * most] = f32::MIN;
            largest[i * most + bins[column] - 1] = f32::MAX;
        }
        let dims = [1, n, most];
        let g = &mut *self.graph;
        let low = constant(g, "numeric.low", &dims, low)?;
        let width = constant(g, "numeric.width", &dims, width)?;
        let least = constant(g, "numeric.least", &dims, least)?;
        let largest = constant(g, "numeric.largest", &dims, largest)?;
        let t = g.node("Sub", "numeric.over", &[column, &low]);
        let t = g.node("Div", "numeric.part", &[&t, &width]);
        let t = g.node("Max", "numeric.part_above", &[&t, &least]);
        let t = g.node("Min", "numeric.parts", &[&t, &largest]);
        // A product for each column: [n, N, bins] · [n, bins, d].
        let t = g.node_with(
            "Transpose",
            "numeric.by_column",
            &[&t],
            &[attribute::list("perm", &[1, 0, 2])],
        );
        let v = constant(g, "numeric.bins", &[n, most, d], v)?;
        let y = g.node("MatMul", "numeric.bent", &[&t, &v]);
        let y = g.node_with(
            "Transpose",
            "numeric.by_row",
            &[&y],
            &[attribute::list("perm", &[1, 0, 2])],
        );
        let w = self.weight("numeric.weight", &[n, d])?;
        let b = self.weight("numeric.bias", &[n, d])?;
        let line = self.node("Mul", "numeric.slope", &[column, &w]);
        let line = self.node("Add", "numeric.line", &[&line, &b]);
        Ok(self.node("Add", "numeric.vectors", &[&line, &y]))
    }

    /// Vectors y `[N, n d]` with the numbers x that have none between them, in the order of the
    /// columns.
    fn in_order(&mut self, x: &str, y: &str) -> Result<String> {
        let (bins, d) = (&self.config.bins, self.config.network.number_dim());
        let n = bins.iter().filter(|&&bins| bins > 0).count();
        if n == bins.len() {
            return Ok(y.to_owned());
        }
        let plain: Vec<i64> = (0..bins.len()).filter(|&i| bins[i] == 0).map(|i| i as i64).collect();
        let plain = constant(self.graph, "numeric.plain_index", &[plain.len()], plain)?;
        let one = attribute::int("axis", 1);
        let plain = self.graph.node_with(
            "Gather",
            "numeric.plain",
            &[x, &plain],
            std::slice::from_ref(&one),
        );
        let all = self.graph.node_with(
            "Concat",
            "numeric.both",
            &[y, &plain],
            std::slice::from_ref(&one),
        );
        let (mut vector, mut other) = (0, n * d);
        let mut order = Vec::new();
        for &bins in bins {
            let (next, width) = if bins > 0 { (&mut vector, d) } else { (&mut other, 1) };
            order.extend((*next..*next + width).map(|i| i as i64));
            *next += width;
        }
        let order = constant(self.graph, "numeric.order", &[order.len()], order)?;
        Ok(self.graph.node_with("Gather", "numeric.ordered", &[&all, &order], &[one]))
    }

    /// Product, norm, activation.
    fn hidden(&mut self, x: &str, i: usize, [width, next]: [usize; 2]) -> Result<String> {
        let network = &self.config.network;
        let name = format!("layers.{i}");
        let y = match network.members {
            Some(k) => self.member_layer(x, &name, k, [width, next])?,
            None => self.linear(x, &name, [width, next])?,
        };
        let y = self.norm(&y, &name, next)?;
        self.activation(&y, network, &name)
    }

    /// ((x ⊙ r) Wᵀ) ⊙ s + b of each member, `[N, 1 or members, in] → [N, members, out]`.
    fn member_layer(
        &mut self,
        x: &str,
        name: &str,
        k: usize,
        [width, next]: [usize; 2],
    ) -> Result<String> {
        let r = self.weight(&format!("{name}.r"), &[k, width])?;
        let s = self.weight(&format!("{name}.s"), &[k, next])?;
        let b = self.weight(&format!("{name}.bias"), &[k, next])?;
        let x = self.node("Mul", &format!("{name}.own_input"), &[x, &r]);
        let y = self.product(&x, name, [width, next])?;
        let y = self.node("Mul", &format!("{name}.own_product"), &[&y, &s]);
        Ok(self.node("Add", &format!("{name}.linear"), &[&y, &b]))
    }

    fn norm(&mut self, x: &str, layer: &str, width: usize) -> Result<String> {
        let name = format!("{layer}.norm");
        let kind = self.config.network.norm;
        if kind == NormKind::None {
            return Ok(x.to_owned());
        }
        if kind == NormKind::Batch {
            // (x − mean) / √(var + ε) · w + b as one product and one sum.
            let part = |part: &str| self.values(&format!("{name}.{part}"));
            let (w, b) = (part("weight")?, part("bias")?);
            let (mean, var) = (part("running_mean")?, part("running_var")?);
            let scale: Vec<f32> =
                w.iter().zip(&var).map(|(w, v)| w / (v + NORM_EPS).sqrt()).collect();
            let shift = (0..width).map(|i| b[i] - mean[i] * scale[i]).collect::<Vec<_>>();
            let scale = constant(self.graph, &format!("{name}.scale"), &[width], scale)?;
            let shift = constant(self.graph, &format!("{name}.shift"), &[width], shift)?;
            let y = self.node("Mul", &format!("{name}.scaled"), &[x, &scale]);
            return Ok(self.node("Add", &name, &[&y, &shift]));
        }
        let w = self.weight(&format!("{name}.weight"), &[width])?;
        if kind == NormKind::Layer {
            let b = self.weight(&format!("{name}.bias"), &[width])?;
            let attributes =
                [attribute::int("axis", -1), attribute::float("epsilon", f64::from(NORM_EPS))];
            return Ok(self.graph.node_with(
                "LayerNormalization",
                &name,
                &[x, &w, &b],
                &attributes,
            ));
        }
        let square = self.node("Mul", &format!("{name}.square"), &[x, x]);
        let axis = constant(self.graph, &format!("{name}.axis"), &[1], vec![-1i64])?;
        let mean = self.node("ReduceMean", &format!("{name}.mean"), &[&square, &axis]);
        let eps = self.scalar(&format!("{name}.epsilon"), NORM_EPS)?;
        let mean = self.node("Add", &format!("{name}.mean_plus_epsilon"), &[&mean, &eps]);
        let root = self.node("Sqrt", &format!("{name}.root"), &[&mean]);
        let y = self.node("Div", &format!("{name}.normalised"), &[x, &root]);
        Ok(self.node("Mul", &name, &[&y, &w]))
    }

    fn activation(&mut self, x: &str, network: &ModelConfig, layer: &str) -> Result<String> {
        let name = format!("{layer}.activation");
        if let (true, Some(f)) = (network.parametric_activation, network.element_wise()) {
            // x + a (f(x) − x).
            let share = self.values(&format!("{name}.share"))?;
            let share = constant(self.graph, &format!("{name}.share"), &[share.len()], share)?;
            let y = element_wise(self.graph, f, x, &format!("{name}.whole"))?;
            let gap = self.node("Sub", &format!("{name}.gap"), &[&y, x]);
            let part = self.node("Mul", &format!("{name}.part"), &[&gap, &share]);
            return Ok(self.node("Add", &name, &[x, &part]));
        }
        if let (ActivationKind::ElementWise(_), Some(f)) =
            (network.activation, network.element_wise())
        {
            element_wise(self.graph, f, x, &name)
        } else {
            let slope = self.weight(&format!("{name}.weight"), &[1])?;
            Ok(self.node("PRelu", &name, &[x, &slope]))
        }
    }

    /// x + (f(x W₁ᵀ + b₁) ⊙ (x W₃ᵀ + b₃)) W₂ᵀ + b₂.
    fn gated(&mut self, x: &str, i: usize, width: usize) -> Result<String> {
        let name = format!("layers.{i}.gated");
        let Some(gated) = &self.config.network.gated else { return Ok(x.to_owned()) };
        let ActivationKind::ElementWise(f) = gated.activation else {
            return Err(Error::usage("a gate with a learned slope has no form in ONNX"));
        };
        let inner = self.values(&format!("{name}.gate_proj.weight"))?.len() / width.max(1);
        let gate = self.linear(x, &format!("{name}.gate_proj"), [width, inner])?;
        let gate = element_wise(self.graph, f, &gate, &format!("{name}.gate"))?;
        let up = self.linear(x, &format!("{name}.up_proj"), [width, inner])?;
        let y = self.node("Mul", &format!("{name}.product"), &[&gate, &up]);
        let y = self.linear(&y, &format!("{name}.down_proj"), [inner, width])?;
        Ok(self.node("Add", &name, &[x, &y]))
    }

    /// The output layer, and what follows it.
    fn head(&mut self, x: &str, width: usize) -> Result<String> {
        let y = match self.config.network.members {
            Some(k) => self.member_output(x, k, width)?,
            None => self.linear(x, "output", [width, self.config.outputs])?,
        };
        self.result(y)
    }

    /// Probabilities, and the mean of the members.
    fn result(&mut self, y: String) -> Result<String> {
        let mean = MemberMean::of(!self.model.file().classes.is_empty(), self.config.outputs);
        let temperature = self.model.file().temperature();
        if mean != MemberMean::Values && temperature != 1.0 {
            return self.tempered(&y, mean, temperature);
        }
        let mut y = match mean {
            MemberMean::Values => y,
            MemberMean::Softmax => self.graph.node_with(
                "Softmax",
                "output.probabilities",
                &[&y],
                &[attribute::int("axis", -1)],
            ),
            MemberMean::Sigmoid => self.node("Sigmoid", "output.probability", &[&y]),
        };
        if self.config.members().is_some() {
            let axis = constant(self.graph, "members/mean_axis", &[1], vec![1i64])?;
            let flat = attribute::int("keepdims", 0);
            y = self.graph.node_with("ReduceMean", "members/mean", &[&y, &axis], &[flat]);
        }
        if mean == MemberMean::Sigmoid {
            let one = self.scalar("output.one", 1.0)?;
            let other = self.node("Sub", "output.other_probability", &[&one, &y]);
            let axis = [attribute::int("axis", 1)];
            y = self.graph.node_with("Concat", "output.both", &[&other, &y], &axis);
        }
        Ok(y)
    }

    /// softmax(z / T) of the logits; of members, z is the logarithm of their mean probabilities.
    fn tempered(&mut self, z: &str, mean: MemberMean, temperature: f64) -> Result<String> {
        let last = [attribute::int("axis", -1)];
        let mut z = match mean {
            // σ(z) is the softmax of 0 and z.
            MemberMean::Sigmoid => {
                let zero = self.scalar("output.zero", 0.0)?;
                let other = self.node("Mul", "output.other_logit", &[z, &zero]);
                self.graph.node_with("Concat", "output.both", &[&other, z], &last)
            }
            _ => z.to_owned(),
        };
        if self.config.members().is_some() {
            // Each class's own mean keeps the digits of small probabilities.
            let p = self.graph.node_with("Softmax", "members/probabilities", &[&z], &last);
            let axis = constant(self.graph, "members/mean_axis", &[1], vec![1i64])?;
            let flat = attribute::int("keepdims", 0);
            let p = self.graph.node_with("ReduceMean", "members/mean", &[&p, &axis], &[flat]);
            z = self.node("Log", "members/logits", &[&p]);
        }
        let temperature = self.scalar("output.temperature", temperature as f32)?;
        let z = self.node("Div", "output.tempered", &[&z, &temperature]);
        Ok(self.graph.node_with("Softmax", "output.probabilities", &[&z], &last))
    }

    /// A linear layer of each member, `[N, 1 or members, in] → [N, members, out]`.
    fn member_output(&mut self, x: &str, k: usize, width: usize) -> Result<String> {
        let outputs = self.config.outputs;
        let w = self.values("output.weight")?;
        // [members, out, in] → [members, in, out]
        let at = |i: usize| {
            let (m, rest) = (i / (width * outputs), i % (width * outputs));
            (m * outputs + rest % outputs) * width + rest / outputs
        };
        let transposed = (0..w.len()).map(|i| w[at(i)]).collect::<Vec<_>>();
        let w = constant(self.graph, "output.weight_transposed", &[k, width, outputs], transposed)?;
        let swap = attribute::list("perm", &[1, 0, 2]);
        let x = self.graph.node_with(
            "Transpose",
            "output.by_member",
            &[x],
            std::slice::from_ref(&swap),
        );
        let y = self.node("MatMul", "output.product", &[&x, &w]);
        let y = self.graph.node_with("Transpose", "output.by_row", &[&y], &[swap]);
        let b = self.weight("output.bias", &[k, outputs])?;
        Ok(self.node("Add", "output.linear", &[&y, &b]))
    }
}

/// The nodes of an activation.
///
/// # Errors
/// It has no form in ONNX yet, by name.
pub(crate) fn element_wise(
    g: &mut GraphBuilder,
    f: Activation,
    x: &str,
    name: &str,
) -> Result<String> {
    let of = |part: &str| format!("{name}.{part}");
    let float = attribute::float;
    Ok(match f {
        Activation::Identity => x.to_owned(),
        Activation::Sigmoid => g.node("Sigmoid", name, &[x]),
        Activation::Tanh => g.node("Tanh", name, &[x]),
        Activation::Relu => g.node("Relu", name, &[x]),
        Activation::LeakyRelu { slope } => {
            g.node_with("LeakyRelu", name, &[x], &[float("alpha", slope)])
        }
        Activation::Relu6 => {
            let (low, high) = (
                constant(g, &of("low"), &[], vec![0.0f32])?,
                constant(g, &of("high"), &[], vec![6.0f32])?,
            );
            g.node("Clip", name, &[x, &low, &high])
        }
        Activation::Elu { alpha } => g.node_with("Elu", name, &[x], &[float("alpha", alpha)]),
        Activation::Selu => g.node("Selu", name, &[x]),
        Activation::Gelu => g.node("Gelu", name, &[x]),
        Activation::GeluTanh => {
            g.node_with("Gelu", name, &[x], &[attribute::text("approximate", "tanh")])
        }
        Activation::Silu => {
            let s = g.node("Sigmoid", &of("gate"), &[x]);
            g.node("Mul", name, &[x, &s])
        }
        Activation::QuickGelu => {
            let factor = constant(g, &of("factor"), &[], vec![1.702f32])?;
            let u = g.node("Mul", &of("argument"), &[x, &factor]);
            let s = g.node("Sigmoid", &of("gate"), &[&u]);
            g.node("Mul", name, &[x, &s])
        }
        Activation::Mish => g.node("Mish", name, &[x]),
        Activation::Softplus => g.node("Softplus", name, &[x]),
        Activation::HardSigmoid => {
            g.node_with("HardSigmoid", name, &[x], &[float("alpha", 1.0 / 6.0), float("beta", 0.5)])
        }
        Activation::HardSwish => g.node("HardSwish", name, &[x]),
        Activation::Relu2 => {
            let r = g.node("Relu", &of("relu"), &[x]);
            g.node("Mul", name, &[&r, &r])
        }
        Activation::Squareplus => {
            let (four, half) = (
                constant(g, &of("four"), &[], vec![4.0f32])?,
                constant(g, &of("half"), &[], vec![0.5f32])?,
            );
            let square = g.node("Mul", &of("square"), &[x, x]);
            let sum = g.node("Add", &of("square_plus"), &[&square, &four]);
            let root = g.node("Sqrt", &of("root"), &[&sum]);
            let sum = g.node("Add", &of("double"), &[x, &root]);
            g.node("Mul", name, &[&sum, &half])
        }
        other => {
            let message = format!("the activation {} has no form in ONNX yet", other.name());
            return Err(Error::usage(message));
        }
    })
}
