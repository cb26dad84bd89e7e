//! Byte pairs learned by our trainer and by the library's, on one text.
//!
//! ```text
//! cargo run --release -p ff-text --example tokenizer_speed -- text SEED.txt 256 big.txt
//! cargo run --release -p ff-text --example tokenizer_speed -- ours big.txt 32768
//! cargo run --release -p ff-text --example tokenizer_speed -- library big.txt 32768
//! cargo run --release -p ff-text --example tokenizer_speed -- tokenize big.txt TOKENIZER
//! ```
//!
//! `text` writes so many megabytes: the seed again and again, with every tenth word in another's
//! place. The new words are made of syllables and as unevenly frequent as words are, up to three
//! million of them.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::io::{BufWriter, Write};
use std::path::Path;
use std::time::Instant;

use ff_text::{TextConfig, Tokenizer, TokenizerOptions, tokenize, train_tokenizer};
use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, TokenizerImpl,
};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let started = Instant::now();
    let done = match arguments.as_slice() {
        ["text", seed, megabytes, out] => text(seed, megabytes.parse().unwrap(), out),
        ["ours", text, size] => ours(text, size.parse().unwrap()),
        ["library", text, size] => library(text, size.parse().unwrap()),
        ["tokenize", text, tokenizer] => shards(text, tokenizer),
        _ => {
            "text SEED MEGABYTES OUT | ours TEXT SIZE | library TEXT SIZE | tokenize TEXT TOKENIZER"
                .into()
        }
    };
    let seconds = started.elapsed().as_secs_f64();
    println!("{done} · {seconds:.2} s · peak {} MiB", peak_mib());
}

fn ours(text: &str, vocab_size: usize) -> String {
    let config = TextConfig { paths: vec![text.into()], ..TextConfig::default() };
    let options = TokenizerOptions {
        vocab_size,
        special: vec!["<|endoftext|>".into()],
        ..TokenizerOptions::default()
    };
    let started = Instant::now();
    let mut read = 0.0;
    let device = ff_tensor::Device::default();
    let threads = device.cpu().threads();
    let trained = train_tokenizer(&config, Path::new("."), &options, threads, &mut |progress| {
        if progress.phase == "reading" {
            read = started.elapsed().as_secs_f64();
        }
    })
    .unwrap();
    let tokenizer = trained.tokenizer;
    format!(
        "ours: {} tokens, {} distinct words, words in {read:.2} s, hash {}",
        tokenizer.vocab_size(),
        trained.words.unwrap_or(0),
        tokenizer.hash()
    )
}

type Library =
    TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, PostProcessorWrapper, DecoderWrapper>;

fn library(text: &str, vocab_size: usize) -> String {
    let mut trainer = BpeTrainer::builder()
        .vocab_size(vocab_size)
        .min_frequency(2)
        .show_progress(false)
        .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
        .special_tokens(vec![AddedToken::from("<|endoftext|>", true)])
        .build();
    let mut inner = Library::new(BPE::default());
    inner.with_pre_tokenizer(Some(ByteLevel::new(false, true, true)));
    inner.train_from_files(&mut trainer, vec![text.to_owned()]).unwrap();
    format!("library: {} tokens", inner.get_vocab_size(true))
}

fn shards(text: &str, tokenizer: &str) -> String {
    let tokenizer = Tokenizer::load(tokenizer.as_ref()).unwrap();
    let config = TextConfig { paths: vec![text.into()], ..TextConfig::default() };
    let folder = std::env::temp_dir().join(format!("tokenizer-speed-{}", std::process::id()));
    let report = {
        let device = ff_tensor::Device::default();
        let threads = device.cpu().threads();
        tokenize(&config, Path::new("."), &tokenizer, &folder, threads, &mut |_| ()).unwrap()
    };
    std::fs::remove_dir_all(&folder).unwrap();
    format!("tokenised: {} tokens", report.train.tokens + report.valid.tokens)
}

fn text(seed: &str, megabytes: usize, out: &str) -> String {
    let seed = std::fs::read_to_string(seed).unwrap();
    let words: Vec<&str> = seed.split_inclusive([' ', '\n']).collect();
    let mut file = BufWriter::new(std::fs::File::create(out).unwrap());
    let mut random = Random(1);
    let mut written = 0;
    while written < megabytes * 1_000_000 {
        for word in &words {
            let mut text = *word;
            let made;
            if random.next().is_multiple_of(10) {
                // Ranks are frequent as one over themselves.
                let rank = (random.unit() * 3e6f64.ln()).exp() as u64;
                let end = if word.ends_with('\n') { '\n' } else { ' ' };
                made = made_up(rank, end);
                text = &made;
            }
            file.write_all(text.as_bytes()).unwrap();
            written += text.len();
        }
    }
    file.flush().unwrap();
    format!("{out}: {written} bytes")
}

/// The word of a rank: syllables of its digits.
fn made_up(rank: u64, end: char) -> String {
    const FIRST: [&str; 16] =
        ["b", "tr", "k", "sh", "m", "pl", "s", "gr", "v", "th", "n", "st", "d", "w", "r", ""];
    const LAST: [&str; 12] = ["a", "en", "i", "or", "u", "ea", "ing", "ai", "ow", "est", "é", "y"];
    let mut text = String::new();
    let mut rest = rank.wrapping_mul(0x9e37_79b9) % 6_000_011 + 1;
    while rest > 0 {
        text += FIRST[(rest % 16) as usize];
        text += LAST[(rest / 16 % 12) as usize];
        rest /= 192;
    }
    text.push(end);
    text
}

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// The most memory that this process held.
fn peak_mib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
    kib.unwrap_or(0) / 1024
}
