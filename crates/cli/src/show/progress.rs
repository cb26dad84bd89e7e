//! Progress of training: a bar on a terminal, lines at a moderate rate elsewhere.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use feedforward::trainer::{EpochRecord, Event, Observer};
use feedforward::words::{count, duration, score, setting};
use feedforward::{Notice, Throughput, Watcher};
use indicatif::{ProgressBar, ProgressStyle};

use super::forecast::{AHEAD, Forecast};
use super::working::{draw_target, spinner};
use super::{data, notice};
use crate::interrupt;
use crate::terminal::{Style, Terminal};

/// Without a bar, the least time between lines, except for the first and the last epoch.
const BETWEEN_LINES: Duration = Duration::from_secs(2);

/// After this time without a line, a line about the step, so that the program does not seem to
/// hang.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The least time between two messages of the bar.
const REDRAW: Duration = Duration::from_millis(100);

/// Shows the events of a run. A failure to write output never stops a run.
///
/// A run with a throughput, such as that of a language model, counts steps and shows every
/// evaluation; others count epochs.
#[derive(Debug)]
pub(crate) struct Progress<'t> {
    terminal: &'t Terminal,
    bar: Option<ProgressBar>,
    phase: Option<(String, Instant)>,
    throughput: Option<Throughput>,
    first_step: u64,
    total_steps: u64,
    steps_per_epoch: u64,
    started: Instant,
    /// Time spent on evaluations and samples.
    paused: Duration,
    last_step: Instant,
    last_line: Instant,
    redrawn: Instant,
    /// A running mean of the loss.
    loss: Option<f64>,
    /// The last epoch shown, and the last one completed.
    shown: usize,
    last: Option<EpochRecord>,
    best: Option<usize>,
    forecast: Forecast,
    /// Whether this is one of many trainings, shown in a line each.
    many: bool,
    /// Whether the table of columns is left out.
    quiet_data: bool,
    /// The run's folder, once known.
    run: Option<PathBuf>,
}

impl<'t> Progress<'t> {
    pub(crate) fn new(terminal: &'t Terminal) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            bar: None,
            phase: None,
            throughput: None,
            first_step: 0,
            total_steps: 0,
            steps_per_epoch: 1,
            started: now,
            paused: Duration::ZERO,
            last_step: now,
            last_line: now,
            redrawn: now,
            loss: None,
            shown: 0,
            last: None,
            best: None,
            forecast: Forecast::default(),
            many: false,
            quiet_data: false,
            run: None,
        }
    }

    /// The same for many trainings, each shown in one line.
    pub(crate) fn many(mut self) -> Self {
        self.many = true;
        self
    }

    /// The same without the table of columns.
    pub(crate) fn without_data(mut self) -> Self {
        self.quiet_data = true;
        self
    }

    /// The run's folder, once made: what to resume after a failure.
    pub(crate) fn run(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// Clears the bar and shows the last epoch, if not yet shown.
    pub(crate) fn end(&mut self) {
        self.finish_training();
        self.clear();
    }

    fn clear(&mut self) {
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

    fn phase(&mut self, name: &str) {
        self.finish_training();
        self.clear();
        if self.terminal.live {
            self.bar = Some(spinner(self.terminal, name.to_owned()));
        } else if name != "training" && (!self.many || name.starts_with("reading")) {
            self.say(&format!("… {name}"));
        }
        self.phase = Some((name.to_owned(), Instant::now()));
    }

    fn start(&mut self, step: u64, total_steps: u64, steps_per_epoch: u64) {
        self.clear();
        (self.first_step, self.total_steps) = (step, total_steps);
        self.steps_per_epoch = steps_per_epoch.max(1);
        let now = Instant::now();
        (self.started, self.last_step, self.last_line, self.redrawn) = (now, now, now, now);
        (self.shown, self.last, self.paused) = (0, None, Duration::ZERO);
        self.forecast = Forecast::default();
        if step > 0 {
            self.say(&format!("resuming at step {} of {}", count(step), count(total_steps)));
        }
        if self.terminal.live {
            let bar = ProgressBar::with_draw_target(Some(total_steps), draw_target(self.terminal));
            if let Ok(style) = ProgressStyle::with_template("{prefix} {wide_bar:.cyan/dim} {msg}") {
                bar.set_style(style.progress_chars("━━─"));
            }
            bar.set_position(step);
            bar.set_prefix("step 1");
            self.bar = Some(bar);
        }
    }

    /// Seconds a step; rare evaluations, as those of language models, are left out.
    fn seconds_per_step(&self, step: u64) -> Option<f64> {
        let done = step.saturating_sub(self.first_step);
        let paused = if self.throughput.is_some() { self.paused } else { Duration::ZERO };
        let spent = self.started.elapsed().saturating_sub(paused).as_secs_f64();
        (done > 0 && spent > 0.0).then(|| spent / done as f64)
    }

    /// Speed, share of the peak, and time left unless training stops early.
    fn pace(&self, step: u64) -> Vec<String> {
        let Some(each) = self.seconds_per_step(step) else { return Vec::new() };
        let left = duration(self.total_steps.saturating_sub(step) as f64 * each);
        let Some(work) = &self.throughput else {
            return vec![format!("{:.0} steps/s", 1.0 / each), format!("≤ {left} left")];
        };
        let step =
            if each < 1.0 { format!("{:.0} ms", 1e3 * each) } else { format!("{each:.2} s") };
        let rate = format!("{} {}/s", count((work.units_per_step / each) as u64), work.unit);
        let share = 100.0 * work.flops_per_step as f64 / each / work.peak_flops;
        let share = share.is_finite().then(|| format!("{share:.0} % of peak"));
        [step, rate].into_iter().chain(share).chain([format!("{left} left")]).collect()
    }

    /// What a minute more may bring, where training may last so long.
    fn outlook(&self, step: u64) -> Option<String> {
        let left = self.total_steps.saturating_sub(step) as f64 * self.seconds_per_step(step)?;
        let record = self.last.as_ref().filter(|_| left >= AHEAD && self.throughput.is_none())?;
        self.forecast.words(record.seconds)
    }

    fn step_of(&self, step: u64) -> String {
        let share = 100 * step / self.total_steps.max(1);
        format!("step {}/{} · {share} %", count(step), count(self.total_steps))
    }

    fn prefix(&self, step: u64, epoch: usize) -> String {
        match self.throughput {
            Some(_) => self.step_of(step),
            None => format!("epoch {epoch}/{}", self.total_steps.div_ceil(self.steps_per_epoch)),
        }
    }

    fn message(&self, loss: f64, step: u64) -> String {
        let mut parts = Vec::new();
        if self.throughput.is_some() {
            parts.extend(self.loss.map(|loss| format!("loss {}", score(loss))));
        } else {
            let train = self.last.as_ref().map_or(loss, |record| record.train_loss);
            parts.push(format!("train {}", score(train)));
        }
        let valid = self.last.as_ref().and_then(|record| record.valid_loss);
        parts.extend(valid.map(|valid| format!("valid {}", score(valid))));
        if self.throughput.is_none() {
            parts.extend(self.best.map(|best| format!("best {best}")));
        }
        parts.extend(self.pace(step));
        parts.extend(self.outlook(step));
        parts.join(" · ")
    }

    fn step(&mut self, step: u64, epoch: usize, loss: f64) {
        let now = Instant::now();
        self.last_step = now;
        self.loss = Some(self.loss.map_or(loss, |mean| 0.9 * mean + 0.1 * loss));
        if step == self.first_step + 1 {
            let first = now - self.started;
            if first > BETWEEN_LINES {
                self.say(&format!("the first step took {}", duration(first.as_secs_f64())));
            }
        }
        if let Some(bar) = &self.bar {
            bar.set_position(step);
            // Thousands of steps a second need no message each.
            if now - self.redrawn >= REDRAW {
                bar.set_prefix(self.prefix(step, epoch));
                bar.set_message(self.message(loss, step));
                self.redrawn = now;
            }
        } else if self.last_line.elapsed() > HEARTBEAT {
            let line = format!("{} · {}", self.step_of(step), self.message(loss, step));
            self.say(&line);
        }
    }

    fn epoch(&mut self, record: &EpochRecord, best: Option<usize>) {
        self.paused += self.last_step.elapsed();
        if let Some(loss) = record.valid_loss {
            self.forecast.add(record.seconds, loss);
        }
        self.last = Some(record.clone());
        self.best = best;
        let due = self.shown == 0 || self.last_line.elapsed() >= BETWEEN_LINES;
        let rare = self.throughput.is_some();
        if self.terminal.verbose || rare || (self.bar.is_none() && due && !self.many) {
            self.show(record);
        }
    }

    fn show(&mut self, record: &EpochRecord) {
        self.shown = record.epoch;
        let mut parts = vec![self.prefix(record.step, record.epoch)];
        parts.push(format!("train {}", score(record.train_loss)));
        parts.extend(record.valid_loss.map(|valid| format!("valid {}", score(valid))));
        if self.throughput.is_some() {
            parts.extend((self.best == Some(record.epoch)).then(|| "best".to_owned()));
        } else {
            parts.extend(record.valid_score.map(|valid| format!("score {}", score(valid))));
            parts.extend(self.best.map(|best| format!("best {best}")));
        }
        if self.terminal.verbose {
            parts.push(format!("rate {}", setting(record.lr)));
            parts.push(format!("gradient {}", score(record.grad_norm)));
        }
        match self.throughput {
            Some(_) => parts.extend(self.pace(record.step)),
            None => parts.push(duration(record.seconds)),
        }
        parts.extend(self.outlook(record.step));
        let line = parts.join(" · ");
        self.say(&line);
    }

    /// Shows the last epoch, whatever the rate of lines.
    fn finish_training(&mut self) {
        let Some(record) = self.last.take() else { return };
        if !self.many {
            if record.epoch != self.shown {
                self.show(&record);
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
        let terminal = self.terminal;
        if let Notice::Sample(sample) = notice {
            // Samples come while a bar is shown.
            return self.say(&notice::sample(terminal, sample));
        }
        let phase = self.phase.take();
        self.clear();
        // A closed output does not stop the run.
        let _ = match notice {
            Notice::Environment { isa, threads, seed } => {
                notice::environment(terminal, *isa, *threads, *seed)
            }
            Notice::Run(path) => {
                self.run = Some(path.to_path_buf());
                Ok(())
            }
            Notice::Data(_) if self.quiet_data => Ok(()),
            Notice::Data(notice) => data(terminal, notice),
            Notice::Text(notice) => notice::text(terminal, notice),
            Notice::Preview(notice) => notice::preview(terminal, notice),
            Notice::Model(notice) => {
                self.throughput = notice.throughput;
                notice::model(terminal, notice)
            }
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
