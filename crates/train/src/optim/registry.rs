//! Every optimiser: its type and its name in a recipe.

use super::rule::registry;

registry! {
    sgd::Sgd = "sgd",
    adam::Adam = "adam",
    #[default] adam::AdamW = "adamw",
    rmsprop::RmsProp = "rmsprop",
    adagrad::Adagrad = "adagrad",
    adafactor::Adafactor = "adafactor",
    lion::Lion = "lion",
    muon::Muon = "muon",
    lbfgs::Lbfgs = "lbfgs",
}
