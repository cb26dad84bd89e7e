//! Logits of a language model for other programs: `logits MODEL TOKENS.json OUT [ADAPTER]`.
//!
//! TOKENS.json is a list of lists of ids; OUT gets `[T, vocabulary]` floats for each, one behind
//! the other; an encoder with a decoder reads them as source and as target.
//! `scripts/llama_text.py` compares them with llama.cpp's, and
//! `crates/testkit/scripts/open_in_peft.py` with PEFT's.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use feedforward::language::{LanguageModel, Translator};
use feedforward::nn::models::EncoderDecoderBatch;
use feedforward::tensor::Tensor;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [model, tokens, out, adapter @ ..] = arguments.as_slice() else {
        return Err("logits MODEL TOKENS.json OUT [ADAPTER]".into());
    };
    let sequences: Vec<Vec<u32>> = serde_json::from_str(&std::fs::read_to_string(tokens)?)?;
    // Matrices stay in the form of the file, as in `generate`.
    let (device, options) = Default::default();
    let adapters: Vec<&Path> = adapter.iter().map(Path::new).collect();
    let mut file = std::io::BufWriter::new(std::fs::File::create(out)?);
    let model: &Path = model.as_ref();
    if Translator::is_at(model)? {
        let adapter = adapters.first().copied();
        let mut model = Translator::open_to_generate(model, adapter, &device, &options)?;
        for ids in sequences {
            let (model, graph) = model.parts();
            graph.reset();
            let ids: Vec<i32> = ids.into_iter().map(|id| id as i32).collect();
            let tokens = graph.input(Tensor::from_slice(&device, &ids, &[1, ids.len()])?);
            let batch =
                EncoderDecoderBatch { source: tokens.clone(), segments: None, target: tokens };
            for value in model.logits(graph, &batch)?.slice::<f32>()? {
                file.write_all(&value.to_le_bytes())?;
            }
        }
        return Ok(file.flush()?);
    }
    let mut model = LanguageModel::open_to_generate(model, &adapters, &device, &options)?;
    for ids in sequences {
        for value in model.logits(&ids)? {
            file.write_all(&value.to_le_bytes())?;
        }
    }
    Ok(file.flush()?)
}
