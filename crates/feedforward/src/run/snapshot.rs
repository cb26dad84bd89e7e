//! What is known of a run at one moment.

use super::clock::Clock;
use super::folder::RunFolder;
use super::info::RunInfo;
use super::memory;
use super::plan::{Sizes, Work};
use crate::error::Error;
use ff_report::{Status, StatusKind, Timing};
use ff_settings::shell_word;
use ff_tensor::Device;
use ff_train::{Progress, Stop};

/// What is known of a run at one moment.
pub(crate) struct Snapshot<'a> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) info: &'a RunInfo,
    pub(crate) device: &'a Device,
    pub(crate) sizes: &'a Sizes,
    pub(crate) work: &'a Work,
    /// Floating-point operations that the device does per second at most, where they were measured.
    pub(crate) peak_flops: Option<f64>,
    pub(crate) progress: &'a Progress,
    pub(crate) clock: &'a Clock,
    /// The most bytes that pool and arena, and the process, held.
    pub(crate) pool_bytes: usize,
    pub(crate) process_bytes: usize,
    pub(crate) state: State<'a>,
}

/// What stays the same during a run.
pub(crate) struct Context<'a> {
    pub(crate) folder: &'a RunFolder,
    pub(crate) info: &'a RunInfo,
    pub(crate) device: &'a Device,
    pub(crate) sizes: &'a Sizes,
    pub(crate) work: &'a Work,
    pub(crate) peak_flops: Option<f64>,
}

impl Context<'_> {
    /// What is known at this moment; `pool_bytes` is the most that pool and arena held while
    /// training.
    pub(crate) fn at<'b>(
        &'b self,
        progress: &'b Progress,
        clock: &'b Clock,
        pool_bytes: usize,
        state: State<'b>,
    ) -> Snapshot<'b> {
        let Self { folder, info, device, sizes, work, peak_flops } = *self;
        let process_bytes = memory::process_peak_bytes();
        Snapshot {
            folder,
            info,
            device,
            sizes,
            work,
            peak_flops,
            progress,
            clock,
            pool_bytes,
            process_bytes,
            state,
        }
    }
}

/// How far a run has come.
#[derive(Clone, Copy)]
pub(crate) enum State<'a> {
    /// It trains, in this session since this step; the page reloads itself.
    Running { from: u64 },
    /// It was stopped and can be resumed.
    Interrupted,
    /// It ended with an error.
    Failed(&'a Error),
    /// It is over.
    Finished(Stop),
}

impl Snapshot<'_> {
    /// Whether training and evaluation are over.
    pub(crate) fn is_finished(&self) -> bool {
        matches!(self.state, State::Finished(_))
    }

    /// The status of a run that has `done` so much (`3 epochs and 60 steps`) and `kept` some
    /// weights.
    pub(crate) fn status(&self, done: &str, kept: &str) -> Status {
        let kept = if kept.is_empty() { String::new() } else { format!("; {kept}") };
        let (kind, message) = match self.state {
            State::Running { .. } => (StatusKind::Running, format!("{done} so far")),
            State::Interrupted => {
                (StatusKind::Stopped, format!("interrupted after {done}; it can be resumed"))
            }
            State::Failed(error) => (StatusKind::Failed, format!("after {done}: {error}")),
            State::Finished(_) => (StatusKind::Finished, format!("after {done}{kept}")),
        };
        Status { kind, message }
    }

    /// The time since the last lap, which a task spends on the page alone.
    pub(crate) fn explaining(&self) -> Timing {
        Timing { phase: "explaining".into(), seconds: self.clock.since_lap() }
    }

    /// The run's folder as a shell takes it.
    pub(crate) fn shown_run(&self) -> String {
        shell_word(&self.folder.path().display().to_string())
    }

    /// The recipe's file as a shell takes it.
    pub(crate) fn shown_recipe(&self) -> String {
        shell_word(&self.folder.recipe().display().to_string())
    }
}
