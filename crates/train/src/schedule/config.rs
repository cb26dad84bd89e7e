//! The schedule in recipes.

use super::registry::{Named, ScheduleKind};
use super::span::Span;
use crate::keys::Given;
use ff_settings::{ConfigError, Range};
use schemars::{JsonSchema, Schema};
use serde::{Deserialize, Serialize};

/// The `[schedule]` table of a recipe: a shape with its settings, after a warm-up. Omitted keys
/// have PyTorch's defaults.
///
/// ```
/// use ff_train::schedule::{Cosine, ScheduleConfig, Span};
/// let json = r#"{ "kind": "cosine", "warmup": 0.05, "min_lr": 1e-5 }"#;
/// let config: ScheduleConfig = serde_json::from_str(json)?;
/// config.validate()?;
/// let same = Cosine { min_lr: 1e-5, ..Cosine::default() };
/// let warmup = Some(Span::Fraction(0.05));
/// assert_eq!(config, ScheduleConfig { warmup, ..same.into() });
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(extend("additionalProperties" = false), transform = add_kinds)]
pub struct ScheduleConfig {
    /// The shape.
    pub kind: ScheduleKind,
    /// The length of the linear warm-up before the shape, in steps or as a fraction of all steps.
    /// Default: 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup: Option<Span>,
    /// The fraction of the rate at the start of the warm-up. Default: 1 / (warmup + 1), so that
    /// step t has (t + 1) / (warmup + 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warmup_start: Option<f64>,
    /// The keys of the shape.
    #[serde(flatten)]
    pub settings: Given<ScheduleKind>,
}

/// The settings of a shape, without a warm-up.
impl<S: Named> From<S> for ScheduleConfig {
    fn from(settings: S) -> Self {
        Self { kind: S::KIND, settings: settings.give(), ..Self::default() }
    }
}

impl ScheduleConfig {
    /// A shape with its defaults.
    pub fn new(kind: ScheduleKind) -> Self {
        Self { kind, ..Self::default() }
    }

    /// Checks that every setting is in range and belongs to this shape.
    ///
    /// # Errors
    /// The first invalid key.
    pub fn validate(&self) -> Result<(), ConfigError> {
        self.settings.check(self.kind)?;
        Range::Unit.check("warmup_start", self.warmup_start)?;
        if let Some(span) = self.warmup {
            span.check_valid("warmup")?;
        }
        self.kind.shape(&self.settings).check()
    }
}

fn add_kinds(schema: &mut Schema) {
    let names = ScheduleKind::ALL.map(ScheduleKind::name).join(", ");
    if let Some(about) = schema.pointer_mut("/properties/kind/description") {
        *about = format!("The shape: one of {names}.").into();
    }
}
