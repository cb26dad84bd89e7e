//! Samples from fixed prompts during training.

use super::model::{GenerateOptions, generate};
use super::tables::SampleConfig;
use crate::error::Result;
use crate::run::folder::RunFolder;
use crate::run::watch::{Notice, SampleNotice, Watcher};
use ff_graph::Graph;
use ff_nn::models::{CausalLm, DecoderConfig};
use ff_text::Tokenizer;
use ff_train::Progress;
use serde::{Deserialize, Serialize};
use std::io::Write;
use std::path::PathBuf;

/// A line of `samples.jsonl`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Sample {
    /// Optimiser steps done.
    pub(crate) step: u64,
    /// The prompt.
    pub(crate) prompt: String,
    /// The generated text.
    pub(crate) text: String,
}

/// The first line of the file: the loss before training.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Head {
    loss_before: Option<f64>,
}

/// Writes samples to `samples.jsonl` and remembers them.
pub(crate) struct Samples {
    path: PathBuf,
    options: GenerateOptions,
    prompts: Vec<String>,
    head: Head,
    all: Vec<Sample>,
    told: usize,
}

impl Samples {
    /// Reads the samples up to the run's checkpoint: a killed run may have written more.
    pub(crate) fn open(
        sample: &SampleConfig,
        seed: u64,
        folder: &RunFolder,
        progress: &Progress,
    ) -> Self {
        let path = folder.samples();
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let mut lines = text.lines();
        let head = lines.next().and_then(|line| serde_json::from_str(line).ok());
        // A state saved right after a step may still lack the evaluation that was due.
        let judged = progress.history.last().map_or(0, |record| record.step);
        let all: Vec<Sample> = lines
            .filter_map(|line| serde_json::from_str::<Sample>(line).ok())
            .filter(|sample| sample.step <= judged && progress.step > 0)
            .collect();
        let options = GenerateOptions {
            max_tokens: sample.max_tokens,
            temperature: sample.temperature,
            top_k: (sample.top_k > 0).then_some(sample.top_k),
            seed,
            ..GenerateOptions::default()
        };
        let told = all.len();
        Self {
            path,
            options,
            prompts: sample.prompts.clone(),
            head: head.unwrap_or(Head { loss_before: None }),
            all,
            told,
        }
    }

    /// The loss before training.
    pub(crate) fn before(&self) -> Option<f64> {
        self.head.loss_before
    }

    /// All samples so far.
    pub(crate) fn all(&self) -> &[Sample] {
        &self.all
    }

    /// Generates samples and saves them.
    pub(crate) fn write(
        &mut self,
        graph: &mut Graph,
        parts: (&CausalLm, &DecoderConfig, &Tokenizer),
        step: u64,
        before: Option<f64>,
    ) -> Result<()> {
        if before.is_some() {
            self.head.loss_before = before;
        }
        let end: Vec<u32> = parts.2.special().eos.into_iter().collect();
        for prompt in &self.prompts {
            let one = [prompt.as_str()];
            let written = generate(graph, parts, &one, &end, &self.options, &mut |_, _| Ok(()))?;
            let texts = written.into_iter().map(|written| written.text);
            self.all.extend(texts.map(|text| Sample { step, prompt: prompt.clone(), text }));
        }
        let written = ff_formats::write_atomic(&self.path, |file| {
            serde_json::to_writer(&mut *file, &self.head)?;
            file.write_all(b"\n")?;
            for sample in &self.all {
                serde_json::to_writer(&mut *file, sample)?;
                file.write_all(b"\n")?;
            }
            Ok(())
        });
        Ok(written?)
    }

    /// Tells the watcher of the samples since the last call.
    pub(crate) fn tell(&mut self, watcher: &mut dyn Watcher) {
        for sample in &self.all[self.told..] {
            watcher.notice(&Notice::Sample(SampleNotice {
                step: sample.step,
                prompt: &sample.prompt,
                text: &sample.text,
            }));
        }
        self.told = self.all.len();
    }
}
