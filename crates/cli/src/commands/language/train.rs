//! `pretrain` and `finetune`: names of their tasks.

use std::path::Path;
use std::process::ExitCode;

use feedforward::finetune::FinetuneRecipe;
use feedforward::language::Translator;
use feedforward::translation::TranslationRecipe;
use feedforward::{Error, RunFolder, TrainRecipe, stated_command, words};

use crate::arguments::Changes;
use crate::arguments::language::{Finetune, Pretrain};
use crate::commands::train::{dry_run, options, watched};
use crate::failure::Failure;
use crate::inputs;
use crate::show::{Working, quoted_path};
use crate::terminal::Terminal;

/// The name of the command.
const FINETUNE: &str = "finetune";

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

/// `finetune`: a base model and conversations or pairs, or a recipe of its tasks.
pub(super) fn finetune(arguments: &Finetune, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let options = options(arguments.machine, arguments.out.as_deref(), arguments.watch);
    if let Some(run) = &arguments.resume {
        refuse_other_task(run, FINETUNE)?;
        return watched(terminal, |progress| feedforward::resume(run, &options, progress));
    }
    // clap asks for a model unless there is a run to resume.
    let Some(model) = &arguments.model else { return Err(Failure::usage("name a model")) };
    let recipe: Box<dyn TrainRecipe> = if is_of_pairs(model, arguments)? {
        of_pairs(model, arguments)?.into()
    } else {
        of_conversations(model, arguments, terminal)?.into()
    };
    if arguments.dry_run {
        return dry_run(terminal, &*recipe, &options);
    }
    watched(terminal, |progress| recipe.train(&options, progress))
}

/// Whether a model, or the recipe at its place, is of an encoder with a decoder, which learns from
/// pairs.
fn is_of_pairs(model: &Path, arguments: &Finetune) -> Result<bool, Failure> {
    if !inputs::is_recipe(model) {
        // What is wrong with a folder is told when it is read.
        return Ok(Translator::is_at(model).unwrap_or(false));
    }
    let sets = arguments.sets();
    let recipe = feedforward::open_recipe(model, &sets)?;
    if recipe.command() != FINETUNE {
        let (command, shown) = (recipe.command(), model.display());
        return Err(Failure::usage(format!("{shown} is a recipe of another task"))
            .help(format!("train it with feedforward {command} {}", quoted_path(model))));
    }
    Ok(recipe.to_json().pointer("/data/source").is_some())
}

/// The recipe of pairs of texts.
fn of_pairs(model: &Path, arguments: &Finetune) -> Result<TranslationRecipe, Failure> {
    if let Some(option) = arguments.conversation_option() {
        let message = format!(
            "{option} is for language models of one stack, and this model reads a source and writes a target"
        );
        return Err(Failure::usage(message).help("leave it out"));
    }
    let mut sets = arguments.sets();
    if inputs::is_recipe(model) {
        return Ok(TranslationRecipe::load(model, &sets)?);
    }
    sets.insert(0, base(model));
    Ok(TranslationRecipe::parse("", "the command line", &sets)?)
}

/// The recipe of conversations, which fits into the memory that was asked for.
fn of_conversations(
    model: &Path,
    arguments: &Finetune,
    terminal: &Terminal,
) -> Result<FinetuneRecipe, Failure> {
    if let Some(option) = arguments.pair_option() {
        let message = format!("{option} is for encoders with decoders (Marian, T5)");
        return Err(Failure::usage(message).help("leave it out, or name such a model"));
    }
    let mut sets = arguments.sets();
    let recipe = if inputs::is_recipe(model) {
        FinetuneRecipe::load(model, &sets)?
    } else {
        sets.insert(0, base(model));
        FinetuneRecipe::parse("", "the command line", &sets)?
    };
    let Some(most) = arguments.memory else { return Ok(recipe) };
    let data = recipe.data.path.display();
    let working = Working::new(terminal, format!("reading {data} and planning its memory"));
    let fitted = recipe.within_bytes(most, arguments.machine.options(), &mut ());
    drop(working);
    let fitted = fitted?;
    let (taken, settings) = (words::bytes(fitted.bytes), fitted.settings());
    terminal.line(format!("{}  about {taken}: {settings}", terminal.bold("Memory")))?;
    Ok(fitted.recipe)
}

/// The setting of the base model.
fn base(model: &Path) -> String {
    format!("base.model={}", inputs::quoted(&model.display().to_string()))
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
