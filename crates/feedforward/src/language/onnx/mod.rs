//! Language models that write as ONNX graphs, with the cache of keys and values as inputs and
//! outputs, under the names of Hugging Face's Optimum.

mod check;
mod decoder;
mod experts;

use super::model::{LanguageModel, adapter_folder};
use crate::error::Result;
use crate::onnx::{LIMIT, Net, OnnxExport, OnnxFile};
use ff_formats::GgufFile;
use ff_nn::models::LanguageOptions;
use ff_tensor::Device;
use std::path::Path;

/// The largest difference of a logit, relative to the largest, that counts as rounding: the layers
/// of a decoder add up and amplify that of sums in another order, to 5e-6 for SmolLM2 with its 30
/// of them. In the models of the tests, the other form of GELU is four times this, and a window
/// that is off by one ten thousand times.
const TOLERANCE: f64 = 5e-5;

/// Writes a decoder with its cache as an ONNX file: a folder of a model or of a run, a GGUF file,
/// or an adapter, which is merged into its base model. What was written is evaluated on made-up
/// tokens, all at once and behind a cache, and compared.
///
/// ```no_run
/// use feedforward::language::export_decoder_onnx;
/// let (model, out) = ("models/smollm2".as_ref(), "smollm2.onnx".as_ref());
/// let exported = export_decoder_onnx(model, out, &Default::default())?;
/// assert!(exported.difference < 1e-5);
/// # Ok::<(), feedforward::Error>(())
/// ```
///
/// # Errors
/// The model cannot be opened; a layer has no form in ONNX, by name; the file cannot be written; or
/// its outputs differ.
pub fn export_decoder_onnx(path: &Path, out: &Path, device: &Device) -> Result<OnnxExport> {
    export_within(path, out, device, LIMIT)
}

/// The same with tensors beside the graph beyond `limit` bytes.
pub(crate) fn export_within(
    path: &Path,
    out: &Path,
    device: &Device,
    limit: u64,
) -> Result<OnnxExport> {
    let mut model = LanguageModel::open(path, device, &LanguageOptions::default())?;
    if model.uses_adapter() {
        model.merge_adapter()?;
    }
    let config = model.config().clone();
    let made = check::made_up(&mut model)?;
    let mut file = OnnxFile::begin(out, limit)?;
    if let Some(tokenizer) = model.tokenizer() {
        file.write_tokenizer(tokenizer.json())?;
    }
    let net = Net::of(&file, config.family.name, model.parts().1.params())?;
    let graph = decoder::add(net, &config)?.graph;
    file.write(graph)?;
    // From here on the weights are those of the file.
    drop(model);
    let difference = made.compare(&config, &file.session(device)?)?;
    file.keep_within(made.rows(), difference, TOLERANCE)
}

/// Whether a path is of a model that writes, or of an adapter of one.
pub(crate) fn is_decoder_model(path: &Path) -> bool {
    let named = |folder: &Path| {
        let text = std::fs::read_to_string(folder.join("config.json")).unwrap_or_default();
        serde_json::from_str::<serde_json::Value>(&text)
            .is_ok_and(|config| config.get("model_type").is_some_and(serde_json::Value::is_string))
    };
    GgufFile::is_at(path)
        || named(path)
        || named(&path.join("model"))
        || adapter_folder(path).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_interop::onnx::{GraphBuilder, Session};
    use serde_json::Value;

    /// The difference between a model and the graph of another specification.
    fn difference(name: &str, changes: &[(&str, Value)]) -> f64 {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/language");
        let options = LanguageOptions::default();
        let device = Device::default();
        let mut model = LanguageModel::open(&fixtures.join(name), &device, &options).unwrap();
        let mut config = model.config().clone();
        for (key, value) in changes {
            config = config.with(key, value.clone()).unwrap();
        }
        let made = check::made_up(&mut model).unwrap();
        let net = Net::new(GraphBuilder::new(name), model.parts().1.params());
        let graph = decoder::add(net, &config).unwrap().graph.build();
        made.compare(&config, &Session::on(graph, &device).unwrap()).unwrap()
    }

    /// A graph that computes something else is far beyond the tolerance.
    #[test]
    fn a_wrong_graph_is_no_rounding() {
        let rope = |theta: f64| serde_json::json!({"rope_type": "default", "rope_theta": theta});
        for (name, changes) in [
            ("mistral", vec![("sliding_window", 6.into())]),
            ("smollm3", vec![("no_rope_layers", serde_json::json!([1, 1, 1]))]),
            ("llama", vec![("rope_parameters", rope(101.0))]),
            ("gpt2", vec![("activation_function", "gelu".into())]),
            ("gemma2", vec![("query_pre_attn_scalar", 9.into())]),
            ("gemma2", vec![("final_logit_softcapping", Value::from(3.1))]),
            ("mixtral", vec![("num_experts_per_tok", 1.into())]),
            ("gpt_oss", vec![("swiglu_limit", Value::from(1.6))]),
            ("qwen2_moe", vec![("norm_topk_prob", true.into())]),
        ] {
            let (right, wrong) = (difference(name, &[]), difference(name, &changes));
            assert!(right < TOLERANCE / 5.0, "{name}: {right:e}");
            assert!(wrong > 2.0 * TOLERANCE, "{name}, {changes:?}: {wrong:e}");
            println!("{name} {changes:?}: {wrong:e}");
        }
    }
}
