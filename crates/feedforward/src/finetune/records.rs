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
    /// Messages with two answers, of which one was chosen.
    Preference,
    /// Texts with two answers, of which one was chosen.
    PreferenceTexts,
}

impl Shape {
    /// The shape in words.
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::Messages => "messages with role and content",
            Self::ShareGpt => "ShareGPT (conversations with from and value)",
            Self::Alpaca => "Alpaca (instruction, input, output)",
            Self::Completion => "prompt and completion",
            Self::Preference => "pairs of chosen and rejected messages",
            Self::PreferenceTexts => "prompt with a chosen and a rejected text",
        }
    }

    /// Whether a record has two answers.
    pub(super) fn is_pair(self) -> bool {
        matches!(self, Self::Preference | Self::PreferenceTexts)
    }

    /// Whether texts follow each other as they are, without a chat template.
    pub(super) fn is_text(self) -> bool {
        matches!(self, Self::Completion | Self::PreferenceTexts)
    }

    fn of(record: &Map<String, Value>) -> Option<Self> {
        let has = |key: &str| record.contains_key(key);
        Some(match () {
            () if has("chosen") && has("rejected") => match record.get("chosen") {
                Some(Value::Array(_)) => Self::Preference,
                _ => Self::PreferenceTexts,
            },
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
    /// The conversations; of pairs, those with the chosen answer.
    pub(super) all: Vec<Vec<Turn>>,
    /// Of pairs, the conversations with the rejected answer.
    pub(super) rejected: Vec<Vec<Turn>>,
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
    let (mut all, mut rejected) = (Vec::new(), Vec::new());
    let mut add = |value: &Value, place: String| -> Result<()> {
        let record = value.as_object().ok_or_else(|| fail(format!("{place}: is no object")))?;
        let known = Shape::of(record).ok_or_else(|| {
            let keys: Vec<&str> = record.keys().map(String::as_str).collect();
            fail(format!(
                "{place}: has the keys {}; expected messages, conversations, instruction with output, prompt with \
                 completion, or chosen with rejected",
                keys.join(", ")
            ))
        })?;
        let first = *shape.get_or_insert(known);
        if first != known {
            let (first, known) = (first.words(), known.words());
            return Err(fail(format!("{place}: is {known}, and the records before are {first}")));
        }
        let at = |message: String| fail(format!("{place}: {message}"));
        if known.is_pair() {
            let [a, b] = pair(record, known).map_err(at)?;
            all.push(a);
            rejected.push(b);
        } else {
            all.push(turns(record, known).map_err(at)?);
        }
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
            let value: Value = serde_json::from_str(line).map_err(|e| {
                // The message counts lines from this one.
                let (whole, column) = (e.to_string(), e.column());
                let what = whole.split(" at line ").next().unwrap_or_default();
                fail(format!("{place}, column {column}: this is not JSON: {what}"))
            })?;
            add(&value, place)?;
        }
    }
    let shape = shape.ok_or_else(|| fail("holds no record".into()))?;
    Ok(Records { shape, all, rejected })
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
        Shape::Preference | Shape::PreferenceTexts => {
            let [chosen, _] = pair(record, shape)?;
            chosen
        }
    };
    let answered = |turn: &Turn| turn.role == Role::Assistant && !turn.text.is_empty();
    if turns.iter().any(answered) { Ok(turns) } else { Err("has no answer".into()) }
}

/// The conversations of a pair, with the chosen and with the rejected answer at their end.
fn pair(record: &Map<String, Value>, shape: Shape) -> Result<[Vec<Turn>; 2], String> {
    let conversation = |key: &str| -> Result<Vec<Turn>, String> {
        let mut turns = match (shape, record.get(key)) {
            (Shape::Preference, _) => listed(record, key, "role", "content")?,
            (_, Some(Value::String(text))) => {
                vec![Turn { role: Role::Assistant, text: text.clone() }]
            }
            _ => return Err(format!("`{key}` is no text")),
        };
        // Messages may repeat the question, or leave it to the prompt.
        if turns.first().is_some_and(|turn| turn.role == Role::Assistant) {
            let mut asked = match record.get("prompt") {
                Some(Value::String(text)) => vec![Turn { role: Role::User, text: text.clone() }],
                Some(Value::Array(_)) => listed(record, "prompt", "role", "content")?,
                _ => return Err("has no `prompt`".into()),
            };
            asked.append(&mut turns);
            turns = asked;
        }
        match turns.last() {
            Some(turn) if turn.role == Role::Assistant && !turn.text.is_empty() => Ok(turns),
            _ => Err(format!("`{key}` does not end with an answer")),
        }
    };
    let [chosen, rejected] = [conversation("chosen")?, conversation("rejected")?];
    if chosen == rejected {
        return Err("the chosen and the rejected answer are the same".into());
    }
    if chosen[..chosen.len() - 1] != rejected[..rejected.len() - 1] {
        return Err("the chosen and the rejected answer are to different questions".into());
    }
    Ok([chosen, rejected])
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
            (shape, _) if shape.is_text() => text.clone(),
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
            ("{", "line 3, column 1: this is not JSON"),
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
    fn pairs_have_one_question_and_two_answers() {
        let turn = |role, text: &str| Turn { role, text: text.into() };
        let chosen = vec![turn(Role::User, "a"), turn(Role::Assistant, "b")];
        let rejected = vec![turn(Role::User, "a"), turn(Role::Assistant, "c")];
        let message =
            |role: &str, text: &str| format!(r#"{{"role": "{role}", "content": "{text}"}}"#);
        let (user, b, c) =
            (message("user", "a"), message("assistant", "b"), message("assistant", "c"));
        for text in [
            r#"{"prompt": "a", "chosen": "b", "rejected": "c"}"#.to_owned(),
            format!(r#"{{"prompt": [{user}], "chosen": [{b}], "rejected": [{c}]}}"#),
            format!(r#"{{"prompt": "a", "chosen": [{user}, {b}], "rejected": [{user}, {c}]}}"#),
        ] {
            let found = record(&text).unwrap();
            assert_eq!((&found.all[0], &found.rejected[0]), (&chosen, &rejected), "{text}");
        }
        for (bad, message) in [
            (r#"{"prompt": "a", "chosen": "b", "rejected": "b"}"#.to_owned(), "are the same"),
            (
                r#"{"prompt": "a", "chosen": "b", "rejected": ""}"#.to_owned(),
                "`rejected` does not end",
            ),
            (r#"{"chosen": "b", "rejected": "c"}"#.to_owned(), "has no `prompt`"),
            (
                format!(r#"{{"chosen": [{user}, {b}], "rejected": [{c}], "prompt": "d"}}"#),
                "different questions",
            ),
        ] {
            let found = record(&bad).unwrap_err().to_string();
            assert!(found.contains(message) && found.contains("line 1: "), "{bad}: {found}");
        }
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
