//! A language model while it is trained: a status line on a terminal, lines at a sane rate elsewhere, samples as they come.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use feedforward::trainer::{EpochRecord, Event, Observer};
use feedforward::{LanguageNotice, Notice, SampleNotice, TextNotice, Watcher, bytes};
use indicatif::{ProgressBar, ProgressStyle};

use super::working::{draw_target, spinner};
use super::{count, duration, score};
use crate::interrupt;
use crate::terminal::{Style, Terminal};

/// Without a line for so long, a line about the step: nothing may look as if it hung.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// Messages are made anew after so long.
const REDRAW: Duration = Duration::from_millis(100);

/// Characters of a sample that are shown while others are to come; the report has all of them.
const SAMPLE: usize = 160;

/// Shows what a pretraining run tells. Output that cannot be written never stops a run.
#[derive(Debug)]
pub(crate) struct Pretraining<'t> {
    terminal: &'t Terminal,
    bar: Option<ProgressBar>,
    plan: Option<LanguageNotice>,
    first_step: u64,
    total_steps: u64,
    started: Instant,
    /// Seconds that evaluations and samples took, which are no training.
    paused: Duration,
    last_step: Instant,
    last_line: Instant,
    redrawn: Instant,
    /// The loss as it is told: a mean that forgets.
    loss: Option<f64>,
    valid: Option<f64>,
    run: Option<PathBuf>,
}

impl<'t> Pretraining<'t> {
    pub(crate) fn new(terminal: &'t Terminal) -> Self {
        let now = Instant::now();
        Self {
            terminal,
            bar: None,
            plan: None,
            first_step: 0,
            total_steps: 0,
            started: now,
            paused: Duration::ZERO,
            last_step: now,
            last_line: now,
            redrawn: now,
            loss: None,
            valid: None,
            run: None,
        }
    }

    /// The run's folder, as soon as it was made: what to go on with after a failure.
    pub(crate) fn run(&self) -> Option<&Path> {
        self.run.as_deref()
    }

    /// Clears the bar.
    pub(crate) fn end(&mut self) {
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
        self.end();
        if self.terminal.live {
            self.bar = Some(spinner(self.terminal, name.to_owned()));
        } else if name != "training" {
            self.say(&format!("… {name}"));
        }
    }

    fn start(&mut self, step: u64, total_steps: u64) {
        self.end();
        (self.first_step, self.total_steps) = (step, total_steps);
        self.started = Instant::now();
        (self.last_step, self.last_line, self.redrawn) = (self.started, self.started, self.started);
        if step > 0 {
            self.say(&format!("going on from step {} of {}", count(step), count(total_steps)));
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

    /// Milliseconds a step, tokens a second, share of the peak, time left.
    fn pace(&self, step: u64) -> Vec<String> {
        let done = step.saturating_sub(self.first_step);
        let spent = self.started.elapsed().saturating_sub(self.paused).as_secs_f64();
        if done == 0 || spent <= 0.0 {
            return Vec::new();
        }
        let each = spent / done as f64;
        let mut parts =
            vec![if each < 1.0 { format!("{:.0} ms", 1e3 * each) } else { format!("{each:.2} s") }];
        if let Some(plan) = &self.plan {
            parts.push(format!("{} tokens/s", count((plan.tokens_per_step as f64 / each) as u64)));
            let share = 100.0 * plan.flops_per_step as f64 / each / plan.peak_flops;
            if share.is_finite() {
                parts.push(format!("{share:.0} % of peak"));
            }
        }
        let left = self.total_steps.saturating_sub(step) as f64 * each;
        parts.push(format!("{} left", duration(left)));
        parts
    }

    fn status(&self, step: u64) -> String {
        let mut parts = Vec::new();
        parts.extend(self.loss.map(|loss| format!("loss {}", score(loss))));
        parts.extend(self.valid.map(|loss| format!("valid {}", score(loss))));
        parts.extend(self.pace(step));
        parts.join(" · ")
    }

    fn prefix(&self, step: u64) -> String {
        let share = 100 * step / self.total_steps.max(1);
        format!("step {}/{} · {share} %", count(step), count(self.total_steps))
    }

    fn step(&mut self, step: u64, loss: f64) {
        let now = Instant::now();
        self.last_step = now;
        self.loss = Some(self.loss.map_or(loss, |mean| 0.9 * mean + 0.1 * loss));
        if step == self.first_step + 1 && self.started.elapsed().as_secs_f64() > 2.0 {
            let first = self.started.elapsed().as_secs_f64();
            self.say(&format!("the first step took {}", duration(first)));
        }
        if self.bar.is_some() {
            if now - self.redrawn >= REDRAW {
                self.redrawn = now;
                let (prefix, status) = (self.prefix(step), self.status(step));
                if let Some(bar) = &self.bar {
                    bar.set_position(step);
                    bar.set_prefix(prefix);
                    bar.set_message(status);
                }
            }
        } else if self.last_line.elapsed() > HEARTBEAT {
            let line = format!("{} · {}", self.prefix(step), self.status(step));
            self.say(&line);
        }
    }

    fn evaluated(&mut self, record: &EpochRecord, best: Option<usize>) {
        self.paused += self.last_step.elapsed();
        self.valid = record.valid_loss.or(self.valid);
        let mut parts =
            vec![self.prefix(record.step), format!("train {}", score(record.train_loss))];
        parts.extend(record.valid_loss.map(|loss| format!("valid {}", score(loss))));
        if best == Some(record.epoch) {
            parts.push("best".into());
        }
        if self.terminal.verbose {
            parts.push(format!("rate {}", score(record.lr)));
            parts.push(format!("gradient {}", score(record.grad_norm)));
        }
        parts.extend(self.pace(record.step));
        let line = parts.join(" · ");
        self.say(&line);
    }

    fn sample(&mut self, sample: &SampleNotice<'_>) {
        let mut text: String = sample.text.chars().take(SAMPLE).collect();
        if text.len() < sample.text.len() && !self.terminal.verbose {
            text.push('…');
        } else {
            sample.text.clone_into(&mut text);
        }
        let prompt = self.terminal.bold(printable(sample.prompt));
        let text = self.terminal.paint(Style::Dim, printable(&text));
        self.say(&format!("  {prompt}{text}"));
    }

    fn text(&mut self, notice: &TextNotice) {
        let bold = self.terminal.bold("Text  ");
        self.say(&format!("{bold} {}", notice.source));
        for finding in &notice.findings {
            self.say(&format!("  {finding}"));
        }
        self.say(&format!(
            "  {} · {} tokens to train on · {} to judge by · {:.2} bytes a token",
            notice.tokenizer,
            count(notice.train_tokens),
            count(notice.valid_tokens),
            notice.bytes_per_token
        ));
    }

    fn language(&mut self, notice: &LanguageNotice) {
        let (model, plan) = (self.terminal.bold("Model "), self.terminal.bold("Plan  "));
        let parameters = count(notice.parameters as u64);
        self.say(&format!("{model} {} · {parameters} parameters", notice.layers));
        self.say(&format!("{plan} {} · {} of memory", notice.training, bytes(notice.peak_bytes)));
        self.plan = Some(notice.clone());
    }
}

/// Control characters made visible, lines kept in one.
fn printable(text: &str) -> String {
    let shown = text.chars().map(|c| match c {
        '\n' => '⏎',
        c if c.is_control() => '·',
        c => c,
    });
    shown.collect()
}

impl Observer for Pretraining<'_> {
    fn event(&mut self, event: Event<'_>) {
        match event {
            Event::Phase(name) => self.phase(name),
            Event::Start { step, total_steps, .. } => self.start(step, total_steps),
            Event::Step { step, loss, .. } => self.step(step, loss),
            Event::Epoch { record, best } => self.evaluated(record, best),
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

impl Watcher for Pretraining<'_> {
    fn notice(&mut self, notice: &Notice<'_>) {
        match notice {
            Notice::Environment { isa, threads, seed } => {
                let line = format!(
                    "{} {} · CPU ({isa}) · {threads} thread{} · seed {seed}",
                    self.terminal.bold("feedforward"),
                    env!("CARGO_PKG_VERSION"),
                    if *threads == 1 { "" } else { "s" },
                );
                self.say(&line);
            }
            Notice::Run(path) => self.run = Some(path.to_path_buf()),
            Notice::Text(notice) => self.text(notice),
            Notice::Language(notice) => self.language(notice),
            Notice::Sample(sample) => self.sample(sample),
            _ => {}
        }
    }
}
