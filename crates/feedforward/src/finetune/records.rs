//! Files of conversations, in the shapes that are common.

use super::recipe::LossOn;
use crate::error::{Error, Result};
use ff_table::source::Input;
use serde_json::{Map, Value};
use std::io::Read;
use std::path::Path;

/// Who speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    System,
    User,
    Assistant,
}

/// What one of them says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Turn {
    pub(super) role: Role,
    pub(super) text: String,
}

/// The shape of a file's records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    Messages,
    ShareGpt,
    Alpaca,
    /// Texts that follow each other as they are.
    Completion,
}

impl Shape {
    /// The shape in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Messages => "messages with role and content",
            Self::ShareGpt => "ShareGPT (conversations with from and value)",
            Self::Alpaca => "Alpaca (instruction, input, output)",
            Self::Completion => "prompt and completion",
        }
    }

    fn of(record: &Map<String, Value>) -> Option<Self> {
        let has = |key: &str| record.contains_key(key);
        Some(match () {
            () if has("messages") => Self::Messages,
            () if has("conversations") => Self::ShareGpt,
            () if has("instruction") => Self::Alpaca,
            () if has("prompt") => Self::Completion,
            () => return None,
        })
    }
}

/// The records of a file, each a conversation with an answer.
#[derive(Debug)]
pub(super) struct Records {
    pub(super) shape: Shape,
    pub(super) all: Vec<Vec<Turn>>,
}

/// A text with whether it is learned.
pub(super) type Piece = (String, bool);

/// Reads a JSON list or JSON lines.
///
/// # Errors
/// The file cannot be read, is no UTF-8 or JSON, or a record has no known shape or no answer; the
/// message says in which line or record.
pub(super) fn read(path: &Path) -> Result<Records> {
    let mut bytes = Vec::new();
    let read = Input::open(path, true)?.reader()?.read_to_end(&mut bytes);
    read.map_err(ff_formats::Error::io(path, "reading"))?;
    let fail = |message: String| Error::run(path, message);
    let text = std::str::from_utf8(&bytes).map_err(|e| {
        let line = bytes[..e.valid_up_to()].split(|&b| b == b'\n').count();
        fail(format!("line {line}: this is not UTF-8; save the file as UTF-8"))
    })?;
    let text = text.trim_start_matches('\u{feff}');
    let mut shape = None;
    let mut all = Vec::new();
    let mut add = |value: &Value, place: String| -> Result<()> {
        let record = value.as_object().ok_or_else(|| fail(format!("{place}: is no object")))?;
        let known = Shape::of(record).ok_or_else(|| {
            let keys: Vec<&str> = record.keys().map(String::as_str).collect();
            fail(format!(
                "{place}: has the keys {}; expected messages, conversations, instruction with output, or prompt with \
                 completion",
                keys.join(", ")
            ))
        })?;
        let first = *shape.get_or_insert(known);
        if first != known {
            let (first, known) = (first.words(), known.words());
            return Err(fail(format!("{place}: is {known}, and the records before are {first}")));
        }
        all.push(turns(record, known).map_err(|message| fail(format!("{place}: {message}")))?);
        Ok(())
    };
    if text.trim_start().starts_with('[') {
        let list: Vec<Value> = serde_json::from_str(text)
            .map_err(|e| fail(format!("line {}: this is not JSON: {e}", e.line())))?;
        for (i, value) in list.iter().enumerate() {
            add(value, format!("record {}", i + 1))?;
        }
    } else {
        for (i, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
            let place = format!("line {}", i + 1);
            let value: Value = serde_json::from_str(line)
                .map_err(|e| fail(format!("{place}: this is not JSON: {e}")))?;
            add(&value, place)?;
        }
    }
    let shape = shape.ok_or_else(|| fail("holds no record".into()))?;
    Ok(Records { shape, all })
}

/// The turns of a record.
fn turns(record: &Map<String, Value>, shape: Shape) -> Result<Vec<Turn>, String> {
    let text = |key: &str| -> Result<String, String> {
        match record.get(key) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(_) => Err(format!("`{key}` is no text")),
            None => Err(format!("has no `{key}`")),
        }
    };
    let turn = |role, text| Turn { role, text };
    let turns = match shape {
        Shape::Messages => listed(record, "messages", "role", "content")?,
        Shape::ShareGpt => listed(record, "conversations", "from", "value")?,
        Shape::Alpaca => {
            let mut asked = text("instruction")?;
            if record.get("input").is_some_and(|input| input.as_str() != Some("")) {
                asked = format!("{asked}\n\n{}", text("input")?);
            }
            vec![turn(Role::User, asked), turn(Role::Assistant, text("output")?)]
        }
        Shape::Completion => {
            vec![turn(Role::User, text("prompt")?), turn(Role::Assistant, text("completion")?)]
        }
    };
    let answered = |turn: &Turn| turn.role == Role::Assistant && !turn.text.is_empty();
    if turns.iter().any(answered) { Ok(turns) } else { Err("has no answer".into()) }
}

/// A list of messages.
fn listed(
    record: &Map<String, Value>,
    key: &str,
    role: &str,
    content: &str,
) -> Result<Vec<Turn>, String> {
    if record.get("tools").is_some_and(|tools| !tools.is_null()) {
        return Err("has `tools`, which are not supported yet".into());
    }
    let list = record.get(key).and_then(Value::as_array);
    let list = list.ok_or_else(|| format!("`{key}` is no list"))?;
    let message = |(i, value): (usize, &Value)| {
        let of = |key: &str| {
            let text = value.get(key).and_then(Value::as_str);
            text.ok_or_else(|| format!("message {} has no text in `{key}`", i + 1))
        };
        let role = match of(role)? {
            "system" => Role::System,
            "user" | "human" => Role::User,
            "assistant" | "gpt" => Role::Assistant,
            other => {
                return Err(format!(
                    "message {} has the role \"{other}\"; the roles are system, user (human) and assistant (gpt)",
                    i + 1
                ));
            }
        };
        Ok(Turn { role, text: of(content)?.to_owned() })
    };
    list.iter().enumerate().map(message).collect()
}

/// The text of a conversation in pieces, each with whether it is learned, for a model without a
/// template; `end` is the text of the token that ends an answer.
pub(super) fn pieces(turns: &[Turn], shape: Shape, end: &str, loss: LossOn) -> Vec<Piece> {
    let last = turns.iter().rposition(|turn| turn.role == Role::Assistant);
    let mut pieces = Vec::with_capacity(turns.len() + 1);
    for (i, turn) in turns.iter().enumerate() {
        let learned = match loss {
            LossOn::All => true,
            LossOn::Answers => turn.role == Role::Assistant,
            LossOn::Last => Some(i) == last,
        };
        let text = &turn.text;
        let text = match (shape, turn.role) {
            (_, Role::Assistant) => format!("{text}{end}"),
            (Shape::Completion, _) => text.clone(),
            (_, Role::System) => format!("{text}\n\n"),
            (_, Role::User) => {
                let before =
                    if i > 0 && turns[i - 1].role == Role::Assistant { "\n\n" } else { "" };
                format!("{before}### Instruction:\n{text}\n\n### Response:\n")
            }
        };
        pieces.push((text, learned));
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(text: &str) -> Result<Records> {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("records.jsonl");
        std::fs::write(&path, text).unwrap();
        read(&path)
    }

    #[test]
    fn the_common_shapes_are_the_same_conversation() {
        let user = Turn { role: Role::User, text: "a".into() };
        let assistant = Turn { role: Role::Assistant, text: "b".into() };
        for text in [
            r#"{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}"#,
            r#"{"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}"#,
            r#"{"instruction": "a", "input": "", "output": "b"}"#,
            r#"{"prompt": "a", "completion": "b"}"#,
            r#"[{"prompt": "a", "completion": "b"}]"#,
        ] {
            assert_eq!(record(text).unwrap().all, [[user.clone(), assistant.clone()]], "{text}");
        }
        let with = record(r#"{"instruction": "a", "input": "c", "output": "b"}"#).unwrap();
        assert_eq!(with.all[0][0].text, "a\n\nc");
    }

    #[test]
    fn mistakes_are_named_with_their_line() {
        let good = r#"{"prompt": "a", "completion": "b"}"#;
        for (bad, message) in [
            ("{", "line 3: this is not JSON"),
            ("[]", "line 3: is no object"),
            (r#"{"text": "a"}"#, "line 3: has the keys text"),
            (r#"{"prompt": "a"}"#, "line 3: has no `completion`"),
            (r#"{"prompt": "a", "completion": ""}"#, "line 3: has no answer"),
            (r#"{"instruction": "a", "output": "b"}"#, "and the records before are prompt"),
        ] {
            let found = record(&format!("{good}\n\n{bad}\n")).unwrap_err().to_string();
            assert!(found.contains(message), "{bad}: {found}");
        }
        let role = r#"{"messages": [{"role": "robot", "content": "a"}]}"#;
        assert!(record(role).unwrap_err().to_string().contains("the role \"robot\""));
    }

    #[test]
    fn what_is_learned_follows_the_option() {
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let turns = [
            turn(Role::User, "a"),
            turn(Role::Assistant, "b"),
            turn(Role::User, "c"),
            turn(Role::Assistant, "d"),
        ];
        let learned = |loss| -> Vec<bool> {
            pieces(&turns, Shape::Messages, "", loss).into_iter().map(|piece| piece.1).collect()
        };
        assert_eq!(learned(LossOn::Answers), [false, true, false, true]);
        assert_eq!(learned(LossOn::Last), [false, false, false, true]);
        assert_eq!(learned(LossOn::All), [true; 4]);
        let text: String = pieces(&turns[..2], Shape::Messages, "<e>", LossOn::All)
            .into_iter()
            .map(|piece| piece.0)
            .collect();
        assert_eq!(text, "### Instruction:\na\n\n### Response:\nb<e>");
    }
}
