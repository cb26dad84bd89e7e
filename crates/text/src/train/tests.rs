use super::*;

const TEXT: &str = "the cat and the hat, the 42 rats' cheese; it's there.\r\n\n  Über den Häusern 🙂 \
                    <|end|>the theatre the there<|end|>";

fn train_on(text: &str, options: &TokenizerOptions) -> Result<TrainedTokenizer> {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), text).unwrap();
    let config = TextConfig { paths: vec!["a.txt".into()], ..TextConfig::default() };
    train_tokenizer(&config, folder.path(), options, &ThreadPool::new(2), &mut |_| ())
}

fn options(kind: TokenizerKind, vocab_size: usize) -> TokenizerOptions {
    TokenizerOptions { kind, vocab_size, special: vec!["<|end|>".into()], ..Default::default() }
}

/// Byte pairs by the definition: the earliest merge, everywhere, until none applies.
fn by_merges(tokenizer: &Tokenizer, how: Pretokenizer, text: &str) -> Vec<u32> {
    let json: Value = serde_json::from_str(tokenizer.json()).unwrap();
    let merges: Vec<&str> =
        json["model"]["merges"].as_array().unwrap().iter().map(|m| m.as_str().unwrap()).collect();
    let alphabet = byte_alphabet();
    let mut ids = Vec::new();
    for word in how.words(text) {
        let mut tokens: Vec<String> =
            word.bytes().map(|byte| alphabet[usize::from(byte)].to_string()).collect();
        for merge in &merges {
            let (left, right) = merge.split_once(' ').unwrap();
            let mut at = 0;
            while at + 1 < tokens.len() {
                if tokens[at] == left && tokens[at + 1] == right {
                    tokens.splice(at..at + 2, [left.to_owned() + right]);
                }
                at += 1;
            }
        }
        ids.extend(tokens.iter().map(|token| tokenizer.id(token).unwrap()));
    }
    ids
}

#[test]
fn byte_pairs_encode_as_they_were_learned() {
    for pretokenizer in [Pretokenizer::Gpt2, Pretokenizer::Llama3, Pretokenizer::Qwen2] {
        let options = TokenizerOptions { pretokenizer, ..options(TokenizerKind::Bpe, 280) };
        let trained = train_on(TEXT, &options).unwrap();
        let tokenizer = trained.tokenizer;
        assert!((264..=280).contains(&tokenizer.vocab_size()), "{tokenizer:?}");
        assert_eq!(
            tokenizer.special_tokens(),
            [("<|end|>".to_owned(), tokenizer.vocab_size() as u32 - 1)]
        );
        for text in [TEXT, "the 7 them's", "\u{0}\u{301}\n \t", ""] {
            let ids = tokenizer.encode(text).unwrap();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
            if !text.contains("<|end|>") {
                assert_eq!(
                    ids,
                    by_merges(&tokenizer, pretokenizer, text),
                    "{pretokenizer:?} {text}"
                );
            }
        }
        let long = tokenizer.id("Ġthe").unwrap();
        assert_eq!(tokenizer.encode("in the").unwrap().last(), Some(&long));
    }
}

#[test]
fn special_tokens_teach_nothing_and_stay_whole() {
    let text = "<|end|>".repeat(50);
    let trained = train_on(&text, &options(TokenizerKind::Bpe, 300)).unwrap();
    assert_eq!(trained.tokenizer.vocab_size(), 257);
    assert_eq!(trained.tokenizer.encode("a<|end|>").unwrap(), [97, 256]);
    let characters = train_on("ab<|end|>", &options(TokenizerKind::Characters, 0)).unwrap();
    assert_eq!(characters.tokenizer.vocab_size(), 3);
    let all: Vec<&str> = without("a<|end|><|end|>b", &["<|end|>", "<|e"]).collect();
    assert_eq!(all, ["a", "", "b"]);
}

#[test]
fn long_texts_have_the_words_of_short_ones() {
    let line = "the cat<|end|>and it's hat 12\n";
    let text = line.repeat(40_000);
    let trained = train_on(&text, &options(TokenizerKind::Bpe, 300)).unwrap();
    let short = train_on(&line.repeat(4), &options(TokenizerKind::Bpe, 300)).unwrap();
    assert_eq!(trained.words, short.words);
    assert_eq!(trained.tokenizer.hash(), short.tokenizer.hash());
    assert_eq!(trained.bytes, text.len() as u64);
}

#[test]
fn library_kinds_are_learned_and_read_back() {
    let text = TEXT.repeat(8);
    for kind in [TokenizerKind::Wordpiece, TokenizerKind::Unigram] {
        let tokenizer = train_on(&text, &options(kind, 80)).unwrap().tokenizer;
        assert_eq!(tokenizer.kind(), kind);
        assert!(tokenizer.special().unk.is_some() && tokenizer.vocab_size() <= 80);
        let ids = tokenizer.encode("the cat<|end|>").unwrap();
        assert!(tokenizer.decode(&ids).unwrap().starts_with("the cat"), "{kind}");
        assert_eq!(Some(*ids.last().unwrap()), tokenizer.id("<|end|>"));
        let folder = tempfile::tempdir().unwrap();
        tokenizer.save(folder.path()).unwrap();
        assert_eq!(Tokenizer::load(folder.path()).unwrap().encode("the cat<|end|>").unwrap(), ids);
    }
}

#[test]
fn what_is_learned_has_the_same_bits_whatever_the_threads() {
    // Many words of equal frequency, and characters that few of them hold.
    let mut state = 1u64;
    let mut next = |below: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (state >> 33) % below
    };
    let mut text = String::new();
    for _ in 0..6_000 {
        let letters = 1 + next(6);
        text.extend((0..letters).map(|_| char::from(b'a' + next(9) as u8)));
        text.push(if next(9) > 0 { ' ' } else { '\n' });
    }
    text.push_str("äöüßéèñøåæ");
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("a.txt"), &text).unwrap();
    let config = TextConfig { paths: vec!["a.txt".into()], ..TextConfig::default() };
    for kind in [TokenizerKind::Wordpiece, TokenizerKind::Unigram, TokenizerKind::Bpe] {
        let learned = |threads| {
            let (threads, options) = (ThreadPool::new(threads), options(kind, 300));
            let all = train_tokenizer(&config, folder.path(), &options, &threads, &mut |_| ());
            all.unwrap().tokenizer.json().to_owned()
        };
        let first = learned(1);
        assert!((0..4).all(|i| learned(1 + i % 3) == first), "{kind}");
    }
}

#[test]
fn pieces_of_words_are_merged_by_frequency() {
    let text =
        "low low low low low lowest lowest newer newer newer newer newer newer wider wider wider";
    let options = TokenizerOptions { special: Vec::new(), ..options(TokenizerKind::Wordpiece, 40) };
    let tokenizer = train_on(text, &options).unwrap().tokenizer;
    let pieces: Vec<String> =
        (0..tokenizer.vocab_size() as u32).filter_map(|id| tokenizer.token(id)).collect();
    // BERT's special tokens, ten letters, the letters within words, then the merges: `##er`
    // occurs nine times, `lo` and `##low` seven.
    let first = pieces.iter().position(|piece| piece == "##er").unwrap();
    assert_eq!(pieces[5..15].concat(), "deilnorstw");
    assert_eq!(pieces[first + 1], "lo");
    assert!(pieces.contains(&"lowest".into()) || pieces.contains(&"low".into()));
    let ids = tokenizer.encode("newer low").unwrap();
    assert_eq!(tokenizer.decode(&ids).unwrap(), "newer low");
}

#[test]
fn what_cannot_be_learned_is_an_error() {
    for kind in [
        TokenizerKind::Bpe,
        TokenizerKind::Characters,
        TokenizerKind::Unigram,
        TokenizerKind::Wordpiece,
    ] {
        assert!(
            matches!(train_on("", &options(kind, 300)), Err(TextError::Corpus { .. })),
            "{kind}"
        );
    }
    for (kind, size) in
        [(TokenizerKind::Bpe, 256), (TokenizerKind::Unigram, 1), (TokenizerKind::Bpe, 1 << 30)]
    {
        assert!(
            matches!(
                train_on("ab", &options(kind, size)),
                Err(TextError::Data(DataError::Config(_)))
            ),
            "{kind}"
        );
    }
    assert!(train_on("a", &options(TokenizerKind::Words, 9)).is_err());
}
