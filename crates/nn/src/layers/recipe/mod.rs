//! The layers that recipes reach, a file each: see [`RecipeLayer`](super::RecipeLayer).

/// The list, given to another macro: the key of a layer in `[model]` with its documentation, and
/// the struct of its own keys, in the order in which the layers run.
macro_rules! recipe_layers {
    ($macro:ident) => {
        $macro! {
            /// A gated feedforward block behind each hidden layer.
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
