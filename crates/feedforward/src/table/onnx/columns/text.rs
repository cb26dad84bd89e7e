//! Texts as the weights of their n-grams.
//!
//! ONNX has no operator that takes texts apart. ONNX Runtime's own `Tokenizer` gives characters,
//! and words as the matches of an expression. Characters become numbers, a letter in either case
//! the same one, and words a sum of their numbers times powers, so that n-grams are sequences of
//! numbers, which `TfIdfVectorizer` counts.

use super::super::{attribute, constant};
use super::words;
use crate::error::Result;
use ff_interop::onnx::{DType, GraphBuilder, Tensor};
use ff_table::TextEncoder;
use std::collections::{BTreeMap, BTreeSet};

/// The base of a word's number, Σ cᵢ Bⁱ modulo 2⁶⁴: odd, so that each power counts.
const BASE: i64 = 0x1E37_79B9_7F4A_7C15;

/// The number of each character that occurs in an n-gram. What pads a word is 0.
struct Codes(BTreeMap<char, i64>);

impl Codes {
    fn of(encoder: &TextEncoder) -> Self {
        let grams = encoder.words.iter().chain(&encoder.characters);
        let all: BTreeSet<char> = grams.flat_map(|gram| gram.chars()).chain([' ']).collect();
        Self(all.into_iter().zip(1..).collect())
    }

    /// The number of characters that occur in none.
    fn unknown(&self) -> i64 {
        self.0.len() as i64 + 1
    }

    fn code(&self, c: char) -> i64 {
        self.0.get(&c).copied().unwrap_or_else(|| self.unknown())
    }

    fn word(&self, word: &str) -> i64 {
        let mut power = 1i64;
        word.chars().fold(0i64, |sum, c| {
            let sum = sum.wrapping_add(self.code(c).wrapping_mul(power));
            power = power.wrapping_mul(BASE);
            sum
        })
    }

    /// All characters that count as one of an n-gram, and its number: letters in either case, and
    /// white space as a space.
    fn keys(&self) -> (Vec<String>, Vec<i64>) {
        let of = |c: char| {
            let mut lower = c.to_lowercase();
            let one = lower.next().filter(|_| lower.len() == 0)?;
            self.0.get(if c.is_whitespace() { &' ' } else { &one }).map(|&code| (c.into(), code))
        };
        let known = (char::MIN..=char::MAX).filter_map(of);
        known.chain([(String::new(), 0)]).unzip()
    }

    /// A character that occurs in no n-gram.
    fn stranger(&self) -> char {
        let mut private = '\u{E000}'..='\u{F8FF}';
        private.find(|c| !self.0.contains_key(c)).unwrap_or('\u{FFFF}')
    }
}

/// The weights `[N, n-grams]` of a column's texts `[N, 1]`.
///
/// # Errors
/// None that a fitted encoder can cause.
pub(super) fn weights(
    graph: &mut GraphBuilder,
    input: &str,
    encoder: &TextEncoder,
) -> Result<String> {
    let codes = Codes::of(encoder);
    let mut at = Texts { graph, input, encoder, codes };
    // Words border on spaces; behind the last one is a word, so that there is one.
    let text = |text: String| Tensor::new(&[1, 1], vec![text]);
    let space = at.graph.constant(&at.name("space"), &text(" ".into())?);
    let end = at.graph.constant(&at.name("end"), &text(format!(" {}", at.codes.stranger()))?);
    let bordered = at.node("StringConcat", "from_space", &[&space, input]);
    let bordered = at.node("StringConcat", "bordered", &[&bordered, &end]);
    let mut kinds = Vec::new();
    if !encoder.words.is_empty() {
        let numbers = at.words(&bordered)?;
        let grams = encoder
            .words
            .iter()
            .map(|gram| gram.split(' ').map(|word| at.codes.word(word)).collect());
        let grams: Vec<Vec<i64>> = grams.collect();
        kinds.push(at.counted(&numbers, &grams, encoder.longest[0], "words", 0)?);
    }
    if !encoder.characters.is_empty() {
        let numbers = at.characters(&bordered, "characters")?;
        let numbers = at.row_by_row(&numbers, "character_row")?;
        let grams = encoder.characters.iter();
        let grams = grams.map(|gram| gram.chars().map(|c| at.codes.code(c)).collect());
        let grams: Vec<Vec<i64>> = grams.collect();
        let first = encoder.words.len();
        kinds.push(at.counted(&numbers, &grams, encoder.longest[1], "characters", first)?);
    }
    let kinds: Vec<&str> = kinds.iter().map(String::as_str).collect();
    Ok(if let [one] = kinds[..] {
        one.to_owned()
    } else {
        let axis = [attribute::int("axis", 1)];
        at.graph.node_with("Concat", &at.name("weights"), &kinds, &axis)
    })
}

/// A column under construction.
struct Texts<'a> {
    graph: &'a mut GraphBuilder,
    input: &'a str,
    encoder: &'a TextEncoder,
    codes: Codes,
}

impl Texts<'_> {
    fn name(&self, part: &str) -> String {
        format!("{}/{part}", self.input)
    }

    fn node(&mut self, operator: &str, part: &str, inputs: &[&str]) -> String {
        let name = self.name(part);
        self.graph.node(operator, &name, inputs)
    }

    fn constant(
        &mut self,
        part: &str,
        dims: &[usize],
        data: impl Into<ff_interop::onnx::Data>,
    ) -> Result<String> {
        let name = self.name(part);
        constant(self.graph, &name, dims, data)
    }

    /// `[N, …]` as rows.
    fn row_by_row(&mut self, x: &str, part: &str) -> Result<String> {
        let rows = self.constant(&format!("{part}_shape"), &[2], vec![0i64, -1])?;
        Ok(self.node("Reshape", part, &[x, &rows]))
    }

    /// The numbers `[N, W, C]` of the characters of texts `[N, W]`.
    fn characters(&mut self, texts: &str, part: &str) -> Result<String> {
        let single = [
            attribute::texts("separators", vec![String::new()]),
            attribute::text("pad_value", ""),
            attribute::int("mark", 0),
            attribute::int("mincharnum", 1),
        ];
        let name = self.name(&format!("{part}_of_text"));
        let kind = (DType::Text, 3);
        let characters = self.graph.runtime_node("Tokenizer", &name, &[texts], &single, kind);
        let (keys, values) = self.codes.keys();
        let default = vec![self.codes.unknown()];
        let numbers = [
            attribute::tensor("keys_tensor", &Tensor::new(&[keys.len()], keys)?),
            attribute::tensor("values_tensor", &Tensor::new(&[values.len()], values)?),
            attribute::tensor("default_tensor", &Tensor::new(&[1], default)?),
        ];
        let name = self.name(part);
        Ok(self.graph.ml_node("LabelEncoder", &name, &[&characters], &numbers))
    }

    /// The number of each word of a text, `[N, W]`.
    fn words(&mut self, texts: &str) -> Result<String> {
        let words = [
            attribute::text("tokenexp", &words::expression()?),
            attribute::text("pad_value", ""),
            attribute::int("mark", 0),
            attribute::int("mincharnum", 1),
        ];
        let name = self.name("words_of_text");
        let kind = (DType::Text, 3);
        let words = self.graph.runtime_node("Tokenizer", &name, &[texts], &words, kind);
        let words = self.row_by_row(&words, "word_row")?;
        let characters = self.characters(&words, "word_characters")?;
        // One character more than the longest word has, so that longer words are other words.
        let known = self.encoder.words.iter().flat_map(|gram| gram.split(' '));
        let most = known.map(|word| word.chars().count()).max().unwrap_or(0) + 1;
        let pads = self.constant("word_pads", &[6], vec![0, 0, 0, 0, 0, most as i64])?;
        let padded = self.node("Pad", "word_padded", &[&characters, &pads]);
        let from = self.constant("word_from", &[1], vec![0i64])?;
        let to = self.constant("word_to", &[1], vec![most as i64])?;
        let axis = self.constant("word_axis", &[1], vec![2i64])?;
        let cut = self.node("Slice", "word_cut", &[&padded, &from, &to, &axis]);
        let powers = std::iter::successors(Some(1i64), |power| Some(power.wrapping_mul(BASE)));
        let powers: Vec<i64> = powers.take(most).collect();
        let powers = self.constant("word_powers", &[most, 1], powers)?;
        let numbers = self.node("MatMul", "word_numbers", &[&cut, &powers]);
        self.row_by_row(&numbers, "words")
    }

    /// The weights of n-grams of one kind, which start at `first` among all: see [`TextEncoder`].
    fn counted(
        &mut self,
        numbers: &str,
        grams: &[Vec<i64>],
        longest: usize,
        kind: &str,
        first: usize,
    ) -> Result<String> {
        let n = grams.len();
        let mut order: Vec<usize> = (0..n).collect();
        order.sort_by_key(|&i| grams[i].len());
        let pool: Vec<i64> = order.iter().flat_map(|&i| grams[i].iter().copied()).collect();
        let starts = (1..=longest).map(|length| {
            grams.iter().filter(|gram| gram.len() < length).map(Vec::len).sum::<usize>() as i64
        });
        let starts: Vec<i64> = starts.collect();
        let order: Vec<i64> = order.into_iter().map(|i| i as i64).collect();
        let attributes = [
            attribute::text("mode", "TF"),
            attribute::int("min_gram_length", 1),
            attribute::int("max_gram_length", longest as i64),
            attribute::int("max_skip_count", 0),
            attribute::list("ngram_counts", &starts),
            attribute::list("ngram_indexes", &order),
            attribute::list("pool_int64s", &pool),
        ];
        let of = |part: &str| format!("{kind}_{part}");
        let name = self.name(&of("counts"));
        let counts = self.graph.node_with("TfIdfVectorizer", &name, &[numbers], &attributes);
        // 1 + ln c, and 0 of what does not occur.
        let one = self.constant(&of("one"), &[], vec![1.0f32])?;
        let at_least_one = self.node("Max", &of("at_least_one"), &[&counts, &one]);
        let log = self.node("Log", &of("logarithm"), &[&at_least_one]);
        let occurs = self.node("Min", &of("occurs"), &[&counts, &one]);
        let tf = self.node("Add", &of("frequency"), &[&log, &occurs]);
        let idf = self.encoder.idf[first..first + n].to_vec();
        let idf = self.constant(&of("idf"), &[n], idf)?;
        let weights = self.node("Mul", &of("weighted"), &[&tf, &idf]);
        let square = self.node("Mul", &of("squares"), &[&weights, &weights]);
        let axis = self.constant(&of("axis"), &[1], vec![1i64])?;
        let sum = self.node("ReduceSum", &of("square_sum"), &[&square, &axis]);
        // A text without n-grams stays 0.
        let least = self.constant(&of("least"), &[], vec![f32::MIN_POSITIVE])?;
        let sum = self.node("Max", &of("positive_sum"), &[&sum, &least]);
        let norm = self.node("Sqrt", &of("norm"), &[&sum]);
        let unit = self.node("Div", &of("unit"), &[&weights, &norm]);
        let length = self.constant(&of("length"), &[], vec![TextEncoder::LENGTH as f32])?;
        Ok(self.node("Mul", &of("weights"), &[&unit, &length]))
    }
}
