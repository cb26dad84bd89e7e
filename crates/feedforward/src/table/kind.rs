//! Kinds of networks: the defaults that `model.kind` stands for.

use ff_nn::{ActivationKind, LossConfig, ModelConfig, NetworkKind};
use ff_ops::Activation;
use ff_table::{Encoded, Target};
use ff_train::optim::OptimizerConfig;
use toml::Value;

/// RealMLP-TD (Holzmüller et al., "Better by default", 2024), but for what depends on the target,
/// which [`for_target`] adds.
///
/// `pytabkit`'s decay is multiplied by a parameter's factors of the rate and of decay twice, so
/// that of the scales is 6 · 0.02 here at a rate of 6, and that of numbers and activations 0.1 ·
/// 0.02 at 0.1.
const REALMLP: &[(&str, &str)] = &[
    ("data.scaling", "'robust_smooth'"),
    ("data.target_clamp", "true"),
    ("data.categories.one_hot_max", "8"),
    ("data.categories.min_frequency", "1"),
    ("data.categories.unseen", "0.0"),
    ("data.categories.scaled", "true"),
    ("model.hidden", "[256, 256, 256]"),
    ("model.activation", "'auto'"),
    ("model.parametric_activation", "true"),
    ("model.dropout", "0.15"),
    ("model.dropout_schedule", "'flat_cos'"),
    ("model.front_scale", "true"),
    ("model.init", "'data'"),
    ("model.numeric", "'periodic'"),
    ("model.numeric_dim", "4"),
    ("model.embedding_dim", "8"),
    ("model.embedding_std", "1.0"),
    ("loss.label_smoothing", "0.1"),
    ("optimizer.kind", "'adamw'"),
    ("optimizer.betas", "[0.9, 0.95]"),
    ("optimizer.weight_decay", "0.02"),
    ("optimizer.weight_decay_schedule", "'flat_cos'"),
    ("optimizer.ntk", "true"),
    (
        "optimizer.groups",
        "[{match = 'numeric.*', lr_scale = 0.1, weight_decay = 0.002, optional = true}, \
          {match = 'input.scale', lr_scale = 6.0, weight_decay = 0.12, optional = true}, \
          {match = '*.activation.share', lr_scale = 0.1, weight_decay = 0.002, optional = true}, \
          {match = '*.bias', lr_scale = 0.1, weight_decay = 0.0, optional = true}]",
    ),
    ("schedule.kind", "'coslog'"),
    ("train.epochs", "256"),
    ("train.patience", "0"),
    ("train.batch_size", "256"),
    ("train.drop_last", "true"),
    ("train.monitor", "'score'"),
    ("train.latest_best", "true"),
];

/// The defaults of a recipe's kind of network, beneath what the recipe states.
pub(super) fn defaults(recipe: &Value) -> Vec<(&'static str, &'static str)> {
    let given = |key: &str| key.split('.').try_fold(recipe, |table, part| table.get(part));
    let is = |key: &str, value: &str| given(key).and_then(Value::as_str) == Some(value);
    if !is("model.kind", "realmlp") {
        return Vec::new();
    }
    // What goes with a setting that the recipe replaces.
    let mut out = Vec::new();
    if given("optimizer.kind").is_some() && !is("optimizer.kind", "adamw") {
        out.push("optimizer.");
    }
    if given("schedule.kind").is_some() {
        out.push("schedule.");
    }
    if given("model.numeric").is_some() && !is("model.numeric", "periodic") {
        out.push("model.numeric_");
    }
    if is("model.activation", "prelu") {
        out.push("model.parametric_activation");
    }
    let goes = |key: &str| !out.iter().any(|prefix| key.starts_with(prefix));
    REALMLP.iter().copied().filter(|(key, _)| goes(key)).collect()
}

/// Puts in what depends on the kind of target.
pub(super) fn for_target(
    (model, optimizer, loss): (&mut ModelConfig, &mut OptimizerConfig, &mut LossConfig),
    train: &Encoded,
) {
    let numbers = matches!(train.target, Some(Target::Value(_)));
    let realmlp = model.kind == NetworkKind::Realmlp;
    if !numbers {
        model.numeric_bags = None;
    }
    if model.activation == ActivationKind::Auto {
        let activation = match (realmlp, numbers) {
            (false, _) => Activation::Relu,
            (true, false) => Activation::Selu,
            (true, true) => Activation::Mish,
        };
        model.activation = activation.into();
    }
    if realmlp && optimizer.ntk {
        let lr = if numbers { 0.2 } else { 0.04 };
        optimizer.lr.get_or_insert(lr);
    }
    if realmlp && numbers {
        loss.label_smoothing = 0.0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Recipe;

    fn recipe(text: &str) -> Recipe {
        Recipe::parse(&format!("data.path = 'a.csv'\n{text}"), "a.toml", &[]).unwrap()
    }

    #[test]
    fn realmlp_is_a_set_of_defaults_that_a_recipe_may_override() {
        let usual = recipe("model.kind = 'realmlp'");
        assert_eq!((usual.model.hidden.len(), usual.train.epochs), (3, 256));
        assert!(usual.optimizer.ntk && usual.optimizer.lr.is_none());
        let own = recipe("model.kind = 'realmlp'\nmodel.hidden = [64]\ntrain.epochs = 3");
        assert_eq!((&*own.model.hidden, own.train.epochs), (&[64][..], 3));
        assert_eq!(own.model.dropout, 0.15);
        // What goes with another optimiser, schedule or vectors of numbers is left out.
        let other = "model.kind = 'realmlp'\noptimizer.kind = 'sgd'\nschedule.kind = 'cosine'\n\
                     model.numeric = 'linear'";
        let other = recipe(other);
        assert!(!other.optimizer.ntk && other.optimizer.groups.is_empty());
        assert_eq!(other.model.numeric_dim, None);
        // Written in full, a recipe reads as it was.
        assert_eq!(Recipe::parse(&usual.to_toml(), "b.toml", &[]).unwrap(), usual);
    }

    #[test]
    fn rate_activation_and_smoothing_depend_on_the_target() {
        let with = |text: &str, target| {
            let mut recipe = recipe(text);
            let train = Encoded { target: Some(target), ..Encoded::default() };
            for_target(recipe.for_kind(), &train);
            let loss = recipe.loss.label_smoothing;
            (recipe.model.activation.name(), recipe.optimizer.lr, loss)
        };
        let realmlp = "model.kind = 'realmlp'";
        let (class, value) = (|| Target::Class(vec![0]), || Target::Value(vec![0.0]));
        assert_eq!(with(realmlp, class()), ("selu", Some(0.04), 0.1));
        assert_eq!(with(realmlp, value()), ("mish", Some(0.2), 0.0));
        let own = "model.kind = 'realmlp'\nmodel.activation = 'relu'\noptimizer.lr = 0.1";
        assert_eq!(with(own, value()), ("relu", Some(0.1), 0.0));
        assert_eq!(with("model.activation = 'auto'", value()), ("relu", None, 0.0));
    }

    #[test]
    fn networks_of_classes_take_their_numbers_in_one_way() {
        let with = |target| {
            let mut recipe = recipe("model.numeric_bags = 'periodic'");
            let train = Encoded { target: Some(target), ..Encoded::default() };
            for_target(recipe.for_kind(), &train);
            recipe.model.numeric_bags
        };
        assert_eq!(with(Target::Class(vec![0])), None);
        assert_eq!(with(Target::Value(vec![0.0])), Some(ff_nn::NumericKind::Periodic));
    }
}
