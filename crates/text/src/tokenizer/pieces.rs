//! Models of SentencePiece (`.spm`, `.model`): a protocol buffer of pieces, their scores, and how
//! text is normalised.

use tokenizers::decoders::byte_fallback::ByteFallback;
use tokenizers::decoders::sequence::Sequence as Decoders;
use tokenizers::models::unigram::Unigram;
use tokenizers::normalizers::{Precompiled, Replace, Sequence as Normalizers, Strip};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::{NormalizerWrapper, Tokenizer as Inner};

/// The mark for a space.
pub(super) const SPACE: char = '▁';

/// A field's value, as far as the models have them.
#[derive(Debug, Clone, Copy)]
enum Field<'a> {
    Number(u64),
    Float(f32),
    Bytes(&'a [u8]),
}

impl<'a> Field<'a> {
    fn number(self) -> Result<u64, String> {
        if let Field::Number(number) = self { Ok(number) } else { Err(wrong()) }
    }

    fn bytes(self) -> Result<&'a [u8], String> {
        if let Field::Bytes(bytes) = self { Ok(bytes) } else { Err(wrong()) }
    }
}

fn wrong() -> String {
    "a field is of another type than SentencePiece writes".into()
}

/// Calls `each` with the number and the value of every field of a message.
fn fields<'a>(
    mut bytes: &'a [u8],
    mut each: impl FnMut(u64, Field<'a>) -> Result<(), String>,
) -> Result<(), String> {
    let cut = || "it ends in the middle of a field".to_owned();
    while !bytes.is_empty() {
        let tag = varint(&mut bytes).ok_or_else(cut)?;
        let field = match tag & 7 {
            0 => Field::Number(varint(&mut bytes).ok_or_else(cut)?),
            1 => {
                bytes = bytes.get(8..).ok_or_else(cut)?;
                continue;
            }
            2 => {
                let len = varint(&mut bytes).and_then(|len| usize::try_from(len).ok());
                let (value, rest) = len.and_then(|n| bytes.split_at_checked(n)).ok_or_else(cut)?;
                bytes = rest;
                Field::Bytes(value)
            }
            5 => {
                let (value, rest) = bytes.split_first_chunk().ok_or_else(cut)?;
                bytes = rest;
                Field::Float(f32::from_le_bytes(*value))
            }
            _ => return Err("it is no model of SentencePiece".into()),
        };
        each(tag >> 3, field)?;
    }
    Ok(())
}

/// Seven bits a byte, the lowest first.
fn varint(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 127) << shift;
        if byte < 128 {
            return Some(value);
        }
    }
    None
}

/// The fields of a model, with the defaults of missing ones.
pub(super) struct Model<'a> {
    /// Text, score and kind.
    pub(super) pieces: Vec<(&'a str, f64, u64)>,
    pub(super) kind: u64,
    /// Whether unknown characters become bytes.
    pub(super) bytes: bool,
    /// The pieces that begin and end a text.
    pub(super) begin: Option<usize>,
    pub(super) end: Option<usize>,
    pub(super) suffix: bool,
    pub(super) charsmap: &'a [u8],
    pub(super) prefix: bool,
    pub(super) strip: bool,
    pub(super) escape: bool,
}

/// Kinds of pieces.
pub(super) const NORMAL: u64 = 1;
pub(super) const UNKNOWN: u64 = 2;
pub(super) const USER_DEFINED: u64 = 4;
pub(super) const BYTE: u64 = 6;
/// The kind of model that takes the likeliest pieces.
pub(super) const UNIGRAM: u64 = 1;

pub(super) fn parse(bytes: &[u8]) -> Result<Model<'_>, String> {
    let mut model = Model {
        pieces: Vec::new(),
        kind: UNIGRAM,
        bytes: false,
        begin: Some(1),
        end: Some(2),
        suffix: false,
        charsmap: &[],
        prefix: true,
        strip: true,
        escape: true,
    };
    fields(bytes, |number, field| {
        match number {
            1 => {
                let mut piece = ("", 0.0, NORMAL);
                fields(field.bytes()?, |number, field| {
                    match (number, field) {
                        (1, Field::Bytes(text)) => {
                            piece.0 = std::str::from_utf8(text).map_err(|e| e.to_string())?;
                        }
                        (2, Field::Float(score)) => piece.1 = f64::from(score),
                        (3, Field::Number(kind)) => piece.2 = kind,
                        _ => {}
                    }
                    Ok(())
                })?;
                model.pieces.push(piece);
            }
            2 => fields(field.bytes()?, |number, field| {
                match number {
                    3 => model.kind = field.number()?,
                    24 => model.suffix = field.number()? != 0,
                    35 => model.bytes = field.number()? != 0,
                    // No such piece is −1.
                    41 => model.begin = usize::try_from(field.number()?.cast_signed()).ok(),
                    42 => model.end = usize::try_from(field.number()?.cast_signed()).ok(),
                    _ => {}
                }
                Ok(())
            })?,
            3 => fields(field.bytes()?, |number, field| {
                match number {
                    2 => model.charsmap = field.bytes()?,
                    3 => model.prefix = field.number()? != 0,
                    4 => model.strip = field.number()? != 0,
                    5 => model.escape = field.number()? != 0,
                    _ => {}
                }
                Ok(())
            })?,
            _ => {}
        }
        Ok(())
    })?;
    Ok(model)
}

/// The crate's tokenizer that cuts text into the same pieces; its ids are of no use.
pub(super) fn unigram(bytes: &[u8]) -> Result<Inner, String> {
    let model = parse(bytes)?;
    if model.kind != UNIGRAM {
        return Err("only SentencePiece models of the kind `unigram` are supported".into());
    }
    if model.suffix || !model.escape {
        return Err("it treats spaces in a way that is not supported".into());
    }
    let normal = model.pieces.iter().filter(|piece| piece.2 == NORMAL);
    let largest = normal.map(|piece| piece.1).fold(f64::NEG_INFINITY, f64::max);
    let mut vocab: Vec<(String, f64)> = Vec::with_capacity(model.pieces.len());
    let mut unknown = None;
    for &(text, score, kind) in &model.pieces {
        // The others are never found in text.
        let score = match kind {
            NORMAL | BYTE => score,
            UNKNOWN => {
                unknown = unknown.or(Some(vocab.len()));
                0.0
            }
            USER_DEFINED => text.len() as f64 * largest - 0.1,
            _ => continue,
        };
        vocab.push((text.to_owned(), score));
    }
    let Some(unknown) = unknown else { return Err("it has no piece for the unknown".into()) };
    let with_bytes = model.pieces.iter().any(|piece| piece.2 == BYTE);
    let of = |e: Box<dyn std::error::Error + Send + Sync>| e.to_string();
    let mut inner = Inner::new(Unigram::from(vocab, Some(unknown), with_bytes).map_err(of)?);
    let mut normalizers: Vec<NormalizerWrapper> = Vec::new();
    if !model.charsmap.is_empty() {
        normalizers.push(Precompiled::from(model.charsmap).map_err(|e| e.to_string())?.into());
    }
    if model.strip {
        normalizers.push(Strip::new(true, true).into());
        let spaces = tokenizers::normalizers::replace::ReplacePattern::Regex(" {2,}".into());
        normalizers.push(Replace::new(spaces, " ").map_err(of)?.into());
    }
    inner.with_normalizer(Some(Normalizers::new(normalizers))).map_err(of)?;
    let scheme = if model.prefix { PrependScheme::Always } else { PrependScheme::Never };
    let metaspace = Metaspace::new(SPACE, scheme, false);
    inner.with_pre_tokenizer(Some(metaspace.clone()));
    inner.with_decoder(Some(Decoders::new(vec![ByteFallback::new().into(), metaspace.into()])));
    Ok(inner)
}
