//! What a model was trained with, and how far: its optimiser with its state.

use super::graph::{self, Weighted};
use super::{Error, Model, Result};
use crate::onnx::Tensor;
use serde_json::{Value as Json, json};

/// What a model was compiled with, and the state of its optimiser.
///
/// ```
/// assert!(ff_interop::keras::Training::default().variables.is_empty());
/// ```
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Training {
    /// The optimiser's class.
    pub optimizer: String,
    /// Its settings by the names that Keras gives them.
    pub settings: Json,
    /// The loss: a name, or a class with its settings.
    pub loss: Json,
    /// What losses are multiplied by: a list with a number for each output.
    pub loss_weights: Json,
    /// The metrics, by name.
    pub metrics: Json,
    /// The optimiser's variables in its order: the number of updates, the learning rate, and what
    /// it keeps of each trained weight; none where it has made no step.
    pub variables: Vec<Tensor>,
    /// The layers with weights, in the order in which the optimiser knows them; writing takes
    /// those of the graph.
    pub layers: Vec<Weighted>,
}

impl Training {
    /// What a model's configuration says of it.
    pub(super) fn compile_config(&self) -> Json {
        json!({
            "optimizer": {
                "module": "keras.optimizers",
                "class_name": self.optimizer,
                "config": self.settings,
                "registered_name": null,
            },
            "loss": self.loss,
            "loss_weights": self.loss_weights,
            "metrics": self.metrics,
            "weighted_metrics": null,
            "run_eagerly": false,
            "steps_per_execution": 1,
            "jit_compile": "auto",
        })
    }
}

impl Model {
    /// What the model was compiled with, and the state of its optimiser; `None` for a model that
    /// was not compiled with one.
    ///
    /// # Errors
    /// It is there and cannot be read: an old file (`.h5`), models in models, or damaged arrays.
    pub fn training(&self) -> Result<Option<Training>> {
        let Some(config) = &self.config else { return Ok(None) };
        if self.store.legacy {
            if self.store.holds("optimizer_weights") {
                return Err(Error::Unsupported(
                    "the optimiser's state of the old format (.h5) is not read; save the model as \
                     .keras"
                        .into(),
                ));
            }
            return Ok(None);
        }
        let compiled = &config["compile_config"];
        let optimizer = &compiled["optimizer"];
        // An optimiser may be given by its name alone.
        let class = optimizer["class_name"].as_str().or_else(|| optimizer.as_str());
        let Some(class) = class else { return Ok(None) };
        Ok(Some(Training {
            optimizer: class.to_owned(),
            settings: optimizer["config"].clone(),
            loss: compiled["loss"].clone(),
            loss_weights: compiled["loss_weights"].clone(),
            metrics: compiled["metrics"].clone(),
            variables: self.store.variables("optimizer").map_err(Error::Malformed)?,
            layers: graph::weighted(config, &self.store)?,
        }))
    }
}
