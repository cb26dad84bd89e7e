//! `pretrain` and `finetune`: names of their tasks.

use std::path::Path;
use std::process::ExitCode;

use feedforward::finetune::FinetuneRecipe;
use feedforward::{Error, RunFolder, TrainRecipe, stated_command, words};

use crate::arguments::Changes;
use crate::arguments::language::{Finetune, Pretrain};
use crate::commands::train::{dry_run, options, watched};
use crate::failure::Failure;
use crate::inputs;
use crate::show::{Working, quoted_path};
use crate::terminal::Terminal;

/// `pretrain`: recipes and runs of its task alone.
pub(super) fn pretrain(arguments: &Pretrain, terminal: &Terminal) -> Result<ExitCode, Failure> {
    const COMMAND: &str = "pretrain";
    let options = options(arguments.machine, arguments.out.as_deref(), arguments.watch);
    if let Some(run) = &arguments.resume {
        refuse_other_task(run, COMMAND)?;
        return watched(terminal, |progress| feedforward::resume(run, &options, progress));
    }
    // clap asks for a recipe unless there is a run to resume.
    let Some(path) = &arguments.recipe else { return Err(Failure::usage("name a recipe")) };
    let shown = path.display();
    if !inputs::is_recipe(path) {
        return Err(Failure::usage(format!("{shown} is not a recipe (.toml)")).help(
            "write one that names the text in [data] paths and the model in [model.config]; recipes/ has examples",
        ));
    }
    let changes = Changes {
        set: arguments.set.clone(),
        name: arguments.name.clone(),
        seed: arguments.seed,
        target: None,
        task: None,
        quality: None,
    };
    let recipe = inputs::recipe(path, &changes)?;
    if recipe.command() != COMMAND {
        let command = recipe.command();
        return Err(Failure::usage(format!("{shown} is a recipe of another task"))
            .help(format!("train it with feedforward {command} {}", quoted_path(path))));
    }
    watched(terminal, |progress| recipe.train(&options, progress))
}

/// `finetune`: a base model and conversations, or a recipe of its task.
pub(super) fn finetune(arguments: &Finetune, terminal: &Terminal) -> Result<ExitCode, Failure> {
    const COMMAND: &str = "finetune";
    let options = options(arguments.machine, arguments.out.as_deref(), arguments.watch);
    if let Some(run) = &arguments.resume {
        refuse_other_task(run, COMMAND)?;
        return watched(terminal, |progress| feedforward::resume(run, &options, progress));
    }
    // clap asks for a model unless there is a run to resume.
    let Some(model) = &arguments.model else { return Err(Failure::usage("name a model")) };
    let mut sets = arguments.sets();
    let mut recipe = if inputs::is_recipe(model) {
        let command = feedforward::open_recipe(model, &sets)?.command();
        if command != COMMAND {
            let shown = model.display();
            return Err(Failure::usage(format!("{shown} is a recipe of another task"))
                .help(format!("train it with feedforward {command} {}", quoted_path(model))));
        }
        FinetuneRecipe::load(model, &sets)?
    } else {
        sets.insert(0, format!("base.model={}", inputs::quoted(&model.display().to_string())));
        FinetuneRecipe::parse("", "the command line", &sets)?
    };
    if let Some(most) = arguments.memory {
        let data = recipe.data.path.display();
        let working = Working::new(terminal, format!("reading {data} and planning its memory"));
        let fitted = recipe.within_bytes(most, options.device, &mut ());
        drop(working);
        let fitted = fitted?;
        let (taken, settings) = (words::bytes(fitted.bytes), fitted.settings());
        terminal.line(format!("{}  about {taken}: {settings}", terminal.bold("Memory")))?;
        recipe = fitted.recipe;
    }
    let recipe: Box<dyn TrainRecipe> = recipe.into();
    if arguments.dry_run {
        return dry_run(terminal, &*recipe, &options);
    }
    watched(terminal, |progress| recipe.train(&options, progress))
}

/// Refuses to resume a run of another task than the command's.
fn refuse_other_task(run: &Path, command: &str) -> Result<(), Failure> {
    let folder = RunFolder::open(run)?;
    let stated = stated_command(&std::fs::read_to_string(folder.recipe()).unwrap_or_default());
    if stated != command {
        let path = quoted_path(folder.path());
        let message = format!(
            "is a run of another task; resume it with feedforward {stated} --resume {path}"
        );
        return Err(Error::run(folder.path(), message).into());
    }
    Ok(())
}
