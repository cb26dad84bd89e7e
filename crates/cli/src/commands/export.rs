use std::process::ExitCode;

use feedforward::bytes;
use feedforward::tensor::Device;
use serde_json::json;

use crate::arguments::{Export, To};
use crate::failure::Failure;
use crate::show::{Working, quoted_path};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Export, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    match arguments.to {
        #[cfg(feature = "language")]
        To::Huggingface | To::Gguf => language::run(arguments, &device, terminal),
        #[cfg(feature = "onnx")]
        To::Onnx => onnx::run(arguments, "onnx", feedforward::export_onnx, &device, terminal),
        #[cfg(feature = "onnx")]
        To::Tflite => onnx::run(arguments, "tflite", feedforward::export_tflite, &device, terminal),
        #[cfg(feature = "keras")]
        To::Keras => onnx::run(arguments, "keras", feedforward::export_keras, &device, terminal),
    }
}

/// Language models.
#[cfg(feature = "language")]
mod language {
    use super::{
        Device, ExitCode, Export, Failure, Terminal, To, Working, bytes, json, quoted_path,
    };
    use feedforward::formats::GgufFileType;
    use feedforward::language::{ExportFormat, LanguageModel, export, export_adapter};
    use feedforward::nn::models::LanguageOptions;

    pub(super) fn run(
        arguments: &Export,
        device: &Device,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        let Some(out) = &arguments.out else {
            return Err(Failure::usage("name the output with --out"));
        };
        if arguments.adapter_only && arguments.to != To::Gguf {
            return Err(Failure::usage("--adapter-only is for --to gguf"));
        }
        let format =
            if arguments.to == To::Gguf { ExportFormat::Gguf } else { ExportFormat::HuggingFace };
        let dtype = arguments.weights.unwrap_or(GgufFileType::F32);
        let working = Working::new(terminal, format!("exporting {}", arguments.model.display()));
        let mut model = LanguageModel::open(&arguments.model, device, &LanguageOptions::default())?;
        if arguments.adapter_only {
            let size = export_adapter(&model, dtype, out)?;
            drop(working);
            if arguments.json {
                let found = json!({ "out": out, "type": dtype.to_string(), "bytes": size });
                Terminal::object(&found)?;
                return Ok(ExitCode::SUCCESS);
            }
            let size = bytes(usize::try_from(size).unwrap_or(usize::MAX));
            let out = terminal.bold(quoted_path(out));
            terminal.answer(format!("{out} · adapter · {dtype} · {size}"))?;
            return Ok(ExitCode::SUCCESS);
        }
        let exported = export(&mut model, format, dtype, out)?;
        drop(working);
        if arguments.json {
            Terminal::object(&json!({ "out": out, "type": dtype.to_string(), "check": exported }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let size = bytes(usize::try_from(exported.bytes).unwrap_or(usize::MAX));
        let out = terminal.bold(quoted_path(out));
        terminal.answer(format!("{out} · {dtype} · {size}"))?;
        terminal.line("read again: the weights, the tokens, the chat template and the ends of a text are the same")?;
        if exported.difference == 0.0 {
            terminal.line("the logits are the same, bit for bit")?;
        } else {
            terminal.line(format!(
                "rounding: logits differ by up to {:.2e}, the likeliest token is the same for {:.0} %, divergence {:.2e} nats",
                exported.difference,
                100.0 * exported.same_top,
                exported.divergence
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}

/// Models as ONNX, and those of tables for Keras and TensorFlow Lite.
#[cfg(feature = "onnx")]
mod onnx {
    use super::{Device, ExitCode, Export, Failure, Terminal, Working, bytes, json, quoted_path};
    use feedforward::OnnxExport;
    use std::path::{Path, PathBuf};

    pub(super) fn run(
        arguments: &Export,
        extension: &str,
        export: fn(&Path, &Path, &Device) -> Result<OnnxExport, feedforward::Error>,
        device: &Device,
        terminal: &Terminal,
    ) -> Result<ExitCode, Failure> {
        if arguments.weights.is_some() {
            return Err(Failure::usage(
                "--type is for --to huggingface and gguf; this format holds f32",
            ));
        }
        let run = &arguments.model;
        let out = arguments.out.clone().unwrap_or_else(|| {
            let name = run.file_name().map(|name| name.to_string_lossy().into_owned());
            PathBuf::from(format!("{}.{extension}", name.as_deref().unwrap_or("model")))
        });
        if out.exists() {
            let message = format!("{} is there already", out.display());
            return Err(
                Failure::usage(message).help("choose another name with --out, or remove it")
            );
        }
        let working = Working::new(terminal, format!("exporting {}", run.display()));
        let exported = export(run, &out, device)?;
        drop(working);
        if arguments.json {
            Terminal::object(&json!({ "out": out, "check": exported }))?;
            return Ok(ExitCode::SUCCESS);
        }
        let beside: Vec<_> = [&exported.data, &exported.tokenizer]
            .into_iter()
            .flatten()
            .map(|path| quoted_path(path))
            .collect();
        let beside = (!beside.is_empty()).then(|| format!(" with {}", beside.join(" and ")));
        terminal.answer(format!(
            "{}{} · {} nodes · {}",
            terminal.bold(quoted_path(&out)),
            beside.unwrap_or_default(),
            exported.nodes,
            bytes(exported.bytes)
        ))?;
        for (kind, ports) in [("input", &exported.inputs), ("output", &exported.outputs)] {
            let most = if terminal.verbose { usize::MAX } else { 8 };
            for (name, dtype) in ports.iter().take(most) {
                terminal.line(format!("  {kind:<6}  {name}: {dtype}"))?;
            }
            if let Some(more @ 1..) = ports.len().checked_sub(most) {
                terminal.line(terminal.dim(format!("  {more} more (--verbose)")))?;
            }
        }
        terminal.line(format!(
            "evaluated on {} made-up rows, with gaps or padding: differs from the model by at most {:.1e}",
            exported.rows, exported.difference
        ))?;
        if let Some(optimizer) = &exported.optimizer {
            terminal.line(format!("training goes on with {optimizer}"))?;
        }
        for note in &exported.notes {
            terminal.line(format!("  {note}"))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
