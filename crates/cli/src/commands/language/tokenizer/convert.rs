use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

use feedforward::text::{TextError, Tokenizer};
use serde_json::{Value, json};

use crate::arguments::language::{TokenizerDecode, TokenizerEncode};
use crate::failure::Failure;

pub(super) fn encode(arguments: &TokenizerEncode) -> Result<ExitCode, Failure> {
    let tokenizer = Tokenizer::load(&arguments.tokenizer)?;
    each_line(arguments.file.as_deref(), |line, place, out| {
        let ids = if arguments.add_special {
            tokenizer.encode_with_special(line)
        } else {
            tokenizer.encode(line)
        };
        let ids = ids.map_err(|error| at(place, error))?;
        if arguments.json {
            let tokens: Vec<Value> = ids.iter().map(|&id| tokenizer.token(id).into()).collect();
            writeln!(out, "{}", json!({ "ids": ids, "tokens": tokens }))?;
        } else {
            let texts: Vec<String> = ids.iter().map(u32::to_string).collect();
            writeln!(out, "{}", texts.join(" "))?;
        }
        Ok(())
    })
}

pub(super) fn decode(arguments: &TokenizerDecode) -> Result<ExitCode, Failure> {
    let tokenizer = Tokenizer::load(&arguments.tokenizer)?;
    each_line(arguments.file.as_deref(), |line, place, out| {
        let mut ids = Vec::new();
        for text in line.split([' ', '\t', ',']).filter(|text| !text.is_empty()) {
            let id = text.trim_matches(['[', ']']).parse();
            ids.push(id.map_err(|_| {
                Failure::failed(format!("{place}: `{text}` is not an id"))
                    .help("ids are whole numbers with blanks or commas between them")
            })?);
        }
        let text = if arguments.skip_special {
            tokenizer.decode_plain(&ids)
        } else {
            tokenizer.decode(&ids)
        };
        let text = text.map_err(|error| match error {
            TextError::Vocabulary { id, vocab_size } => Failure::failed(format!(
                "{place}: the id {id} is not in the vocabulary of {vocab_size}"
            ))
            .help("are these ids of another tokenizer?"),
            error => at(place, error),
        })?;
        if arguments.json {
            writeln!(out, "{}", json!({ "text": text }))?;
        } else {
            writeln!(out, "{text}")?;
        }
        Ok(())
    })
}

/// The error of a line with its place.
fn at(place: &str, error: TextError) -> Failure {
    match error {
        TextError::Tokenizer { message, hint, .. } => {
            TextError::Tokenizer { place: place.to_owned(), message, hint }.into()
        }
        error => error.into(),
    }
}

/// The most bytes of a line.
const MAX_LINE: usize = 64 << 20;

/// Calls `convert` with each line of a file or standard input, its place, and the output.
fn each_line(
    file: Option<&Path>,
    mut convert: impl FnMut(&str, &str, &mut dyn Write) -> Result<(), Failure>,
) -> Result<ExitCode, Failure> {
    let path = file.filter(|path| path.as_os_str() != "-");
    let name = path.map_or_else(|| "standard input".into(), |path| format!("`{}`", path.display()));
    let failed = |e: io::Error| Failure::failed(format!("cannot read {name}: {e}"));
    let mut input: Box<dyn BufRead> = match path {
        Some(path) => match File::open(path) {
            Ok(file) => Box::new(BufReader::with_capacity(1 << 16, file)),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(Failure::usage(format!("there is no file {name}")));
            }
            Err(e) => return Err(failed(e)),
        },
        None => Box::new(io::stdin().lock()),
    };
    let mut out = BufWriter::with_capacity(1 << 16, io::stdout().lock());
    let mut bytes = Vec::new();
    for line in 1u64.. {
        bytes.clear();
        let limited = &mut input;
        let read = io::Read::take(limited, MAX_LINE as u64 + 1).read_until(b'\n', &mut bytes);
        if read.map_err(failed)? == 0 {
            break;
        }
        let place = format!("{name}, line {line}");
        if bytes.len() > MAX_LINE {
            return Err(Failure::failed(format!("{place}: more than {} MiB", MAX_LINE >> 20))
                .help("lines are held in memory: divide this one into shorter ones"));
        }
        let text = std::str::from_utf8(&bytes).map_err(|e| {
            let byte = bytes[e.valid_up_to()];
            let number = e.valid_up_to() + 1;
            Failure::failed(format!(
                "{place}: byte {byte:#04x}, number {number} of the line, is not UTF-8"
            ))
            .help("save it as UTF-8: iconv -f WINDOWS-1252 -t UTF-8 FILE")
        })?;
        let text = text.strip_suffix('\n').unwrap_or(text);
        convert(text.strip_suffix('\r').unwrap_or(text), &place, &mut out)?;
    }
    out.flush()?;
    Ok(ExitCode::SUCCESS)
}
