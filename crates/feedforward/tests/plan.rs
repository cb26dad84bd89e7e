//! A plan says what a run then takes.

#![allow(clippy::unwrap_used)]

use feedforward::{Recipe, TrainOptions, plan, train};
use std::fmt::Write;

/// Numbers, a category with gaps for one-hot columns, one for an embedding, and three classes.
fn table() -> String {
    let mut text = String::from("a,b,colour,city,answer\n");
    for i in 0..700_u32 {
        let (a, b) = (f64::from(i * 37 % 101), f64::from(i * 53 % 97));
        let colour = ["red", "green", "", "blue"][(i % 4) as usize];
        let answer = ["low", "mid", "high"][(u32::from(a > b) + i % 2) as usize];
        writeln!(text, "{a},{b},{colour},city {},{answer}", i * 7 % 45).unwrap();
    }
    text
}

/// What pool and arena hold is known to the byte before training starts, whatever a recipe asks
/// for.
#[test]
fn the_pool_is_planned_to_the_byte() {
    let folder = std::env::temp_dir().join(format!("feedforward-plan-{}", std::process::id()));
    let _ = std::fs::remove_dir_all(&folder);
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("data.csv"), table()).unwrap();
    let base = format!(
        "[data]\npath = '{}'\ntarget = 'answer'\n[model]\nhidden = [24, 24]\n[train]\nepochs = 2\n\
         batch_size = 32\n",
        folder.join("data.csv").display()
    );
    let cases: [&[&str]; 18] = [
        &[],
        &["model.hidden=[]"],
        &["model.hidden=[512,512]", "train.batch_size=256"],
        &["model.norm=batch", "model.dropout=0.3", "model.input_dropout=0.1"],
        &["model.norm=batch", "train.accumulate=4"],
        &["model.norm=layer", "model.activation=prelu", "model.residual=true"],
        &["model.norm=rms", "model.activation=gelu", "data.categories.one_hot_max=0"],
        &["optimizer.ema=0.99", "optimizer.amsgrad=true", "optimizer.clip_norm=1"],
        &["optimizer.kind=sgd", "optimizer.momentum=0.9", "optimizer.max_norm=2"],
        &["optimizer.kind=lbfgs", "model.norm=batch"],
        &["train.mixup=0.4", "train.input_noise=0.1"],
        &["loss.kind=focal", "data.split.valid=0"],
        &["model.precision=bf16"],
        &["model.precision=bf16", "model.norm=batch", "model.dropout=0.3"],
        &["model.precision=bf16", "model.activation=gelu", "model.residual=true"],
        &["model.precision=bf16", "model.activation=prelu", "data.categories.one_hot_max=0"],
        // The odd batches of the end of an epoch are never met.
        &["train.steps=3"],
        // An evaluation of more rows than a step has.
        &["train.batch_size=4", "data.split.valid=0.5"],
    ];
    for (i, sets) in cases.iter().enumerate() {
        let sets: Vec<String> = sets.iter().map(ToString::to_string).collect();
        let recipe = Recipe::parse(&base, "test.toml", &sets).unwrap();
        let planned = plan(&recipe, feedforward::tensor::DeviceOptions::default()).unwrap();
        let options =
            TrainOptions { out: Some(folder.join(i.to_string())), ..TrainOptions::default() };
        let run = train(&recipe, &options, &mut ()).unwrap();
        assert_eq!(planned.pool_bytes, run.pool_bytes, "{sets:?}");
        assert_eq!(planned.parameters, run.parameters, "{sets:?}");
        assert_eq!(planned.total_steps, run.steps, "{sets:?}");
        let parts = planned.parameter_bytes + planned.gradient_bytes + planned.optimizer_bytes;
        assert!(planned.pool_bytes > parts && planned.activation_bytes > 0, "{sets:?}");
        assert!(
            run.run.join("checkpoints/best.safetensors").exists()
                != sets.contains(&"data.split.valid=0".into())
        );
    }
    std::fs::remove_dir_all(&folder).unwrap();
}
