//! The tables of a recipe for the network and the loss.

use crate::kinds::{ActivationKind, by_name};
use crate::layers::{NormKind, RecipeLayer, recipe_layers};
use crate::{ConfigError, Fan, Init, Precision};
use ff_ops::{Activation, PeriodicForm, RegressionLoss};
use ff_settings::Range;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;

/// An initialiser by name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InitKind {
    /// The usual initialiser for the activation.
    #[default]
    Auto,
    /// Glorot, uniform.
    XavierUniform,
    /// Glorot, normal.
    XavierNormal,
    /// Kaiming, uniform.
    HeUniform,
    /// Kaiming, normal.
    HeNormal,
    /// LeCun, uniform.
    LecunUniform,
    /// LeCun, normal.
    LecunNormal,
    /// Orthonormal rows or columns.
    Orthogonal,
    /// Normal within two standard deviations.
    TruncatedNormal,
    /// Uniform in ±`init_std` · √3.
    Uniform,
    /// Normal with `init_std`.
    Normal,
    /// Zeros.
    Zeros,
    /// `init_value` everywhere.
    Constant,
    /// Normal, with each unit's weights scaled so that its products vary by 1 over training rows,
    /// and biases that are minus a random mean of five of them.
    Data,
}

/// How numbers enter the network.
///
/// ```
/// assert_eq!(ff_nn::NumericKind::default(), ff_nn::NumericKind::Linear);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NumericKind {
    /// As they are after scaling.
    #[default]
    Linear,
    /// As learned vectors, linear within each bin and continuous; numbers of one or two values stay
    /// as they are.
    Piecewise,
    /// As learned vectors: cosines of learned frequencies and phases, a linear layer, and the
    /// number itself; numbers of one or two values stay as they are.
    Periodic,
    /// As learned vectors: cosines and sines of learned frequencies, a linear layer and ReLU;
    /// numbers of one or two values stay as they are.
    PeriodicRelu,
}

impl NumericKind {
    /// The form of periodic vectors.
    pub fn periodic(self) -> Option<PeriodicForm> {
        match self {
            Self::Periodic => Some(PeriodicForm::Dense),
            Self::PeriodicRelu => Some(PeriodicForm::Relu),
            Self::Linear | Self::Piecewise => None,
        }
    }
}

/// The kind of network: a set of defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NetworkKind {
    /// A feedforward network with the defaults of this table.
    #[default]
    Mlp,
    /// RealMLP-TD (Holzmüller et al. 2024): other defaults of data, network, loss, optimiser,
    /// schedule and length, each of which a recipe may still state. docs/tables.md lists them.
    Realmlp,
}

/// How a strength changes over training.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DropoutSchedule {
    /// It stays.
    #[default]
    Constant,
    /// It stays over the first half, then falls to 0 as half a cosine.
    FlatCos,
}

/// Defines [`ModelConfig`]: its own keys, and a table for each layer available in recipes.
macro_rules! model_config {
    ($($(#[$doc:meta])* $layer:ident: $table:ident,)*) => {
        /// The `[model]` table: a feedforward network.
        ///
        /// ```
        /// let config = ff_nn::ModelConfig { hidden: vec![128], ..Default::default() };
        /// assert!(config.validate().is_ok());
        /// ```
        #[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields, default)]
        pub struct ModelConfig {
            /// A set of defaults.
            #[serde(skip_serializing_if = "is_first")]
            pub kind: NetworkKind,
            /// The width of each hidden layer; empty for a linear model.
            pub hidden: Vec<usize>,
            /// The activation of each hidden layer.
            pub activation: ActivationKind,
            /// The slope of leaky ReLU for negative inputs, and the initial one of PReLU.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub slope: Option<f64>,
            /// ELU's α.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub alpha: Option<f64>,
            /// Learn how much of the activation f each unit takes: x + a (f(x) − x), with a = 1 at
            /// the start.
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            pub parametric_activation: bool,
            /// The normalisation before each activation.
            pub norm: NormKind,
            /// The fraction of hidden values dropped in training.
            pub dropout: f64,
            /// How `dropout` and `input_dropout` change over training.
            #[serde(skip_serializing_if = "is_first")]
            pub dropout_schedule: DropoutSchedule,
            /// The fraction of inputs dropped in training.
            pub input_dropout: f64,
            /// Add a layer's input to its output if the widths agree.
            pub residual: bool,
            /// Multiply each input of the first layer by a learned factor, 1 at the start.
            #[serde(skip_serializing_if = "std::ops::Not::not")]
            pub front_scale: bool,
            /// Whether layers have biases.
            pub bias: bool,
            /// The initialiser of weights.
            pub init: InitKind,
            /// A factor on the spread of the initialiser; that of the activation by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub init_gain: Option<f64>,
            /// He initialisers: preserve the scale of gradients (true) or of activations (false).
            pub init_fan_out: bool,
            /// The standard deviation of `normal`, `truncated_normal` and `uniform`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub init_std: Option<f64>,
            /// The value of `constant`.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub init_value: Option<f64>,
            /// The precision of matrix products; bf16 is faster on CPUs with instructions for it,
            /// but less precise.
            #[serde(skip_serializing_if = "is_default")]
            pub precision: Precision,
            /// Train so many members that share weights, each with its own scales and output layer,
            /// and predict the mean of their probabilities, or of their numbers; one network by
            /// default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub members: Option<usize>,
            /// How numbers enter the network.
            #[serde(skip_serializing_if = "is_first")]
            pub numeric: NumericKind,
            /// Piecewise: the most bins of a column, with edges at quantiles of the training part;
            /// 16 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub numeric_bins: Option<usize>,
            /// Piecewise and periodic: the width of a number's vector; 8 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub numeric_dim: Option<usize>,
            /// Periodic: the frequencies of a number; 16 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub numeric_frequencies: Option<usize>,
            /// Periodic: the standard deviation of initial frequencies, in periods per unit of the
            /// scaled number; 0.1 by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub numeric_sigma: Option<f64>,
            /// Tables with a number to predict: how numbers enter every second network of
            /// `train.bags`, whose mean gains by the difference; as in the others by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub numeric_bags: Option<NumericKind>,
            /// More training rows than this double `hidden`, `numeric_bins` and `numeric_dim`; more
            /// than four times as many double `hidden` and `numeric_bins` again. Never by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub double_above: Option<usize>,
            /// More training rows than this halve `members`: their mean helps large tables less.
            /// Never by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub halve_members_above: Option<usize>,
            /// The width of category embeddings; derived from the number of categories by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub embedding_dim: Option<usize>,
            /// The standard deviation of initial category embeddings; 1/√width by default.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub embedding_std: Option<f64>,
            /// The width of the vector that the n-grams of a text column become; by default that of
            /// the outputs, and texts without other columns are a linear model of their n-grams.
            #[serde(skip_serializing_if = "Option::is_none")]
            pub text_dim: Option<usize>,
            $(
                $(#[$doc])*
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $layer: Option<crate::layers::$table>,
            )*
        }

        impl Default for ModelConfig {
            fn default() -> Self {
                Self {
                    kind: NetworkKind::Mlp,
                    hidden: vec![64, 32],
                    activation: ActivationKind::default(),
                    slope: None,
                    alpha: None,
                    parametric_activation: false,
                    norm: NormKind::None,
                    dropout: 0.0,
                    dropout_schedule: DropoutSchedule::Constant,
                    input_dropout: 0.0,
                    residual: false,
                    front_scale: false,
                    bias: true,
                    init: InitKind::Auto,
                    init_gain: None,
                    init_fan_out: false,
                    init_std: None,
                    init_value: None,
                    precision: Precision::F32,
                    members: None,
                    numeric: NumericKind::Linear,
                    numeric_bins: None,
                    numeric_dim: None,
                    numeric_frequencies: None,
                    numeric_sigma: None,
                    numeric_bags: None,
                    double_above: None,
                    halve_members_above: None,
                    embedding_dim: None,
                    embedding_std: None,
                    text_dim: None,
                    $($layer: None,)*
                }
            }
        }

        impl ModelConfig {
            /// The layers after each hidden layer, with their keys.
            pub fn layers(&self) -> impl Iterator<Item = (&'static str, &dyn RecipeLayer)> {
                let layers: Vec<(&'static str, Option<&dyn RecipeLayer>)> =
                    vec![$((stringify!($layer), self.$layer.as_ref().map(|l| l as _))),*];
                layers.into_iter().filter_map(|(name, layer)| Some((name, layer?)))
            }
        }
    };
}
recipe_layers!(model_config);

/// Omitted at the default, as in models from before the key existed.
#[allow(clippy::trivially_copy_pass_by_ref)]
fn is_default(precision: &Precision) -> bool {
    *precision == Precision::F32
}

/// Omitted at the default, as in models from before the key existed.
fn is_first<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// The most members of an ensemble, bins of a number, and values of its vector.
const MAX_MEMBERS: usize = 1024;
/// The maximum width of a layer.
const MAX_WIDTH: usize = 1 << 20;

impl ModelConfig {
    /// Checks the range of every value.
    ///
    /// # Errors
    /// The first key with a value out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        for (i, &width) in self.hidden.iter().enumerate() {
            if width == 0 || width > MAX_WIDTH {
                return Err(ConfigError::new(
                    "model.hidden",
                    format!(
                        "layer {i} has {width} units; allowed are 1 to {MAX_WIDTH}, or [] for a \
                         linear model"
                    ),
                ));
            }
        }
        if let Some(members) = self.members {
            let wrong = |message| Err(ConfigError::new("model.members", message));
            if members == 0 || members > MAX_MEMBERS {
                return wrong(format!("must be from 1 to {MAX_MEMBERS}, found {members}"));
            }
            if self.precision == Precision::Bf16 {
                return wrong("goes with precision = \"f32\" only".into());
            }
            if !self.bias {
                return wrong("goes with bias = true only: each member has its own bias".into());
            }
            if self.kind == NetworkKind::Realmlp {
                let message = "goes with kind = \"mlp\" only: realmlp is one network; remove one of \
                               the two";
                return wrong(message.into());
            }
            if self.init == InitKind::Data {
                let message = "does not go with init = \"data\", which is that of one network; \
                               remove one of the two";
                return wrong(message.into());
            }
        }
        let (piecewise, periodic) =
            (self.numeric == NumericKind::Piecewise, self.numeric.periodic().is_some());
        if self.numeric_sigma.is_some() && !periodic {
            return Err(other_numeric("numeric_sigma", "\"periodic\""));
        }
        Range::Above(0.0).check("model.numeric_sigma", self.numeric_sigma)?;
        if self.numeric == NumericKind::Periodic && self.numeric_dim == Some(1) {
            let message = "must be at least 2: a vector ends with the number itself";
            return Err(ConfigError::new("model.numeric_dim", message));
        }
        let sizes = [
            ("numeric_bins", self.numeric_bins, piecewise, "\"piecewise\""),
            (
                "numeric_dim",
                self.numeric_dim,
                piecewise || periodic,
                "\"piecewise\" or \"periodic\"",
            ),
            ("numeric_frequencies", self.numeric_frequencies, periodic, "\"periodic\""),
        ];
        for (key, size, fits, kinds) in sizes {
            let Some(size) = size else { continue };
            if !fits {
                return Err(other_numeric(key, kinds));
            }
            let key = format!("model.{key}");
            if size == 0 || size > MAX_MEMBERS {
                let message = format!("must be from 1 to {MAX_MEMBERS}, found {size}");
                return Err(ConfigError::new(key, message));
            }
        }
        if self.numeric_bags.is_some() {
            self.for_bag(1).validate()?;
        }
        for (key, p) in [("dropout", self.dropout), ("input_dropout", self.input_dropout)] {
            Range::BelowOne.check(&format!("model.{key}"), p)?;
        }
        if self.parametric_activation && self.activation == ActivationKind::Prelu {
            let message =
                "does not go with activation = \"prelu\", which has a learned slope already";
            return Err(ConfigError::new("model.parametric_activation", message));
        }
        let dim = self.embedding_dim.map(|dim| dim as f64);
        Range::AtLeast(1.0).check("model.embedding_dim", dim)?;
        let dim = self.text_dim.map(|dim| dim as f64);
        Range::AtLeast(1.0).check("model.text_dim", dim)?;
        let spreads = [
            ("init_std", self.init_std),
            ("init_gain", self.init_gain),
            ("embedding_std", self.embedding_std),
        ];
        for (key, value) in spreads {
            Range::AtLeast(0.0).check(&format!("model.{key}"), value)?;
        }
        for (name, layer) in self.layers() {
            layer.validate().map_err(|e| e.inside(&format!("model.{name}")))?;
        }
        let activation =
            self.element_wise().unwrap_or(Activation::LeakyRelu { slope: self.prelu_slope() });
        let attribute = activation.attribute().map_or("activation", |(name, _)| name);
        activation
            .validate()
            .map_err(|message| ConfigError::new(format!("model.{attribute}"), message))
    }

    /// The activation as an operation; `None` for PReLU, which is a layer.
    pub fn element_wise(&self) -> Option<Activation> {
        let activation = match self.activation {
            ActivationKind::ElementWise(activation) => activation,
            ActivationKind::Auto => Activation::Relu,
            ActivationKind::Prelu => return None,
        };
        let given = match activation.attribute() {
            Some(("slope", _)) => self.slope,
            Some(("alpha", _)) => self.alpha,
            _ => None,
        };
        Some(given.map_or(activation, |value| activation.with_attribute(value)))
    }

    /// The same settings with the sizes for so many training rows: see `double_above` and
    /// `halve_members_above`.
    #[must_use]
    pub fn for_rows(&self, rows: usize) -> Self {
        let mut config = self.clone();
        if self.halve_members_above.is_some_and(|most| rows > most) {
            config.members = self.members.map(|members| (members / 2).max(2));
        }
        if self.double_above.is_some_and(|most| rows > most) {
            let again = self.double_above.is_some_and(|most| rows / 4 > most);
            let factor = if again { 4 } else { 2 };
            config.hidden.iter_mut().for_each(|width| *width *= factor);
            if self.numeric == NumericKind::Piecewise {
                config.numeric_bins = Some((factor * self.most_bins()).min(MAX_MEMBERS));
            }
            if self.numeric != NumericKind::Linear {
                config.numeric_dim = Some((2 * self.number_dim()).min(MAX_MEMBERS));
            }
        }
        config
    }

    /// The settings of network i of `train.bags`: see `numeric_bags`. Sizes of vectors of numbers
    /// stay where the other kind has them.
    #[must_use]
    pub fn for_bag(&self, i: usize) -> Self {
        let mut config = Self { numeric_bags: None, ..self.clone() };
        let Some(other) = self.numeric_bags.filter(|_| i % 2 == 1) else { return config };
        config.numeric = other;
        let periodic = other.periodic().is_some();
        config.numeric_bins = config.numeric_bins.filter(|_| other == NumericKind::Piecewise);
        config.numeric_dim = config.numeric_dim.filter(|_| other != NumericKind::Linear);
        config.numeric_frequencies = config.numeric_frequencies.filter(|_| periodic);
        config.numeric_sigma = config.numeric_sigma.filter(|_| periodic);
        config
    }

    /// The most bins of a number.
    pub fn most_bins(&self) -> usize {
        self.numeric_bins.unwrap_or(16)
    }

    /// The width of a number's vector.
    pub fn number_dim(&self) -> usize {
        self.numeric_dim.unwrap_or(8)
    }

    /// The frequencies of a number.
    pub fn frequencies(&self) -> usize {
        self.numeric_frequencies.unwrap_or(16)
    }

    /// The spread of the initial frequencies.
    pub fn sigma(&self) -> f64 {
        self.numeric_sigma.unwrap_or(0.1)
    }

    /// The initial slope of PReLU.
    pub fn prelu_slope(&self) -> f64 {
        self.slope.unwrap_or(0.25)
    }

    /// The initialiser of a weight before this activation.
    pub fn init_for(&self, activation: Activation) -> Init {
        let gain = self.init_gain.unwrap_or_else(|| Init::gain(activation));
        let fan = if self.init_fan_out { Fan::Out } else { Fan::In };
        let std = self.init_std.unwrap_or(0.02);
        match self.init {
            InitKind::Auto => match (Init::for_activation(activation), self.init_gain) {
                (Init::HeNormal { .. }, _) => Init::HeNormal { gain, fan },
                (Init::XavierUniform { .. }, Some(gain)) => Init::XavierUniform { gain },
                (init, _) => init,
            },
            InitKind::XavierUniform => Init::XavierUniform { gain },
            InitKind::XavierNormal => Init::XavierNormal { gain },
            InitKind::HeUniform => Init::HeUniform { gain, fan },
            InitKind::HeNormal => Init::HeNormal { gain, fan },
            InitKind::LecunUniform => Init::LecunUniform,
            // `Mlp::initialize` scales `data` afterwards.
            InitKind::LecunNormal | InitKind::Data => Init::LecunNormal,
            InitKind::Orthogonal => Init::Orthogonal { gain },
            InitKind::TruncatedNormal => Init::TruncatedNormal { std },
            InitKind::Uniform => Init::Uniform { low: -std * 3f64.sqrt(), high: std * 3f64.sqrt() },
            InitKind::Normal => Init::Normal { std },
            InitKind::Zeros => Init::Zeros,
            InitKind::Constant => Init::Constant(self.init_value.unwrap_or(0.0)),
        }
    }
}

/// The error of a key that belongs to other vectors of numbers.
fn other_numeric(key: &str, kinds: &str) -> ConfigError {
    let message = format!("goes with numeric = {kinds} only; set that, or remove it");
    ConfigError::new(format!("model.{key}"), message)
}

/// A loss by name.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum LossKind {
    /// Cross-entropy for classes, mean squared error for numbers.
    #[default]
    Auto,
    /// Softmax cross-entropy, one logit per class.
    CrossEntropy,
    /// Binary cross-entropy on one logit.
    Bce,
    /// Focal loss: cross-entropy with less weight on well-classified rows.
    Focal,
    /// Kullback–Leibler divergence from the (smoothed) targets.
    Kl,
    /// A loss of numbers: a row of the table in `ff-ops`.
    Regression(RegressionLoss),
}

impl LossKind {
    /// All losses.
    pub fn all() -> impl Iterator<Item = Self> {
        let regression = RegressionLoss::ALL.iter().map(|&loss| Self::Regression(loss));
        [Self::Auto, Self::CrossEntropy, Self::Bce, Self::Focal, Self::Kl]
            .into_iter()
            .chain(regression)
    }

    /// Its name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::CrossEntropy => "cross_entropy",
            Self::Bce => "bce",
            Self::Focal => "focal",
            Self::Kl => "kl",
            Self::Regression(loss) => loss.name(),
        }
    }

    fn documentation(self) -> &'static str {
        match self {
            Self::Auto => "Cross-entropy for classes, mean squared error for numbers.",
            Self::CrossEntropy => "Softmax cross-entropy, one logit per class.",
            Self::Bce => "Binary cross-entropy on one logit.",
            Self::Focal => "Focal loss: cross-entropy with less weight on well-classified rows.",
            Self::Kl => "Kullback–Leibler divergence from the (smoothed) targets.",
            Self::Regression(loss) => loss.documentation(),
        }
    }
}

by_name!(LossKind::all, "A loss by name.");

/// The `[loss]` table.
///
/// ```
/// let config = ff_nn::LossConfig { label_smoothing: 0.1, ..Default::default() };
/// assert!(config.validate().is_ok());
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct LossConfig {
    /// The loss.
    pub kind: LossKind,
    /// The fraction of each target spread over all classes.
    pub label_smoothing: f64,
    /// Weight classes by the inverse of their frequency in the training part.
    pub balanced: bool,
    /// One weight per class, in the order of the classes; overrides `balanced`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub class_weights: Option<Vec<f64>>,
    /// Binary cross-entropy: the weight of positive rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pos_weight: Option<f64>,
    /// Huber: the error at which the loss turns from squared to absolute.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delta: Option<f64>,
    /// Focal: the exponent γ that reduces the weight of easy rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gamma: Option<f64>,
}

impl LossConfig {
    /// Checks the range of every value.
    ///
    /// # Errors
    /// The first key with a value out of range.
    pub fn validate(&self) -> Result<(), ConfigError> {
        Range::BelowOne.check("loss.label_smoothing", self.label_smoothing)?;
        Range::Above(0.0).check("loss.pos_weight", self.pos_weight)?;
        Range::Above(0.0).check("loss.delta", self.delta)?;
        Range::AtLeast(0.0).check("loss.gamma", self.gamma)?;
        if let Some(weights) = &self.class_weights
            && weights.iter().any(|w| !(w.is_finite() && *w >= 0.0))
        {
            return Err(ConfigError::new("loss.class_weights", "weights must be 0 or more"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_double_above_a_number_of_rows() {
        let config = ModelConfig {
            hidden: vec![64, 32],
            numeric: NumericKind::Piecewise,
            numeric_bins: Some(8),
            double_above: Some(100),
            ..ModelConfig::default()
        };
        assert_eq!(config.for_rows(100), config);
        let doubled = config.for_rows(101);
        assert_eq!((doubled.hidden, doubled.numeric_bins), (vec![128, 64], Some(16)));
        assert_eq!(doubled.numeric_dim, Some(16));
        let members =
            ModelConfig { members: Some(8), halve_members_above: Some(200), ..config.clone() };
        assert_eq!([200, 201].map(|rows| members.for_rows(rows).members), [Some(8), Some(4)]);
        assert_eq!(config.for_rows(404).hidden, [256, 128]);
        assert_eq!(config.for_rows(404).numeric_bins, Some(32));
        assert_eq!(config.for_rows(404).numeric_dim, Some(16));
        let linear = ModelConfig { double_above: Some(0), ..ModelConfig::default() };
        assert!(linear.for_rows(1).validate().is_ok());
    }

    #[test]
    fn every_second_network_takes_its_numbers_another_way() {
        let config = ModelConfig {
            numeric: NumericKind::Piecewise,
            numeric_bins: Some(8),
            numeric_dim: Some(4),
            numeric_bags: Some(NumericKind::Periodic),
            ..ModelConfig::default()
        };
        assert!(config.validate().is_ok());
        let one = ModelConfig { numeric_bags: None, ..config.clone() };
        assert_eq!([0, 2].map(|i| config.for_bag(i)), [one.clone(), one.clone()]);
        assert_eq!([1, 3].map(|i| one.for_bag(i)), [one.clone(), one.clone()]);
        let other = config.for_bag(1);
        assert_eq!(other, config.for_bag(3));
        assert_eq!((other.numeric, other.numeric_bins), (NumericKind::Periodic, None));
        assert_eq!(other.numeric_dim, Some(4));
        let plain = ModelConfig { numeric_bags: Some(NumericKind::Linear), ..config.clone() };
        assert_eq!(plain.for_bag(1).numeric_dim, None);
        // A vector that ends with the number needs a value beside it.
        let narrow = ModelConfig { numeric_dim: Some(1), ..config };
        let error = narrow.validate().unwrap_err().to_string();
        assert!(error.contains("numeric_dim") && error.contains("at least 2"), "{error}");
    }
}
