//! Byte pairs merged by this crate: the ids of the library, an order of magnitude sooner.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};
use std::sync::{Mutex, PoisonError};

use serde_json::Value;
use xxhash_rust::xxh3::Xxh3DefaultBuilder;

use super::added::Added;
use super::simple::byte_alphabet;
use crate::bpe::Pretokenizer;

/// Words that a thread remembers the ids of.
const REMEMBERED: usize = 1 << 16;

/// Words of more bytes are not remembered.
const LONG: usize = 64;

/// Encoder for a byte-level `tokenizer.json` with a known way to find words.
pub(super) struct BytePairs {
    added: Added,
    words: Pretokenizer,
    bytes: [u32; 256],
    /// For two neighbours, the rank of their merge and the merged token.
    merges: HashMap<(u32, u32), (u32, u32), Xxh3DefaultBuilder>,
    /// Words that are tokens whatever is merged, where the tokenizer asks for that.
    whole: HashMap<Box<[u8]>, u32, Xxh3DefaultBuilder>,
    idle: Mutex<Vec<Memory>>,
}

/// Words and their ids, remembered by a thread.
#[derive(Default)]
struct Memory {
    words: HashMap<Box<[u8]>, (u32, u32), Xxh3DefaultBuilder>,
    ids: Vec<u32>,
    work: Vec<u32>,
}

impl BytePairs {
    /// The encoder for a `tokenizer.json`, where it is of this kind.
    pub(super) fn of(json: &Value) -> Option<Self> {
        let model = &json["model"];
        let absent = |key: &str| model[key].is_null() || model[key] == "" || model[key] == false;
        let plain = ["dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"];
        if model["type"] != "BPE"
            || !json["normalizer"].is_null()
            || !plain.iter().all(|key| absent(key))
        {
            return None;
        }
        let words = Pretokenizer::of_json(&json["pre_tokenizer"])?;
        let vocab = model["vocab"].as_object()?;
        let id = |token: &str| vocab.get(token)?.as_u64().and_then(|id| u32::try_from(id).ok());
        let alphabet = byte_alphabet();
        let mut bytes = [0; 256];
        for (byte, c) in bytes.iter_mut().zip(alphabet) {
            *byte = id(&c.to_string())?;
        }
        let list = model["merges"].as_array()?;
        let mut merges = HashMap::with_capacity_and_hasher(list.len(), Xxh3DefaultBuilder);
        for (rank, merge) in list.iter().enumerate() {
            let (left, right) = match merge {
                Value::String(text) => text.split_once(' ')?,
                other => (other[0].as_str()?, other[1].as_str()?),
            };
            let new = id(&[left, right].concat())?;
            // Where a pair is listed twice, the library takes the later place.
            merges.insert((id(left)?, id(right)?), (rank as u32, new));
        }
        let mut whole = HashMap::default();
        if model["ignore_merges"] == true {
            let byte_of: HashMap<char, u8> =
                (0..=255).map(|b| (alphabet[usize::from(b)], b)).collect();
            for (token, id) in vocab {
                let token: Option<Box<[u8]>> =
                    token.chars().map(|c| byte_of.get(&c).copied()).collect();
                if let (Some(token), Some(id)) = (token, id.as_u64()) {
                    whole.insert(token, u32::try_from(id).ok()?);
                }
            }
        }
        Some(Self { added: Added::of(json)?, words, bytes, merges, whole, idle: Mutex::default() })
    }

    pub(super) fn encode(&self, text: &str) -> Vec<u32> {
        let idle = || self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let mut memory = idle().pop().unwrap_or_default();
        let mut ids = Vec::with_capacity(text.len() / 3);
        let all: Result<(), std::convert::Infallible> =
            self.added.split(text, &mut ids, |text, ids| {
                self.words
                    .words(text)
                    .for_each(|word| self.word(word.as_bytes(), &mut memory, ids));
                Ok(())
            });
        let Ok(()) = all;
        idle().push(memory);
        ids
    }

    fn word(&self, word: &[u8], memory: &mut Memory, ids: &mut Vec<u32>) {
        if let Some(&(start, length)) = memory.words.get(word) {
            ids.extend_from_slice(&memory.ids[start as usize..][..length as usize]);
            return;
        }
        if let Some(&id) = self.whole.get(word) {
            ids.push(id);
            return;
        }
        let work = &mut memory.work;
        work.clear();
        work.extend(word.iter().map(|&byte| self.bytes[usize::from(byte)]));
        if work.len() <= LONG {
            self.merge_short(work);
        } else {
            self.merge_long(work);
        }
        ids.extend_from_slice(work);
        if word.len() <= LONG && memory.words.len() < REMEMBERED {
            memory.words.insert(word.into(), (memory.ids.len() as u32, work.len() as u32));
            memory.ids.extend_from_slice(work);
        }
    }

    /// Merges the earliest pair, the leftmost of them, until there is none: each time all
    /// neighbours are looked at.
    fn merge_short(&self, tokens: &mut Vec<u32>) {
        loop {
            let pairs = tokens.windows(2).enumerate();
            let ranked = pairs.filter_map(|(at, pair)| {
                let (rank, new) = self.merges.get(&(pair[0], pair[1]))?;
                Some((*rank, at, *new))
            });
            let Some((_, at, new)) = ranked.min() else { return };
            tokens[at] = new;
            tokens.remove(at + 1);
        }
    }

    /// The same with a heap, for words whose neighbours are too many to be looked at each time.
    fn merge_long(&self, tokens: &mut Vec<u32>) {
        const GONE: u32 = u32::MAX;
        let count = tokens.len();
        let mut next: Vec<usize> = (1..=count).collect();
        let mut before: Vec<usize> = (0..count).map(|at| at.wrapping_sub(1)).collect();
        let mut heap = BinaryHeap::new();
        let push = |heap: &mut BinaryHeap<_>, tokens: &[u32], at: usize, right: usize| {
            if let Some(&right_token) = tokens.get(right)
                && let Some((rank, new)) = self.merges.get(&(tokens[at], right_token))
            {
                heap.push(Reverse((*rank, at, *new, tokens[at], right_token)));
            }
        };
        for at in 0..count {
            push(&mut heap, tokens, at, at + 1);
        }
        while let Some(Reverse((_, at, new, left, right_token))) = heap.pop() {
            let right = next[at];
            // One of the two was merged since.
            if tokens[at] != left || tokens.get(right) != Some(&right_token) {
                continue;
            }
            tokens[at] = new;
            tokens[right] = GONE;
            next[at] = next[right];
            if let Some(before) = before.get_mut(next[at]) {
                *before = at;
            }
            push(&mut heap, tokens, at, next[at]);
            if before[at] < count {
                push(&mut heap, tokens, before[at], at);
            }
        }
        tokens.retain(|&token| token != GONE);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use crate::Pretokenizer;
    use crate::tokenizer::{Tokenizer, added_tokens, byte_alphabet, pretty};

    /// A tokenizer of random merges, which no text has taught.
    fn tokenizer(how: Pretokenizer, pairs: &[(usize, usize)], ignore_merges: bool) -> Tokenizer {
        let mut tokens: Vec<String> = byte_alphabet().iter().map(char::to_string).collect();
        let mut merges = Vec::new();
        for &(left, right) in pairs {
            // Letters, blanks and what was merged before; the first bytes are seldom in texts.
            let pick = |i: usize| {
                [b'a', b'b', b'c', b' ', b'\n', 0xc3, 0xa9]
                    .get(i)
                    .map_or(256 + i, |b| usize::from(*b))
            };
            let (Some(left), Some(right)) = (tokens.get(pick(left)), tokens.get(pick(right)))
            else {
                continue;
            };
            let new = left.clone() + right;
            if !tokens.contains(&new) {
                merges.push(json!([left, right]));
                tokens.push(new);
            }
        }
        let special = ["<s>", "<s>a"];
        let vocab: serde_json::Map<_, _> =
            tokens.iter().enumerate().map(|(id, token)| (token.clone(), id.into())).collect();
        let json = json!({
            "version": "1.0", "added_tokens": added_tokens(&special, tokens.len()), "normalizer": null,
            "pre_tokenizer": how.json(), "post_processor": null, "decoder": null,
            "model": { "type": "BPE", "vocab": vocab, "merges": merges, "ignore_merges": ignore_merges },
        });
        Tokenizer::from_json(pretty(&json), Vec::new(), "test").unwrap()
    }

    proptest! {
        #[test]
        fn ids_are_those_of_the_library(
            pairs in prop::collection::vec((0usize..30, 0usize..30), 0..40),
            texts in prop::collection::vec("[abc \n\u{e9}]{0,30}|(ab|<s>|a|<s>a|1){0,8}|(a|ab|b){80,140}", 1..5),
            ignore_merges: bool,
            gpt2: bool,
        ) {
            let how = if gpt2 { Pretokenizer::Gpt2 } else { Pretokenizer::Llama3 };
            let tokenizer = tokenizer(how, &pairs, ignore_merges);
            prop_assert!(tokenizer.fast.is_some());
            for text in &texts {
                let ids = tokenizer.encode(text).unwrap();
                prop_assert_eq!(&ids, &tokenizer.encode_inner(text, false).unwrap());
                // Remembered words give the same again.
                prop_assert_eq!(&ids, &tokenizer.encode(text).unwrap());
            }
        }
    }
}
