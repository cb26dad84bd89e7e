//! The files of PEFT, and the names in them.

pub(super) const CONFIG: &str = "adapter_config.json";
pub(super) const TENSORS: &str = "adapter_model.safetensors";
/// What stands before the name of a layer in the file.
pub(super) const PREFIX: &str = "base_model.model.";
/// The key of the file's metadata with the fingerprint of the base model's weights.
pub(super) const BASE: &str = "base_fingerprint";

/// Whether a parameter belongs to an adapter.
pub(crate) fn is_adapter(name: &str) -> bool {
    const PARTS: [&str; 5] =
        [".lora_A.", ".lora_B.", ".lora_magnitude_vector.", ".modules_to_save.", ".token_adapter."];
    PARTS.iter().any(|part| name.contains(part))
}
