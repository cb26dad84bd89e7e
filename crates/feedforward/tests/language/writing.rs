//! What a model writes: streamed, stopped, and the same however it is asked.

use super::fixture;
use feedforward::Error;
use feedforward::language::{
    GenerateOptions, LanguageModel, StopReason, generate, generate_tokens,
};
use feedforward::nn::models::DecoderConfig;
use feedforward::text::Tokenizer;
use std::ops::ControlFlow;

fn open(name: &str) -> LanguageModel {
    LanguageModel::open(&fixture(name), &Default::default(), &Default::default()).unwrap()
}

/// As many characters as the fixtures have tokens.
fn tokenizer() -> Tokenizer {
    let text: String = ('a'..='z').chain(['é']).chain('α'..='ω').take(41).collect();
    Tokenizer::characters(&text, &[]).unwrap()
}

fn tokens(
    model: &mut LanguageModel,
    prompt: &[u32],
    options: &GenerateOptions,
    end: &[u32],
) -> (Vec<u32>, StopReason) {
    let config: DecoderConfig = model.config().clone();
    let (causal, graph) = model.parts();
    let go_on = &mut |_, _| ControlFlow::Continue(());
    let out = generate_tokens(graph, (causal, &config), &[prompt], end, options, go_on).unwrap();
    (out[0].tokens.clone(), out[0].reason)
}

#[test]
fn the_cache_gives_what_reading_everything_again_would() {
    for name in ["gpt2", "mistral", "qwen3", "gemma2", "gemma3", "phi3_long", "smollm3"] {
        let mut model = open(name);
        let options = GenerateOptions { temperature: 0.0, max_tokens: 15, ..Default::default() };
        let (found, _) = tokens(&mut model, &[1, 2, 3], &options, &[]);
        let mut context = vec![1, 2, 3];
        for _ in 0..15 {
            let logits = model.logits(&context).unwrap();
            let last = &logits[logits.len() - model.config().vocab_size..];
            let best = (0..last.len()).fold(0, |b, i| if last[i] > last[b] { i } else { b });
            context.push(best as u32);
        }
        assert_eq!(found, context[3..], "{name}");
    }
}

#[test]
fn it_stops_at_the_end_token_the_count_and_the_last_position() {
    let mut model = open("gpt2_untied"); // 40 positions
    let options = GenerateOptions { temperature: 0.0, max_tokens: 100, ..Default::default() };
    let (all, reason) = tokens(&mut model, &[7; 10], &options, &[]);
    // The last token is not read again, so that it needs no position.
    assert_eq!((all.len(), reason), (31, StopReason::Positions));
    let first = all.iter().position(|&t| t == all[5]).unwrap();
    let (some, reason) = tokens(&mut model, &[7; 10], &options, &[all[5]]);
    assert_eq!((some.as_slice(), reason), (&all[..first], StopReason::End));
    let through = GenerateOptions { ignore_end: true, max_tokens: 12, ..options };
    let (some, reason) = tokens(&mut model, &[7; 10], &through, &[all[5]]);
    assert_eq!((some.as_slice(), reason), (&all[..12], StopReason::MaxTokens));
}

#[test]
fn a_prompt_without_tokens_or_with_too_many_is_an_error() {
    let mut model = open("gpt2_untied");
    let config = model.config().clone();
    let (causal, graph) = model.parts();
    let mut error = |prompt: &[u32]| {
        let options = GenerateOptions::default();
        let go_on = &mut |_, _| ControlFlow::Continue(());
        let out = generate_tokens(graph, (causal, &config), &[prompt], &[], &options, go_on);
        out.unwrap_err()
    };
    let long = error(&[1; 41]);
    assert!(
        long.is_usage() && long.to_string().contains("41 tokens, the model positions for 40"),
        "{long}"
    );
    assert!(error(&[]).to_string().contains("no token"));
    assert!(error(&[41]).to_string().contains("41"));
    let none = open("gpt2").generate("a", &GenerateOptions::default(), &mut |_| Ok(()));
    assert!(none.unwrap_err().to_string().contains("has no tokenizer"));
}

#[test]
fn text_is_streamed_whole_and_ends_before_a_stop_text() {
    let (mut model, tokenizer) = (open("gpt2"), tokenizer());
    let config = model.config().clone();
    let (causal, graph) = model.parts();
    let mut write = |options: &GenerateOptions| {
        let mut pieces = String::new();
        let parts = (causal, &config, &tokenizer);
        let prompts = ["a", "cd", "b", "abc"];
        let out = generate(graph, parts, &prompts, &[], options, &mut |prompt, piece| {
            if prompt == 3 {
                pieces.push_str(piece);
            }
            Ok(())
        });
        let out = out.unwrap().remove(3);
        assert_eq!(out.text, pieces);
        out
    };
    let options =
        GenerateOptions { temperature: 1.0, max_tokens: 30, seed: 5, ..Default::default() };
    let all = write(&options);
    assert_eq!((all.prompt_tokens, all.tokens.len(), all.text.chars().count()), (3, 30, 30));
    assert_eq!(write(&options), all);
    assert_ne!(write(&GenerateOptions { seed: 6, ..options.clone() }).text, all.text);
    let stop: String = all.text.chars().skip(10).take(2).collect();
    let cut = write(&GenerateOptions { stop: vec![stop.clone()], ..options });
    assert_eq!(cut.reason, StopReason::StopText);
    assert_eq!(cut.text, all.text.split(&stop).next().unwrap());
}

#[test]
fn an_error_of_whoever_reads_along_ends_the_writing() {
    let (mut model, tokenizer) = (open("gpt2"), tokenizer());
    let config = model.config().clone();
    let (causal, graph) = model.parts();
    let parts = (causal, &config, &tokenizer);
    let options = GenerateOptions::default();
    let fails = &mut |_: usize, _: &str| Err(Error::usage("enough"));
    let out = generate(graph, parts, &["abc", "b"], &[], &options, fails);
    assert_eq!(out.unwrap_err().to_string(), "enough");
}

#[test]
fn several_texts_end_each_on_its_own() {
    let mut model = open("gpt2_untied"); // 40 positions
    let config = model.config().clone();
    let options = GenerateOptions { temperature: 0.0, max_tokens: 33, ..Default::default() };
    let (first, _) = tokens(&mut model, &[7; 10], &options, &[]);
    let end = [first[3]];
    // One ends by its token, one by its positions, one by the count; more than are written at once,
    // and with draws too.
    let prompts: [&[u32]; 4] = [&[7; 10], &[1; 39], &[5, 6], &[2]];
    let many: Vec<&[u32]> = prompts.iter().copied().cycle().take(18).collect();
    for temperature in [0.0, 0.9] {
        let ignore_end = temperature > 0.0;
        let options = GenerateOptions { temperature, ignore_end, ..options.clone() };
        let (causal, graph) = model.parts();
        let mut seen = vec![Vec::new(); many.len()];
        let all =
            generate_tokens(graph, (causal, &config), &many, &end, &options, &mut |i, token| {
                seen[i].push(token);
                ControlFlow::Continue(())
            });
        let all = all.unwrap();
        assert!(all.iter().zip(&seen).all(|(all, seen)| all.tokens == *seen));
        if temperature > 0.0 {
            assert_ne!(all[2].tokens, all[6].tokens, "each prompt has draws of its own");
            continue;
        }
        for (i, prompt) in many.iter().enumerate() {
            let alone = tokens(&mut model, prompt, &options, &end);
            assert_eq!((all[i].tokens.clone(), all[i].reason), alone, "prompt {i}");
        }
        assert_eq!(all[0].reason, StopReason::End);
        assert_eq!((all[1].reason, all[1].tokens.len()), (StopReason::Positions, 2));
    }
}

#[test]
fn guesses_do_not_show_in_what_is_written() {
    // Small models soon repeat themselves, so that guesses are made, right ones and wrong ones.
    for name in
        ["gpt2", "mistral", "qwen3", "gpt2_untied", "mixtral", "olmo2", "gemma3", "phi3_long"]
    {
        let mut model = open(name);
        for (temperature, repetition_penalty) in [(0.0, 1.0), (0.7, 1.0), (0.4, 1.1)] {
            let write = |speculate, max_tokens, model: &mut LanguageModel| {
                let options = GenerateOptions {
                    temperature,
                    repetition_penalty,
                    max_tokens,
                    speculate,
                    ..Default::default()
                };
                tokens(model, &[1, 2, 3, 1, 2, 3, 1, 2], &options, &[])
            };
            for max_tokens in [1, 2, 13, 100] {
                let plain = write(false, max_tokens, &mut model);
                assert_eq!(write(true, max_tokens, &mut model), plain, "{name} {temperature}");
            }
        }
    }
}

/// By rules, too: what was written before is guessed as far as they allow it.
#[cfg(feature = "grammar")]
#[test]
fn guesses_do_not_show_in_what_is_written_by_a_grammar() {
    use feedforward::text::Grammar;
    let tokenizer = tokenizer();
    let rules = ["([a-d]{2,3}e)*", "((ab|cd)[a-z]e)*", "abcdefgh(abcde[f-k]gh)*ab", "[a-z]{1,30}"];
    for name in ["gpt2", "qwen3", "mixtral"] {
        let mut model = open(name);
        let config = model.config().clone();
        for (rule, temperature) in rules.iter().flat_map(|rule| [(rule, 0.0), (rule, 0.9)]) {
            let mut write = |speculate, max_tokens| {
                let grammar = Some(Grammar::Regex((*rule).into()));
                let options = GenerateOptions {
                    temperature,
                    max_tokens,
                    speculate,
                    grammar,
                    ..Default::default()
                };
                let (causal, graph) = model.parts();
                let parts = (causal, &config, &tokenizer);
                let silent = &mut |_: usize, _: &str| Ok(());
                generate(graph, parts, &["abcdeabcdeab"], &[40], &options, silent).unwrap()
            };
            for max_tokens in [1, 2, 13, 25] {
                let plain = write(false, max_tokens);
                assert_eq!(write(true, max_tokens), plain, "{name} {rule} {temperature}");
            }
        }
    }
}
