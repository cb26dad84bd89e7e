//! The layers available in recipes, one per file: see [`RecipeLayer`](super::RecipeLayer).

/// The list, passed to another macro: the key of a layer in `[model]` with its documentation, and
/// the struct of its own keys, in the order of execution.
macro_rules! recipe_layers {
    ($macro:ident) => {
        $macro! {
            /// A gated feedforward block after each hidden layer.
            gated: Gated,
        }
    };
}
pub(crate) use recipe_layers;

macro_rules! files {
    ($($(#[$doc:meta])* $name:ident: $layer:ident,)*) => {
        $(mod $name; pub use $name::$layer;)*
    };
}
recipe_layers!(files);
