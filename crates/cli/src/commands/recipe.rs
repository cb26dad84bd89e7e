use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;
use std::process::ExitCode;

use feedforward::table::{Role, prepare};
use feedforward::tensor::Device;
use feedforward::{Recipe, RunFolder};
use serde_json::json;

use crate::arguments::{RecipeCommand, RecipeNew, RecipeShow, RecipeValidate};
use crate::failure::Failure;
use crate::inputs;
use crate::show::quoted_path;
use crate::terminal::{Style, Terminal};

pub(super) fn run(command: &RecipeCommand, terminal: &Terminal) -> Result<ExitCode, Failure> {
    match command {
        RecipeCommand::New(arguments) => new(arguments, terminal),
        RecipeCommand::Validate(arguments) => validate(arguments, terminal),
        RecipeCommand::Schema => {
            Terminal::data(&feedforward::recipe_schema())?;
            Ok(ExitCode::SUCCESS)
        }
        RecipeCommand::Show(arguments) => show(arguments),
    }
}

fn new(arguments: &RecipeNew, terminal: &Terminal) -> Result<ExitCode, Failure> {
    if inputs::is_recipe(&arguments.input) {
        return Err(Failure::usage(format!("{} is a recipe already", arguments.input.display()))
            .help(
                "name a table; `feedforward recipe show` prints a recipe with all its defaults",
            ));
    }
    let text = if let Some(recipe) = inputs::encoder(&arguments.input, &arguments.changes)? {
        recipe.to_toml()
    } else {
        let recipe = inputs::made_for(&arguments.input, &arguments.changes)?;
        recipe.to_toml() + &columns(&recipe, &arguments.threads.device()?)?
    };
    let Some(out) = &arguments.out else {
        Terminal::data(&text)?;
        return Ok(ExitCode::SUCCESS);
    };
    if out.exists() {
        return Err(Failure::usage(format!("{} is there already", out.display()))
            .help("nothing is ever overwritten: choose another name, or remove it first"));
    }
    let write = |file: &mut std::io::BufWriter<&mut std::fs::File>| file.write_all(text.as_bytes());
    feedforward::formats::write_atomic(out, write).map_err(feedforward::Error::from)?;
    terminal.line(format!("{}  {}", terminal.bold("Saved"), out.display()))?;
    terminal.line(format!("{}   feedforward train {}", terminal.bold("Next"), quoted_path(out)))?;
    Ok(ExitCode::SUCCESS)
}

/// The kind of each column, as comments that can become settings.
fn columns(recipe: &Recipe, device: &Device) -> Result<String, Failure> {
    let threads = device.cpu().threads();
    let prepared = prepare(&recipe.data, recipe.train.seed, Path::new(""), threads)?;
    let mut text = format!(
        "\n# The columns of {} as they were read ({} rows). A line without its # in a table [data.columns] settles a kind:\n",
        recipe.data.path.display(),
        prepared.totals.read
    );
    let key = |name: &str| {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
        let bare = !name.is_empty() && name.chars().all(plain);
        if bare { name.to_owned() } else { format!("{name:?}") }
    };
    for column in &prepared.schema.columns {
        if matches!(column.role, Role::Feature | Role::Dropped) {
            let setting = format!("{} = \"{}\"", key(&column.name), column.kind);
            let (reason, usage) = (&column.reason, &column.usage);
            let _ = writeln!(text, "#   {setting:<32} # {reason}; {usage}");
        }
    }
    Ok(text)
}

fn validate(arguments: &RecipeValidate, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let mut failures: Option<Failure> = None;
    for path in &arguments.recipes {
        match feedforward::open_recipe(path, &arguments.set) {
            Ok(_) => {
                let mark = terminal.paint(Style::Green, "✓");
                terminal.line(format!("{mark} {} can be used", path.display()))?;
            }
            Err(error) => match &mut failures {
                Some(failure) => failure.add(&error),
                None => failures = Some(error.into()),
            },
        }
    }
    if let Some(failure) = failures {
        return Err(failure);
    }
    if arguments.json {
        Terminal::object(&json!({ "valid": true, "recipes": arguments.recipes }))?;
    }
    Ok(ExitCode::SUCCESS)
}

fn show(arguments: &RecipeShow) -> Result<ExitCode, Failure> {
    let run = if arguments.input.is_dir() { RunFolder::open(&arguments.input).ok() } else { None };
    let input = run.map_or_else(|| arguments.input.clone(), |run| run.recipe());
    let recipe = inputs::recipe(&input, &arguments.changes)?;
    if arguments.json {
        Terminal::object(&recipe.to_json())?;
    } else {
        Terminal::data(&recipe.to_toml())?;
    }
    Ok(ExitCode::SUCCESS)
}
