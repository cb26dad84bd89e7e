//! Losses and conversations of each step of a fine-tuning run, for other programs:
//! `finetune_steps RECIPE FOLDER [KEY=VALUE]…` trains in FOLDER and writes its `steps.jsonl`.
//!
//! `crates/testkit/scripts/peft_training.py` trains on the same steps with PEFT. Rows hold one
//! conversation each (`train.packing=false`), and none may be too long for `train.context`.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use feedforward::finetune::{FinetuneRecipe, finetune};
use feedforward::trainer::{Event, Observer, pass_order};
use feedforward::{TrainOptions, Watcher};

struct Losses(Vec<f64>);

impl Observer for Losses {
    fn event(&mut self, event: Event<'_>) {
        if let Event::Step { loss, .. } = event {
            self.0.push(loss);
        }
    }
}

impl Watcher for Losses {}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [recipe, out, sets @ ..] = arguments.as_slice() else {
        return Err("finetune_steps RECIPE FOLDER [KEY=VALUE]…".into());
    };
    let recipe = FinetuneRecipe::load(Path::new(recipe), sets)?;
    let options = TrainOptions { out: Some(out.into()), ..TrainOptions::default() };
    let mut losses = Losses(Vec::new());
    finetune(&recipe, &options, &mut losses)?;
    let train = &recipe.train;
    let records: Vec<serde_json::Value> =
        serde_json::from_str(&std::fs::read_to_string(&recipe.data.path)?)?;
    let rows = records.len() - (records.len() as f64 * recipe.data.valid).round() as usize;
    let passes = (0..).map(|pass| pass_order(train.seed, rows, pass));
    let steps = passes.flat_map(|order| {
        let chunks = order.chunks(train.batch_size * train.accumulate);
        chunks.map(<[u32]>::to_vec).collect::<Vec<_>>()
    });
    let mut file = BufWriter::new(File::create(Path::new(out).join("steps.jsonl"))?);
    for (rows, loss) in steps.zip(losses.0) {
        writeln!(file, "{}", serde_json::json!({ "rows": rows, "loss": loss }))?;
    }
    Ok(file.flush()?)
}
