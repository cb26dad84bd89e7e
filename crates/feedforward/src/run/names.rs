//! What recipes of every task share.

/// What other programs call our keys.
pub(crate) const SYNONYMS: &[(&str, &str)] = &[
    ("learning_rate", "optimizer.lr"),
    ("rate", "optimizer.lr"),
    ("optimizer_name", "optimizer.kind"),
    ("decay", "optimizer.weight_decay"),
    ("grad_clip", "optimizer.clip_norm"),
    ("gradient_clip", "optimizer.clip_norm"),
    ("max_grad_norm", "optimizer.clip_norm"),
    ("hidden_layer_sizes", "model.hidden"),
    ("hidden_sizes", "model.hidden"),
    ("layers", "model.hidden"),
    ("units", "model.hidden"),
    ("normalization", "model.norm"),
    ("batch_norm", "model.norm"),
    ("max_epochs", "train.epochs"),
    ("num_epochs", "train.epochs"),
    ("max_steps", "train.steps"),
    ("early_stopping", "train.patience"),
    ("gradient_accumulation_steps", "train.accumulate"),
    ("random_state", "train.seed"),
    ("file", "data.path"),
    ("label", "data.target"),
    ("sample_weight", "data.weight"),
];

/// The first line of a written recipe.
pub(crate) const TITLE: &str = "A recipe of feedforward. Every key: `feedforward recipe schema`; try another value: --set KEY=VALUE";
