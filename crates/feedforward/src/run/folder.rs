//! The folder of a run: its layout, and how it is made, found and claimed.

use crate::error::{Error, Result};
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

/// How many runs a message names.
const SHOWN: usize = 10;

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
            _ if path.join("run.json").is_file() => Err(Error::run(
                path,
                "has no recipe.toml, so it was stopped while it was being made and holds nothing: remove it and train anew",
            )),
            _ => Err(Error::run(path, "is not the folder of a run: it has no recipe.toml")),
        }
    }

    /// Finds out whether [`RunFolder::create`] can work, without making anything: data is read in
    /// between.
    ///
    /// # Errors
    /// As [`RunFolder::create`].
    pub fn check(out: Option<&Path>) -> Result<()> {
        let path = out.unwrap_or(Path::new("runs"));
        if out.is_some() {
            refuse_taken(path)?;
        }
        let there =
            path.ancestors().find(|folder| folder.is_dir() || folder.as_os_str().is_empty());
        let there = there.filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(ff_formats::check_writable(there)?)
    }

    /// Makes a new folder: `out` where given, which must not hold anything, else the next free
    /// `runs/<name>-<n>`.
    ///
    /// # Errors
    /// `out` is there and not empty, or the folder cannot be made.
    pub fn create(out: Option<&Path>, name: &str) -> Result<Self> {
        let make = |path: &Path| {
            std::fs::create_dir_all(path.join("checkpoints"))
                .map_err(ff_formats::Error::io(path, "making the run's folder"))
        };
        if let Some(out) = out {
            refuse_taken(out)?;
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

    /// Claims the run for this process until what is returned is dropped, and clears away what a
    /// killed process left half written.
    ///
    /// # Errors
    /// Another process trains it.
    pub(crate) fn claim(&self) -> Result<File> {
        let path = self.path.join("checkpoints").join("lock");
        let lock = File::create(&path).map_err(ff_formats::Error::io(&path, "writing"))?;
        // A file system without locks is no reason not to train.
        if let Err(TryLockError::WouldBlock) = lock.try_lock() {
            return Err(Error::run(
                &self.path,
                "is being trained by another process; wait until it ends, or stop it first",
            ));
        }
        let checkpoints = self.path.join("checkpoints");
        // Of a run with several networks, each has a folder.
        let networks = |folder: &Path| {
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            entries.map(|entry| entry.path()).filter(|path| path.is_dir()).collect::<Vec<_>>()
        };
        let inner = [networks(&checkpoints), networks(&self.model())].concat();
        for folder in inner.into_iter().chain([self.path.clone(), checkpoints, self.model()]) {
            ff_formats::remove_temporaries(&folder);
        }
        Ok(lock)
    }

    /// Removes a folder whose first files could not be written.
    fn remove(&self, keep: bool) {
        for file in [self.info(), self.recipe()] {
            let _ = std::fs::remove_file(file);
        }
        let _ = std::fs::remove_dir(self.path.join("checkpoints"));
        if !keep {
            let _ = std::fs::remove_dir(&self.path);
        }
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

    /// What a language model writes from fixed prompts, while it is trained.
    pub fn samples(&self) -> PathBuf {
        self.path.join("samples.jsonl")
    }

    /// The scores before training, which a resumed run reads.
    pub fn before(&self) -> PathBuf {
        self.path.join("before.json")
    }

    /// All scores at the end.
    pub fn scores(&self) -> PathBuf {
        self.path.join("scores.json")
    }

    /// The state from which training resumes.
    pub fn checkpoint(&self) -> PathBuf {
        self.path.join("checkpoints").join("last.safetensors")
    }

    /// The state of one of the other networks of a run that trains several, from 2.
    pub(crate) fn network_checkpoint(&self, i: usize) -> PathBuf {
        self.path.join("checkpoints").join(format!("network-{i}")).join("last.safetensors")
    }

    /// The model.
    pub fn model(&self) -> PathBuf {
        self.path.join("model")
    }

    /// The model that the scores are those of, where another was trained anew on all rows.
    pub fn judged_model(&self) -> PathBuf {
        self.path.join("judged")
    }

    /// The adapter of a model that was fine-tuned.
    pub fn adapter(&self) -> PathBuf {
        self.path.join("adapter")
    }

    /// Whether the recipe has this table.
    #[cfg(feature = "language")]
    pub(crate) fn states(&self, table: &str) -> bool {
        let text = std::fs::read_to_string(self.recipe()).unwrap_or_default();
        text.parse::<toml::Table>().is_ok_and(|recipe| recipe.contains_key(table))
    }

    /// The page to look at.
    pub fn report(&self) -> PathBuf {
        self.path.join("report.html")
    }
}

/// The folder of a run that is about to start.
pub(crate) struct NewFolder {
    out: Option<PathBuf>,
    name: String,
    was_there: bool,
    made: Option<RunFolder>,
}

impl NewFolder {
    /// Checks that the folder can be made, without making it: reading data may take minutes.
    pub(crate) fn check(out: Option<&Path>, name: String) -> Result<Self> {
        RunFolder::check(out)?;
        let was_there = out.is_some_and(Path::exists);
        Ok(Self { out: out.map(Path::to_owned), name, was_there, made: None })
    }

    /// The folder, which the first call makes.
    pub(crate) fn make(&mut self) -> Result<RunFolder> {
        let folder = match &self.made {
            Some(folder) => folder.clone(),
            None => RunFolder::create(self.out.as_deref(), &self.name)?,
        };
        Ok(self.made.insert(folder).clone())
    }

    /// Removes the folder, and what the task wrote into it.
    pub(crate) fn remove(&self, of_task: impl FnOnce(&RunFolder)) {
        if let Some(folder) = &self.made {
            of_task(folder);
            folder.remove(self.was_there);
        }
    }
}

/// A folder for a new run must be new or empty.
pub(crate) fn refuse_taken(out: &Path) -> Result<()> {
    if out.is_file() {
        return Err(Error::run(out, "is a file; name a new folder with --out"));
    }
    let taken = std::fs::read_dir(out).is_ok_and(|mut entries| entries.next().is_some());
    if !taken {
        return Ok(());
    }
    let rest = if out.join("recipe.toml").is_file() {
        format!(", or resume it with `feedforward train --resume {}`", out.display())
    } else {
        String::new()
    };
    Err(Error::run(
        out,
        format!(
            "is not empty, and nothing is ever overwritten; choose another folder with --out{rest}"
        ),
    ))
}

fn nearby(path: &Path) -> String {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut names: Vec<String> = std::fs::read_dir(folder)
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.file_name().to_string_lossy().into_owned()))
        .collect();
    names.sort();
    let name = path.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    if let Some(near) = ff_settings::similar(&name, names.iter().map(String::as_str)).first() {
        let near = path.with_file_name(near);
        return format!("did you mean {}?", near.display());
    }
    names.retain(|name| folder.join(name).join("recipe.toml").is_file());
    let more = names.len().saturating_sub(SHOWN);
    names.truncate(SHOWN);
    match more {
        _ if names.is_empty() => format!("{} holds no runs", folder.display()),
        0 => format!("{} holds {}", folder.display(), names.join(", ")),
        _ => format!("{} holds {} and {more} more", folder.display(), names.join(", ")),
    }
}
