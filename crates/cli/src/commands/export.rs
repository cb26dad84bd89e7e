use std::process::ExitCode;

use feedforward::bytes;
use feedforward::formats::GgmlType;
use feedforward::language::{ExportFormat, LanguageModel, export};
use feedforward::nn::models::LanguageOptions;
use feedforward::tensor::Device;
use serde_json::json;

use crate::arguments::{Export, To, Weights};
use crate::failure::Failure;
use crate::show::{Working, quoted_path};
use crate::terminal::Terminal;

pub(super) fn run(arguments: &Export, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    let format = match arguments.to {
        To::Huggingface => ExportFormat::HuggingFace,
        To::Gguf => ExportFormat::Gguf,
    };
    let dtype = match arguments.weights {
        Weights::F32 => GgmlType::F32,
        Weights::F16 => GgmlType::F16,
        Weights::Bf16 => GgmlType::BF16,
        Weights::Q8_0 => GgmlType::Q8_0,
        Weights::Q4_0 => GgmlType::Q4_0,
        Weights::Q4_1 => GgmlType::Q4_1,
    };
    let working = Working::new(terminal, format!("exporting {}", arguments.model.display()));
    let mut model = LanguageModel::open(&arguments.model, &device, &LanguageOptions::default())?;
    let exported = export(&mut model, format, dtype, &arguments.out)?;
    drop(working);
    if arguments.json {
        Terminal::object(
            &json!({ "out": arguments.out, "type": dtype.to_string(), "check": exported }),
        )?;
        return Ok(ExitCode::SUCCESS);
    }
    let size = bytes(usize::try_from(exported.bytes).unwrap_or(usize::MAX));
    let out = terminal.bold(quoted_path(&arguments.out));
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
