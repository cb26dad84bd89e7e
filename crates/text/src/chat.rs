//! Chat templates: conversations as the text that a model was trained on.

mod json;
mod markup;
mod methods;
mod time;

use std::borrow::Cow;
use std::io::{self, Write};
use std::ops::Range;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::Serde;
use minijinja::{Environment, Error, ErrorKind, State, UndefinedBehavior, Value as Jinja};
use serde_json::{Map, Value};

use crate::error::{Result, TextError};
use crate::tokenizer::Tokenizer;

/// The work of one rendering, in minijinja's units: about a second, or 600 MB of data.
const FUEL: u64 = 10_000_000;
/// The longest text: so many times the conversation's bytes, and so many more.
const MARKUP: (usize, usize) = (16, 1 << 20);
const NAME: &str = "chat";
/// The filter that `{% generation %}` becomes, and the variable with its marks.
const GENERATION: &str = "__generation";
/// The keys that a message's reasoning has in data; the first is the one that templates read.
const REASONING: [&str; 3] = ["reasoning_content", "thinking", "reasoning"];

/// A model's chat template: a Jinja program that writes a conversation as text.
///
/// Templates are those of Hugging Face's `chat_template`, and the text is that of
/// `transformers`' `apply_chat_template`: blocks are trimmed, Python's methods of texts, lists and
/// maps are there, and so are `raise_exception`, `strftime_now` and `{% generation %}`. A template
/// is a program of others: its work is bounded, and it reads no files.
///
/// Messages are objects with `role` and `content`, and whatever else the template reads
/// (`tool_calls`, `reasoning_content`).
///
/// ```
/// use ff_text::ChatTemplate;
/// use serde_json::json;
///
/// let source = "{% for m in messages %}<{{ m.role }}>{{ m.content }}</s>{% endfor %}\
///     {% if add_generation_prompt %}<assistant>{% endif %}";
/// let template = ChatTemplate::new(source, [("eos_token", "</s>")], "chat_template.jinja")?;
/// let messages = [json!({"role": "user", "content": "1 + 1?"})];
/// assert_eq!(template.render(&messages, None, true)?, "<user>1 + 1?</s><assistant>");
///
/// let messages = [messages[0].clone(), json!({"role": "assistant", "content": "2"})];
/// let chat = template.render_marked(&messages, None)?;
/// assert_eq!(&chat.text[chat.answers[0].clone()], "2</s>");
/// # Ok::<(), ff_text::TextError>(())
/// ```
#[derive(Debug, Clone)]
pub struct ChatTemplate {
    env: Environment<'static>,
    source: String,
    /// What the template sees beside the conversation: the names of special tokens, and options.
    variables: Map<String, Value>,
    /// Tokens that may end an answer.
    ends: Vec<String>,
    /// Whether it marks the assistant's part itself.
    marks: bool,
    place: String,
}

/// A conversation as text, with the parts that the assistant writes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RenderedChat {
    /// The text.
    pub text: String,
    /// The bytes of each answer, in order, with the token that ends it.
    pub answers: Vec<Range<usize>>,
}

impl ChatTemplate {
    /// Compiles a template; `special` names the special tokens (`bos_token`, `eos_token`), and
    /// `place` says where it came from, for messages.
    ///
    /// # Errors
    /// [`TextError::Template`] if its syntax is wrong.
    pub fn new<'a>(
        source: &str,
        special: impl IntoIterator<Item = (&'a str, &'a str)>,
        place: &str,
    ) -> Result<Self> {
        let (marked, marks) = generation_blocks(source);
        let mut env = Environment::new();
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        env.set_syntax(syntax.map_err(|e| failure(place, &e))?);
        env.set_undefined_behavior(UndefinedBehavior::Lenient);
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_fuel(Some(FUEL));
        env.set_unknown_method_callback(methods::call);
        env.add_test("iterable", |value: &Jinja| !value.is_none() && value.try_iter().is_ok());
        env.add_filter("tojson", json::tojson);
        env.add_filter(GENERATION, mark);
        env.add_function("raise_exception", raise);
        env.add_function("strftime_now", time::strftime_now);
        let variables: Map<String, Value> =
            special.into_iter().map(|(name, token)| (name.to_owned(), token.into())).collect();
        let ends = variables.values().filter_map(Value::as_str).map(str::to_owned).collect();
        let joined = markup::printed(&marked);
        env.add_template_owned(NAME, marked.into_owned()).map_err(|e| failure(place, &e))?;
        if let Some(joined) = joined {
            markup::escape_joined(&mut env);
            env.add_template_owned(NAME, joined).map_err(|e| failure(place, &e))?;
        }
        let (source, place) = (source.to_owned(), place.to_owned());
        Ok(Self { env, source, variables, ends, marks, place })
    }

    /// The template of a tokenizer's files: `chat_template.jinja`, or `chat_template` in
    /// `tokenizer_config.json`; of several named ones the `default`.
    ///
    /// # Errors
    /// As [`ChatTemplate::new`].
    pub fn of(tokenizer: &Tokenizer) -> Result<Option<Self>> {
        let Some((source, place)) = tokenizer.chat_template() else { return Ok(None) };
        let names = tokenizer.special_names();
        let special = names.iter().map(|(name, token)| (name.as_str(), token.as_str()));
        let mut template = Self::new(&source, special, &place)?;
        template.ends.extend(tokenizer.special_tokens().into_iter().map(|(token, _)| token));
        Ok(Some(template))
    }

    /// Sets a variable that the template reads, such as `enable_thinking`.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<Value>) -> Self {
        self.variables.insert(name.to_owned(), value.into());
        self
    }

    /// The template's text.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// The conversation as text; with `add_generation_prompt` it ends where the assistant begins to
    /// write. `tools` are the JSON schemas of functions that the model may call.
    ///
    /// # Errors
    /// [`TextError::Template`] if the template refuses the conversation (`raise_exception`), reads
    /// what is not there, or does more than about a second of work.
    pub fn render(
        &self,
        messages: &[Value],
        tools: Option<&[Value]>,
        add_generation_prompt: bool,
    ) -> Result<String> {
        self.run(messages, tools, add_generation_prompt, ["", ""])
    }

    /// The conversation with the parts that the assistant writes: those in `{% generation %}`
    /// blocks where the template has them, and otherwise what each assistant's message adds behind
    /// the prompt for it, with the token that ends it.
    ///
    /// # Errors
    /// As [`ChatTemplate::render`]; also if a message changes the text before it, as templates do
    /// that remove the reasoning of earlier answers: then the parts are unknown.
    pub fn render_marked(
        &self,
        messages: &[Value],
        tools: Option<&[Value]>,
    ) -> Result<RenderedChat> {
        if !self.marks {
            return self.by_prefixes(messages, tools);
        }
        let text = |values: &[Value]| values.iter().map(Value::to_string).collect::<String>();
        let given = format!("{}{}{}", self.source, text(messages), text(tools.unwrap_or_default()));
        let free =
            (0..=u32::MAX).map(|n| format!("\u{fdd0}{n}")).find(|mark| !given.contains(mark));
        let free = free.unwrap_or_default();
        let marks = [format!("{free}\u{fdd1}"), format!("{free}\u{fdd2}")];
        let marked = self.run(messages, tools, false, [&marks[0], &marks[1]])?;
        let (mut text, mut answers) = (String::new(), Vec::new());
        for (i, part) in marked.split(&marks[0]).enumerate() {
            let (answer, rest) =
                if i == 0 { ("", part) } else { part.split_once(&marks[1]).unwrap_or((part, "")) };
            if !answer.is_empty() {
                answers.push(text.len()..text.len() + answer.len());
            }
            text.push_str(answer);
            text.push_str(rest);
        }
        Ok(RenderedChat { text, answers })
    }

    /// The answers as differences between the texts of the conversation's beginnings.
    fn by_prefixes(&self, messages: &[Value], tools: Option<&[Value]>) -> Result<RenderedChat> {
        let text = self.render(messages, tools, false)?;
        let changed = |i: usize| {
            let message = format!(
                "the text before message {} changes with what follows, so that it is unknown which part the assistant \
                 writes",
                i + 1
            );
            let hint = "Train on the last answer of each conversation only, or put {% generation %} … \
                        {% endgeneration %} around the assistant's part of the template.";
            self.error(message, hint)
        };
        let mut answers = Vec::new();
        for (i, message) in messages.iter().enumerate() {
            if message["role"] != "assistant" {
                continue;
            }
            let prompt = self.render(&messages[..i], tools, true)?;
            let end = self.render(&messages[..=i], tools, false)?;
            // A prompt for reasoning may hold more than the text of an answer begins with.
            let start = common(&prompt, &text);
            let before = self.render(&messages[..i], tools, false)?.len();
            if start < before || !text.starts_with(&end) || end.len() < start {
                return Err(changed(i));
            }
            let answer = end[start..].trim_end();
            let ended =
                self.ends.iter().any(|token| !token.is_empty() && answer.ends_with(token.as_str()));
            let len = if ended { answer.len() } else { end.len() - start };
            answers.push(start..start + len);
        }
        Ok(RenderedChat { text, answers })
    }

    fn run(
        &self,
        messages: &[Value],
        tools: Option<&[Value]>,
        add_generation_prompt: bool,
        marks: [&str; 2],
    ) -> Result<String> {
        let given = |values: &[Value]| values.iter().map(|v| v.to_string().len()).sum::<usize>();
        let given = given(messages) + given(tools.unwrap_or_default());
        let most = given.saturating_mul(MARKUP.0).saturating_add(MARKUP.1);
        let mut context = self.variables.clone();
        let messages = messages.iter().map(plain).collect::<Vec<_>>();
        context.insert("messages".into(), messages.into());
        context.insert("tools".into(), tools.map_or(Value::Null, |tools| tools.to_vec().into()));
        context.insert("documents".into(), Value::Null);
        context.insert("add_generation_prompt".into(), add_generation_prompt.into());
        context.insert(GENERATION.into(), marks.to_vec().into());
        let template = self.env.get_template(NAME).map_err(|e| failure(&self.place, &e))?;
        let mut text = Bounded { text: Vec::new(), most };
        let rendered = template.render_captured_to(Jinja::from(Serde(&context)), &mut text);
        rendered.map_err(|e| failure(&self.place, &e))?;
        Ok(String::from_utf8_lossy(&text.text).into_owned())
    }

    fn error(&self, message: impl Into<String>, hint: &str) -> TextError {
        template_error(&self.place, message, hint)
    }
}

/// A message as `transformers` passes it on: without keys that are null, its reasoning under the
/// names that templates read.
fn plain(message: &Value) -> Value {
    let Value::Object(message) = message else { return message.clone() };
    let mut plain = Map::new();
    let reasoning = REASONING.iter().find_map(|key| message.get(*key).filter(|r| !r.is_null()));
    if let Some(reasoning) = reasoning {
        plain.insert(REASONING[1].into(), reasoning.clone());
    }
    let given = message.iter().filter(|(_, value)| !value.is_null());
    plain.extend(given.map(|(key, value)| (key.clone(), value.clone())));
    if let Some(reasoning) = reasoning {
        plain.insert(REASONING[0].into(), reasoning.clone());
    }
    plain.into()
}

/// The length of what two texts begin with.
fn common(a: &str, b: &str) -> usize {
    let pairs = a.char_indices().zip(b.chars());
    pairs.take_while(|((_, a), b)| a == b).map(|((at, a), _)| at + a.len_utf8()).last().unwrap_or(0)
}

/// The template with `{% generation %}` blocks as blocks of a filter, and whether there are any.
fn generation_blocks(source: &str) -> (Cow<'_, str>, bool) {
    let (mut out, mut rest, mut found) = (String::new(), source, false);
    while let Some(at) = rest.find("{%") {
        let (before, block) = rest.split_at(at);
        out.push_str(before);
        let len = block.find("%}").map_or(block.len(), |end| end + 2);
        let (block, after) = block.split_at(len);
        let word =
            block.trim_start_matches("{%").trim_end_matches("%}").trim_matches(['-', '+']).trim();
        match word {
            "generation" => out += &block.replace(word, &format!("filter {GENERATION}")),
            "endgeneration" => out += &block.replace(word, "endfilter"),
            _ => out += block,
        }
        found |= word == "generation";
        rest = after;
    }
    if !found {
        return (source.into(), false);
    }
    out.push_str(rest);
    (out.into(), true)
}

/// The filter of generation blocks: the text between the marks of this rendering.
fn mark(state: &State, text: &Jinja) -> std::result::Result<String, Error> {
    let marks = state.lookup(GENERATION).unwrap_or_default();
    Ok(format!("{}{text}{}", marks.get_item_by_index(0)?, marks.get_item_by_index(1)?))
}

/// What `raise_exception` says begins with this, to be told from other errors.
const RAISED: &str = "raised: ";

/// A text that cannot grow beyond a number of bytes.
struct Bounded {
    text: Vec<u8>,
    most: usize,
}

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.text.len() + bytes.len() > self.most {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.text.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn raise(message: &Jinja) -> std::result::Result<Jinja, Error> {
    Err(Error::new(ErrorKind::InvalidOperation, format!("{RAISED}{message}")))
}

fn template_error(place: &str, message: impl Into<String>, hint: &str) -> TextError {
    TextError::Template { place: place.to_owned(), message: message.into(), hint: hint.to_owned() }
}

/// What went wrong, with the line of the template.
fn failure(place: &str, error: &Error) -> TextError {
    // An error inside of a block or macro is the cause of another one.
    let mut cause = error;
    while let Some(source) =
        std::error::Error::source(cause).and_then(|e| e.downcast_ref::<Error>())
    {
        cause = source;
    }
    let detail = cause.detail().unwrap_or_default();
    let line = cause.line().map_or(String::new(), |line| format!("line {line}: "));
    if let Some(raised) = detail.strip_prefix(RAISED) {
        let message = format!("the chat template refuses this conversation: {raised}");
        return template_error(place, message, "Change the messages as it says.");
    }
    match cause.kind() {
        // Nothing but the bound on the text makes writing fail.
        ErrorKind::OutOfFuel | ErrorKind::WriteFailure => template_error(
            place,
            format!(
                "{line}the chat template was stopped: it does more work than a conversation needs"
            ),
            "It loops for ever, or its text grows without bound; take the template of the model's source, or give \
             shorter messages.",
        ),
        ErrorKind::SyntaxError | ErrorKind::UnknownFilter | ErrorKind::UnknownTest => {
            template_error(
                place,
                format!("{line}the chat template is malformed: {}", named(cause, detail)),
                "Take the template of the model's source.",
            )
        }
        _ => template_error(
            place,
            format!("{line}the chat template fails on this conversation: {}", named(cause, detail)),
            "It may need other messages (roles that alternate, a content that is text), or tools.",
        ),
    }
}

fn named(error: &Error, detail: &str) -> String {
    if detail.is_empty() { error.kind().to_string() } else { format!("{}: {detail}", error.kind()) }
}

#[cfg(test)]
mod tests;
