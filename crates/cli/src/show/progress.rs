//! A run while it runs: a bar on a terminal, lines at a sane rate elsewhere.

use std::path::Path;
use std::time::{Duration, Instant};

use feedforward::trainer::{EpochRecord, Event, Observer};
use feedforward::{Notice, Watcher};
use indicatif::{ProgressBar, ProgressStyle};

use super::working::{draw_target, spinner};
use super::{data, duration, model, score};
use crate::interrupt;
use crate::terminal::{Style, Terminal};

/// Without a bar, a line at least this far from the one before, unless an epoch is the first or the last.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// Without a line for so long, a line about the step: nothing may look as if it hung.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Shows what a run tells. Output that cannot be written never stops a run.
#[derive(Debug)]
pub(crate) struct Progress<'t> {
    terminal: &'t Terminal,
    /// What the data's file is called.
    file: String,
    bar: Option<ProgressBar>,
    phase: Option<(String, Instant)>,
    first_step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
    started: Instant,
    last_line: Instant,
    /// The epoch that was told of last, and the last one that ended.
    told: usize,
    last: Option<EpochRecord>,
    best: Option<usize>,
    /// Whether each training is one of many: one line each.
    many: bool,
    /// The run's folder, once it is known.
    run: Option<std::path::PathBuf>,
}

impl<'t> Progress<'t> {
    pub(crate) fn new(terminal: &'t Terminal, file: &Path) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            file: file.display().to_string(),
            bar: None,
            phase: None,
            first_step: 0,
            total_steps: 0,
            steps_per_epoch: 1,
            started: now,
            last_line: now,
            told: 0,
            last: None,
            best: None,
            many: false,
            run: None,
        }
    }

    /// The same for many trainings, each told of in one line.
    pub(crate) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// The run's folder, as soon as it was made: what to go on with after a failure.
    pub(crate) fn run(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// Clears the bar; tells of the last epoch if it is still untold.
    pub(crate) fn end(&mut self) {
        self.finish_training();
        self.finish();
    }

    fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }

    fn say(&mut self, text: &str) {
        self.last_line = Instant::now();
        match &self.bar {
            Some(bar) => bar.suspend(|| drop(self.terminal.line(text))),
            None => drop(self.terminal.line(text)),
        }
    }

    fn new_bar(&self, length: u64) -> ProgressBar {
        let bar = ProgressBar::with_draw_target(Some(length), draw_target(self.terminal));
        if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {msg}") {
            bar.set_style(style.progress_chars("━━─"));
        }
        bar
    }

    fn phase(&mut self, name: &str) {
        self.finish_training();
        self.finish();
        let words = match name {
            "reading" => format!("reading {}", self.file),
            "report" => "writing the report".into(),
            other => other.to_owned(),
        };
        if self.terminal.live {
            self.bar = Some(spinner(self.terminal, words));
        } else if name != "training" && !(self.many && name != "reading") {
            self.say(&format!("… {words}"));
        }
        self.phase = Some((name.to_owned(), Instant::now()));
    }

    fn start(&mut self, step: u64, total_steps: u64, steps_per_epoch: u64) {
        self.finish();
        (self.first_step, self.total_steps) = (step, total_steps);
        self.steps_per_epoch = steps_per_epoch.max(1);
        self.started = Instant::now();
        self.last_line = self.started;
        (self.told, self.last) = (0, None);
        if step > 0 {
            self.say(&format!("going on from step {step} of {total_steps}"));
        }
        if self.terminal.live {
            let bar = self.new_bar(total_steps);
            bar.set_position(step);
            bar.set_prefix("step 1");
            self.bar = Some(bar);
        }
    }

    /// Steps a second and seconds to the last step, which early stopping may spare.
    fn pace(&self, step: u64) -> Option<(f64, f64)> {
        let done = step.saturating_sub(self.first_step);
        let elapsed = self.started.elapsed().as_secs_f64();
        if done == 0 || elapsed <= 0.0 {
            return None;
        }
        let rate = done as f64 / elapsed;
        Some((rate, self.total_steps.saturating_sub(step) as f64 / rate))
    }

    fn step(&mut self, step: u64, epoch: usize, loss: f64) {
        if step == self.first_step + 1 {
            let first = self.started.elapsed();
            if first > BETWEEN_LINES {
                self.say(&format!("the first step took {}", duration(first.as_secs_f64())));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            // Thousands of steps a second need no message each; the bar itself draws twenty times a second at most.
            if step % 16 == 1 || self.steps_per_epoch < 16 {
                bar.set_prefix(self.prefix(epoch));
                bar.set_message(self.message(loss, step));
            }
        } else if self.last_line.elapsed() > HEARTBEAT {
            let share = 100 * step / self.total_steps.max(1);
            let line = format!(
                "step {step}/{} · {share} % · {}",
                self.total_steps,
                self.message(loss, step)
            );
            self.say(&line);
        }
    }

    fn epochs(&self) -> u64 {
        self.total_steps.div_ceil(self.steps_per_epoch)
    }

    fn prefix(&self, epoch: usize) -> String {
        format!("epoch {epoch}/{}", self.epochs())
    }

    fn message(&self, loss: f64, step: u64) -> String {
        let train = self.last.as_ref().map_or(loss, |record| record.train_loss);
        let mut parts = vec![format!("train {}", score(train))];
        if let Some(valid) = self.last.as_ref().and_then(|record| record.valid_loss) {
            parts.push(format!("valid {}", score(valid)));
        }
        if let Some(best) = self.best {
            parts.push(format!("best {best}"));
        }
        if let Some((rate, left)) = self.pace(step) {
            parts.push(format!("{rate:.0} steps/s"));
            parts.push(format!("≤ {} left", duration(left)));
        }
        parts.join(" · ")
    }

    fn epoch(&mut self, record: &EpochRecord, best: Option<usize>) {
        self.last = Some(record.clone());
        self.best = best;
        let due = self.told == 0 || self.last_line.elapsed() >= BETWEEN_LINES;
        if self.terminal.verbose || (self.bar.is_none() && due && !self.many) {
            self.tell(record);
        }
    }

    fn tell(&mut self, record: &EpochRecord) {
        self.told = record.epoch;
        let mut parts =
            vec![self.prefix(record.epoch), format!("train {}", score(record.train_loss))];
        if let Some(valid) = record.valid_loss {
            parts.push(format!("valid {}", score(valid)));
        }
        if let Some(valid) = record.valid_score {
            parts.push(format!("score {}", score(valid)));
        }
        if let Some(best) = self.best {
            parts.push(format!("best {best}"));
        }
        if self.terminal.verbose {
            parts.push(format!("rate {}", score(record.lr)));
            parts.push(format!("gradient {}", score(record.grad_norm)));
        }
        parts.push(duration(record.seconds));
        let line = parts.join(" · ");
        self.say(&line);
    }

    /// The last epoch is told of, whatever the rate of lines.
    fn finish_training(&mut self) {
        let Some(record) = self.last.take() else { return };
        if !self.many {
            if record.epoch != self.told {
                self.tell(&record);
            }
            return;
        }
        let name = self.phase.as_ref().map_or("", |(name, _)| name);
        let mut parts = vec![name.to_owned(), format!("{} epochs", record.epoch)];
        parts.extend(self.best.map(|best| format!("best {best}")));
        parts.extend(record.valid_score.map(|valid| format!("last score {}", score(valid))));
        parts.push(duration(record.seconds));
        self.say(&parts.join(" · "));
    }
}

impl Observer for Progress<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase(name) => self.phase(name),
            Event::Start { step, total_steps, steps_per_epoch } => {
                self.start(step, total_steps, steps_per_epoch);
            }
            Event::Step { step, epoch, loss, .. } => self.step(step, epoch, loss),
            Event::Epoch { record, best } => self.epoch(record, best),
            Event::Checkpoint(path) if self.terminal.verbose => {
                self.say(&format!("saved {}", path.display()));
            }
            _ => {}
        }
    }

    fn interrupted(&mut self) -> bool {
        interrupt::asked()
    }
}

impl Watcher for Progress<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        let phase = self.phase.take();
        self.finish();
        let terminal = self.terminal;
        // A reader that went away does not stop the run.
        let _ = match notice {
            Notice::Environment { isa, threads, seed } => terminal.line(format!(
                "{} {} · CPU ({isa}) · {threads} thread{} · seed {seed}",
                terminal.bold("feedforward"),
                env!("CARGO_PKG_VERSION"),
                if *threads == 1 { "" } else { "s" },
            )),
            Notice::Run(path) => {
                self.run = Some(path.to_path_buf());
                Ok(())
            }
            Notice::Data(notice) => data(terminal, &self.file, notice),
            Notice::Model(notice) => model(terminal, notice),
            _ => Ok(()),
        };
        if terminal.verbose
            && let Some((name, started)) = phase
        {
            let took = duration(started.elapsed().as_secs_f64());
            let _ = terminal.line(terminal.paint(Style::Dim, format!("  {name} took {took}")));
        }
    }
}
