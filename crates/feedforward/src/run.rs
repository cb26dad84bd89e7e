//! The folder of a run.

use crate::{Error, Result};
use std::path::{Path, PathBuf};

/// Where everything that a run writes lies.
///
/// ```
/// let run = feedforward::RunFolder::at("runs/digits");
/// assert!(run.report().ends_with("digits/report.html"));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RunFolder {
    path: PathBuf,
}

impl RunFolder {
    /// A folder that is there already, or will be.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Opens the folder of an earlier run; its `model` folder or a file inside will do too.
    ///
    /// # Errors
    /// There is no run there.
    pub fn open(path: &Path) -> Result<Self> {
        let up = path.ancestors().take(3).find(|folder| folder.join("recipe.toml").is_file());
        match up {
            Some(folder) if path.exists() => Ok(Self::at(folder)),
            _ if !path.exists() => {
                Err(Error::run(path, format!("there is no such run; {}", nearby(path))))
            }
            _ => Err(Error::run(path, "is not the folder of a run: it has no recipe.toml")),
        }
    }

    /// Makes a new folder: `out` where given, which must not hold anything, else the next free `runs/<name>-<n>`.
    ///
    /// # Errors
    /// `out` is there and not empty, or the folder cannot be made.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let make = |path: &Path| {
            std::fs::create_dir_all(path.join("checkpoints"))
                .map_err(ff_formats::Error::io(path, "making the run's folder"))
        };
        if let Some(out) = out {
            let taken = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
            if taken || out.is_file() {
                return Err(Error::run(
                    out,
                    "is not empty, and nothing is ever overwritten; choose another folder with --out, or go on with it \
                     by `feedforward train --resume`",
                ));
            }
            make(out)?;
            return Ok(Self::at(out));
        }
        let runs = Path::new("runs");
        std::fs::create_dir_all(runs)
            .map_err(ff_formats::Error::io(runs, "making the folder of runs"))?;
        for n in 1.. {
            let path = runs.join(format!("{name}-{n}"));
            // Making the folder itself is what claims the name: two runs never share one.
            match std::fs::create_dir(&path) {
                Ok(()) => {
                    make(&path)?;
                    return Ok(Self::at(path));
                }
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => {
                    return Err(
                        ff_formats::Error::io(&path, "making the run's folder")(error).into()
                    );
                }
            }
        }
        Err(Error::run(runs, "has no free name left"))
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Its name.
    pub fn name(&self) -> String {
        self.path
            .file_name()
            .map_or_else(|| "run".into(), |name| name.to_string_lossy().into_owned())
    }

    /// The recipe, whole.
    pub fn recipe(&self) -> PathBuf {
        self.path.join("recipe.toml")
    }

    /// When and how it was started.
    pub fn info(&self) -> PathBuf {
        self.path.join("run.json")
    }

    /// One line an epoch.
    pub fn metrics(&self) -> PathBuf {
        self.path.join("metrics.jsonl")
    }

    /// All scores at the end.
    pub fn scores(&self) -> PathBuf {
        self.path.join("scores.json")
    }

    /// The state from which training goes on.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints").join("last.safetensors")
    }

    /// The model.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }
}

fn nearby(path: &Path) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    match path.file_name().map(|n| n.to_string_lossy().into_owned()) {
        Some(name) if !names.is_empty() => {
            let near = ff_data::nearest(&name, names.iter().map(String::as_str));
            match near.first() {
                Some(near) => format!("did you mean {}?", folder.join(near).display()),
                None => format!("{} holds {}", folder.display(), names.join(", ")),
            }
        }
        _ => format!("{} is not there or empty", folder.display()),
    }
}
