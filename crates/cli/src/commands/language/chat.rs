use std::io::{self, BufRead, IsTerminal, Write};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use feedforward::language::{Answer, Chat, GenerateOptions, LanguageModel};
use feedforward::tensor::Device;
use feedforward::text::ChatTemplate;
use serde_json::json;

use crate::arguments::language::ChatOptions;
use crate::failure::Failure;
use crate::interrupt;
use crate::show::{Working, count, duration};
use crate::terminal::Terminal;

/// The marks around a message of several lines.
const FENCE: &str = "\"\"\"";
/// The file of `/save` without a name.
const SAVED: &str = "chat.jsonl";
/// The base model, in place of an adapter's name.
const NO_ADAPTER: &str = "none";

pub(super) fn run(arguments: &ChatOptions, terminal: &Terminal) -> Result<ExitCode, Failure> {
    let device = Device::open(arguments.machine.options()).map_err(feedforward::Error::from)?;
    let prompts: Box<dyn BufRead> = match &arguments.prompts {
        Some(path) => Box::new(io::Cursor::new(read(path)?)),
        None => Box::new(io::stdin().lock()),
    };
    let working = Working::new(terminal, format!("opening {}", arguments.model.display()));
    let adapters: Vec<&Path> = arguments.adapter.iter().map(|path| &**path).collect();
    let language = arguments.language();
    let opened = LanguageModel::open_to_generate(&arguments.model, &adapters, &device, &language);
    drop(working);
    let model = opened?;
    let usual = GenerateOptions::from_model(model.generation())?;
    let options = arguments.sampling.options(&usual, Some(arguments.max_tokens))?;
    options.check()?;
    let template = arguments.template.as_deref().map(template).transpose()?;
    let mut chat = Chat::new(&model, template)?;
    if let Some(system) = &arguments.system {
        chat.set_system(system);
    }
    let typed = arguments.prompts.is_none() && io::stdin().is_terminal();
    if typed {
        interrupt::answers::listen_between("Ctrl-C again leaves; so does /quit")?;
        terminal.line(terminal.dim("/help lists the commands, Ctrl-C stops an answer"))?;
    }
    let adapters = adapter_names(&arguments.model, &arguments.adapter, model.adapters());
    let json = arguments.json;
    let mut session = Session { model, chat, options, terminal, adapters, typed, json };
    session.talk(prompts)?;
    Ok(ExitCode::SUCCESS)
}

fn read(path: &Path) -> Result<String, Failure> {
    let error = |e| Failure::usage(format!("{}: reading: {e}", path.display()));
    std::fs::read_to_string(path).map_err(error)
}

fn template(path: &Path) -> Result<ChatTemplate, Failure> {
    let template = ChatTemplate::new(&read(path)?, [], &path.display().to_string());
    Ok(template.map_err(feedforward::Error::from)?)
}

struct Session<'a> {
    model: LanguageModel,
    chat: Chat,
    options: GenerateOptions,
    terminal: &'a Terminal,
    /// What the model's adapters are called.
    adapters: Vec<String>,
    /// Whether someone types the messages.
    typed: bool,
    json: bool,
}

impl Session<'_> {
    fn talk(&mut self, mut prompts: Box<dyn BufRead>) -> Result<(), Failure> {
        loop {
            if self.typed {
                Terminal::data(&self.terminal.bold("> "))?;
            }
            let Some(message) = next(&mut *prompts)? else { break };
            interrupt::answers::forget();
            let text = message.trim();
            let leave = match text.strip_prefix('/').filter(|_| !text.contains('\n')) {
                _ if text.is_empty() => false,
                Some(command) => self.command(command)?,
                None => {
                    self.say(text)?;
                    false
                }
            };
            if leave {
                return Ok(());
            }
        }
        if self.typed {
            Terminal::data("\n")?;
        }
        Ok(())
    }

    /// Does what a command says; whether it ends the conversation.
    fn command(&mut self, command: &str) -> Result<bool, Failure> {
        let (name, rest) = command.split_once(char::is_whitespace).unwrap_or((command, ""));
        let rest = rest.trim();
        match name {
            "quit" | "exit" => return Ok(true),
            "reset" => self.chat.reset(),
            "system" => self.chat.set_system(rest),
            "save" => self.save(Path::new(if rest.is_empty() { SAVED } else { rest }))?,
            "adapter" => self.use_adapter(rest)?,
            "help" => {
                for line in [
                    "/system TEXT  how the model should answer; without a text as it likes",
                    "/reset        forget the conversation",
                    "/save FILE    append the conversation to a file of records (chat.jsonl)",
                    "/adapter NAME answer with this adapter, or with `none`; without a name: which there are",
                    "/quit         leave (or Ctrl-D)",
                    "A line that ends with \\ goes on in the next one; lines between two lines of \"\"\" are one message.",
                ] {
                    self.terminal.line(line)?;
                }
            }
            _ => self.refuse(format!("/{name} is no command; /help lists them"))?,
        }
        Ok(false)
    }

    /// Says what is wrong with a command, to somebody who can type another.
    fn refuse(&self, message: String) -> Result<(), Failure> {
        if self.typed { Ok(self.terminal.line(message)?) } else { Err(Failure::usage(message)) }
    }

    /// Uses an adapter from the next answer on, or lists them.
    fn use_adapter(&mut self, name: &str) -> Result<(), Failure> {
        if name.is_empty() {
            let used = self.model.adapter().and_then(|i| self.adapters.get(i));
            for name in &self.adapters {
                let mark = if used == Some(name) { "*" } else { " " };
                self.terminal.line(format!("{mark} {name}"))?;
            }
            let mark = if used.is_none() { "*" } else { " " };
            return Ok(self.terminal.line(format!("{mark} {NO_ADAPTER}"))?);
        }
        let adapter = self.adapters.iter().position(|own| own == name);
        if adapter.is_none() && name != NO_ADAPTER {
            let known = [&self.adapters[..], &[NO_ADAPTER.to_owned()]].concat().join(", ");
            return self.refuse(format!("/adapter {name}: there are {known}"));
        }
        self.model.use_adapter(adapter)?;
        Ok(())
    }

    /// Appends the conversation as one line, as `feedforward finetune` reads them.
    fn save(&self, path: &Path) -> Result<(), Failure> {
        let record = json!({ "messages": self.chat.messages() });
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path);
        let written = file.and_then(|mut file| writeln!(file, "{record}"));
        match written {
            Ok(()) => {
                let messages = count(self.chat.messages().len() as u64);
                let line = format!("{messages} messages appended to {}", path.display());
                Ok(self.terminal.line(self.terminal.dim(line))?)
            }
            // Nothing of the conversation is lost.
            Err(error) if self.typed => {
                Ok(self.terminal.line(format!("{}: writing: {error}", path.display()))?)
            }
            Err(error) => Err(Failure::failed(format!("{}: writing: {error}", path.display()))),
        }
    }

    fn say(&mut self, text: &str) -> Result<(), Failure> {
        let started = Instant::now();
        let (typed, json) = (self.typed, self.json);
        let mut show = |text: &str| {
            if !json {
                let error =
                    feedforward::formats::Error::io(Path::new("standard output"), "writing");
                Terminal::data(text).map_err(error)?;
            }
            let stop = typed && interrupt::asked();
            Ok(if stop { ControlFlow::Break(()) } else { ControlFlow::Continue(()) })
        };
        interrupt::answers::answering(true);
        let said = self.chat.say(&mut self.model, text, &self.options, &mut show);
        interrupt::answers::answering(false);
        interrupt::answers::forget();
        let Answer { written, left_out } = match said {
            Ok(answer) => answer,
            // The conversation is as it was, and goes on.
            Err(error) if typed => {
                let failure = Failure::from(error);
                failure.report(self.terminal);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let seconds = started.elapsed().as_secs_f64();
        if json {
            Terminal::object(&json!({
                "prompt": text, "text": written.text, "prompt_tokens": written.prompt_tokens,
                "cached_tokens": written.cached_tokens,
                "tokens": written.tokens, "reason": written.reason, "left_out": left_out, "seconds": seconds,
            }))?;
            return Ok(());
        }
        Terminal::data("\n")?;
        if left_out > 0 {
            let line = format!(
                "{left_out} earlier messages were left out: the model has no positions for them"
            );
            self.terminal.line(self.terminal.dim(line))?;
        }
        if typed {
            let tokens = written.tokens.len();
            let rate = tokens as f64 / seconds.max(1e-9);
            let line = format!(
                "{} tokens in {}, {rate:.0} a second",
                count(tokens as u64),
                duration(seconds)
            );
            self.terminal.line(self.terminal.dim(line))?;
        }
        Ok(())
    }
}

/// The names of the adapters: those of their folders, with a number where two have one name. A
/// model that is a run with an adapter has its own before the others.
fn adapter_names(model: &Path, adapters: &[PathBuf], count: usize) -> Vec<String> {
    let own = (count > adapters.len()).then_some(model);
    let mut names: Vec<String> = Vec::new();
    for path in own.into_iter().chain(adapters.iter().map(|path| &**path)) {
        let whole = path.canonicalize().unwrap_or_else(|_| path.to_owned());
        let name = whole.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned();
        let number =
            1 + names.iter().filter(|other| other.split('#').next() == Some(&*name)).count();
        names.push(if number > 1 { format!("{name}#{number}") } else { name });
    }
    names
}

/// The next message: a line, lines that end with a backslash, or those between two fences.
fn next(prompts: &mut dyn BufRead) -> io::Result<Option<String>> {
    let mut line = || -> io::Result<Option<String>> {
        let mut line = String::new();
        let read = prompts.read_line(&mut line)?;
        Ok((read > 0).then(|| line.trim_end_matches(['\n', '\r']).to_owned()))
    };
    let Some(first) = line()? else { return Ok(None) };
    let mut message = String::new();
    if first.trim() == FENCE {
        while let Some(next) = line()?.filter(|next| next.trim() != FENCE) {
            message += &next;
            message.push('\n');
        }
        return Ok(Some(message));
    }
    let mut next = Some(first);
    while let Some(text) = next {
        if let Some(text) = text.strip_suffix('\\') {
            message += text;
            message.push('\n');
            next = line()?;
        } else {
            message += &text;
            next = None;
        }
    }
    Ok(Some(message))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_may_have_several_lines() {
        let mut text = "one\n\"\"\"\ntwo\n  lines\n\"\"\"\nthree \\\nlines\r\n/end".as_bytes();
        let mut messages = Vec::new();
        while let Some(message) = next(&mut text).unwrap() {
            messages.push(message);
        }
        assert_eq!(messages, ["one", "two\n  lines\n", "three \nlines", "/end"]);
    }
}
