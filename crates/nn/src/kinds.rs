//! Types with recipe names from the rows of a table.

use ff_ops::Activation;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::json;
use std::borrow::Cow;

/// Makes the values of a type nameable in recipes, from its `all`, `name` and `documentation`.
macro_rules! by_name {
    ($Type:ident::$all:ident, $description:literal) => {
        impl From<$Type> for &'static str {
            fn from(kind: $Type) -> Self {
                kind.name()
            }
        }

        impl TryFrom<String> for $Type {
            type Error = String;

            fn try_from(name: String) -> Result<Self, String> {
                Self::$all().find(|kind| kind.name() == name).ok_or(format!("unknown: `{name}`"))
            }
        }

        impl JsonSchema for $Type {
            fn schema_name() -> Cow<'static, str> {
                stringify!($Type).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let row = |kind: Self| {
                    let (name, description) = (kind.name(), kind.documentation());
                    json!({"type": "string", "const": name, "description": description})
                };
                let rows: Vec<_> = Self::$all().map(row).collect();
                json_schema!({"oneOf": rows, "description": $description})
            }
        }
    };
}

pub(crate) use by_name;

/// An activation of a recipe: a row of the table in `ff-ops`, by name, or PReLU, a layer because
/// its slope is learned.
///
/// ```
/// use ff_nn::ActivationKind;
/// let kind: ActivationKind = serde_json::from_str("\"leaky_relu\"").unwrap();
/// assert_eq!(kind.name(), "leaky_relu");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "&'static str")]
pub enum ActivationKind {
    /// A row of the table, with the default value of its attribute.
    ElementWise(Activation),
    /// x for x > 0, else a learned slope · x
    Prelu,
    /// The usual one of the kind of network: ReLU, and of `realmlp` SELU for classes and Mish for
    /// numbers.
    Auto,
}

impl ActivationKind {
    /// All activations, PReLU after leaky ReLU.
    pub fn all() -> impl Iterator<Item = Self> {
        Activation::ALL.iter().flat_map(|&activation| {
            let prelu = matches!(activation, Activation::LeakyRelu { .. }).then_some(Self::Prelu);
            std::iter::once(Self::ElementWise(activation)).chain(prelu)
        })
    }

    /// The values that recipes may name.
    fn named() -> impl Iterator<Item = Self> {
        Self::all().chain([Self::Auto])
    }

    /// The name in recipes.
    pub fn name(self) -> &'static str {
        match self {
            Self::ElementWise(activation) => activation.name(),
            Self::Prelu => "prelu",
            Self::Auto => "auto",
        }
    }

    fn documentation(self) -> &'static str {
        match self {
            Self::ElementWise(activation) => activation.documentation(),
            Self::Prelu => "y = x for x > 0, else a learned slope · x",
            Self::Auto => "ReLU, and of kind = \"realmlp\" SELU for classes and Mish for numbers",
        }
    }
}

impl Default for ActivationKind {
    fn default() -> Self {
        Self::ElementWise(Activation::Relu)
    }
}

impl From<Activation> for ActivationKind {
    fn from(activation: Activation) -> Self {
        Self::ElementWise(activation)
    }
}

by_name!(ActivationKind::named, "An activation by name.");
