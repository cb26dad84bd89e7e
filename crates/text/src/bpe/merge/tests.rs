use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// The same by the definition: all pairs counted anew for each merge.
fn slowly(words: &[&str], tokens: usize, min_frequency: u64) -> Merges {
    let mut texts: Vec<Vec<Vec<u8>>> =
        words.iter().map(|word| word.bytes().map(|byte| vec![byte]).collect()).collect();
    let mut merges =
        Merges { tokens: (0..=255).map(|byte| vec![byte]).collect(), pairs: Vec::new() };
    while merges.tokens.len() < tokens {
        let mut counts: BTreeMap<(Vec<u8>, Vec<u8>), u64> = BTreeMap::new();
        for text in &texts {
            for pair in text.windows(2) {
                *counts.entry((pair[0].clone(), pair[1].clone())).or_default() += 1;
            }
        }
        let Some((pair, count)) = counts.into_iter().max_by(|a, b| (a.1, &a.0).cmp(&(b.1, &b.0)))
        else {
            break;
        };
        if count < min_frequency {
            break;
        }
        let id = |bytes: &Vec<u8>| merges.tokens.iter().position(|t| t == bytes).unwrap() as u32;
        merges.pairs.push((id(&pair.0), id(&pair.1)));
        let new = [pair.0.as_slice(), &pair.1].concat();
        for text in &mut texts {
            let mut at = 0;
            while at + 1 < text.len() {
                if text[at] == pair.0 && text[at + 1] == pair.1 {
                    text.splice(at..at + 2, [new.clone()]);
                }
                at += 1;
            }
        }
        merges.tokens.push(new);
    }
    merges
}

fn quickly(words: &[&str], tokens: usize, min_frequency: u64) -> Merges {
    let mut counts = WordCounts::default();
    for word in words {
        counts.add(word.as_bytes(), 1);
    }
    learn(Units::bytes(&counts), tokens, min_frequency, &[], &mut |_| ())
}

proptest! {
    #[test]
    fn merges_are_those_of_the_definition(
        words in prop::collection::vec("[ab]{0,9}|[a-d]{0,7}|(ab|ba|é){0,5}", 0..30),
        min_frequency in 1u64..4,
    ) {
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        prop_assert_eq!(quickly(&words, 280, min_frequency), slowly(&words, 280, min_frequency));
    }
}

#[test]
fn of_equally_frequent_pairs_the_greater_is_merged() {
    let tokens = |words: &[&str]| {
        let merges = quickly(words, 300, 1);
        merges.tokens[256..]
            .iter()
            .map(|t| String::from_utf8_lossy(t).into_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(tokens(&["ab", "ac", "zz", "ba"]), ["zz", "ba", "ac", "ab"]);
    // Bytes are compared, not numbers of tokens: `ba` comes before `b`'s longer rivals only by
    // its bytes.
    assert_eq!(tokens(&["aaa"]), ["aa", "aaa"]);
}

#[test]
fn reserved_tokens_are_not_made() {
    let mut counts = WordCounts::default();
    counts.add(b"<s>a", 9);
    let merges = learn(Units::bytes(&counts), 300, 1, &["<s>"], &mut |_| ());
    assert!(!merges.tokens.contains(&b"<s>".to_vec()));
}
