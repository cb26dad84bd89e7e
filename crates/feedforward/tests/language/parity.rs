//! Logits, loss, gradients, twenty steps and a greedy continuation of every family.

use super::{batch, expected, fixture, model, model_of};
use feedforward::formats::TensorFile;
use feedforward::graph::{Graph, Mode, Segment};
use feedforward::language::{GenerateOptions, LanguageModel, StopReason, generate_tokens};
use feedforward::nn::Precision;
use feedforward::nn::models::{CausalLm, DecoderConfig, FileTensor, LanguageOptions, file_tensors};
use feedforward::tensor::Device;
use feedforward::trainer::optim::{AdamW, Optimizer, OptimizerConfig};
use std::ops::ControlFlow;

/// What the issue asks for, in f32: logits and losses within 1e-4, gradients within 1e-3 of
/// PyTorch's.
pub(crate) const LOGITS: f64 = 1e-4;
pub(crate) const GRADIENTS: f64 = 1e-3;
pub(crate) const LOSSES: f64 = 1e-4;
/// The gradient of a key's bias without rotary positions is 0 but for rounding: what is small
/// beside the largest gradient of all is compared with that.
const SMALL: f64 = 1e-3;

fn largest(values: &[f32]) -> f64 {
    values.iter().fold(0.0, |m, v| f64::from(v.abs()).max(m))
}

/// The largest difference, relative to the largest value expected, or to `floor`.
pub(crate) fn difference(expected: &[f32], found: &[f32], floor: f64) -> f64 {
    assert_eq!(expected.len(), found.len());
    let differences = expected.iter().zip(found).map(|(a, b)| f64::from((a - b).abs()));
    differences.fold(0.0, f64::max) / largest(expected).max(floor).max(f64::MIN_POSITIVE)
}

fn check(name: &str) {
    // Recomputed blocks must give the same as those that keep everything.
    let options = LanguageOptions { recompute: true, ..LanguageOptions::default() };
    let losses = expected(name).f32("steps.losses", &[20]).unwrap();
    steps(name, &options, &losses, LOSSES);
    let options = LanguageOptions::default();
    let stepped = steps(name, &options, &losses, LOSSES);
    let worst = [logits_and_gradients(name, &options), stepped, [greedy(name); 2]];
    println!("| {name} | {:.1e} | {:.1e} | {:.1e} |", worst[0][0], worst[0][1], worst[1][0]);
}

/// The largest differences of logits and gradients.
fn logits_and_gradients(name: &str, options: &LanguageOptions) -> [f64; 2] {
    let file = expected(name);
    let dims: [usize; 2] = file.dims("ids").unwrap().try_into().unwrap();
    let (config, model, mut graph) = model(name, options);
    let (input, targets) = batch(&graph, &file.i32("ids").unwrap(), dims);
    graph.set_mode(Mode::Eval);
    let logits = model.logits(&mut graph, &input, None).unwrap();
    let logits_expected = file.f32("logits", &[dims[0], dims[1], config.vocab_size]).unwrap();
    let logits_off = difference(&logits_expected, logits.slice().unwrap(), 0.0);
    assert!(logits_off < LOGITS, "{name}: logits differ by {logits_off:.2e}");
    graph.set_mode(Mode::Train);
    let loss = model.loss(&mut graph, &input, &targets).unwrap();
    let count = loss.count.item().unwrap();
    let mean = loss.sum.item().unwrap() / count;
    let loss_expected = f64::from(file.f32("loss", &[1]).unwrap()[0]);
    assert!(
        (mean / loss_expected - 1.0).abs() < LOSSES,
        "{name}: loss {mean}, not {loss_expected}"
    );
    graph.backward(loss.sum).unwrap();
    let tensors = file_tensors(&config, graph.params());
    let worst = gradients(name, &file, &tensors, &mut graph, count);
    [logits_off, worst]
}

/// The largest difference of any parameter's gradient, ours divided by `count`.
pub(crate) fn gradients(
    name: &str,
    file: &TensorFile,
    tensors: &[FileTensor],
    graph: &mut Graph,
    count: f64,
) -> f64 {
    let infos = graph.params().infos().to_vec();
    let trained = |t: &&FileTensor| infos[t.param].spec.segment == Segment::Trainable;
    let tensors: Vec<&FileTensor> = tensors.iter().filter(trained).collect();
    let gradients = graph.params_mut().gradients::<f32>().unwrap();
    let stored = |t: &FileTensor| file.f32(&format!("grad.{}", t.name), &t.dims).unwrap();
    let floor = tensors.iter().map(|t| largest(&stored(t))).fold(0.0, f64::max) * SMALL;
    let mut worst = 0f64;
    for tensor in &tensors {
        let own = &gradients[infos[tensor.param].range()];
        let means: Vec<f32> =
            tensor.write(own).iter().map(|g| (f64::from(*g) / count) as f32).collect();
        let off = difference(&stored(tensor), &means, floor);
        assert!(off < GRADIENTS, "{name}: the gradient of {} differs by {off:.2e}", tensor.name);
        worst = worst.max(off);
    }
    let stored = file.entries().filter(|entry| entry.name.starts_with("grad.")).count();
    assert_eq!(stored, tensors.len(), "{name}: a gradient has no parameter here");
    worst
}

/// The optimiser of the fixtures.
pub(crate) fn adamw(graph: &Graph) -> Optimizer {
    let rule = AdamW { betas: [0.9, 0.95], ..AdamW::default() };
    let config =
        OptimizerConfig { lr: Some(3e-3), weight_decay: Some(0.1), ..OptimizerConfig::from(rule) };
    Optimizer::new(&config, graph.params(), graph.device()).unwrap()
}

/// The largest relative difference of twenty losses.
fn steps(name: &str, options: &LanguageOptions, losses: &[f32], most: f64) -> [f64; 2] {
    steps_of(name, model(name, options), losses, most)
}

fn steps_of(
    name: &str,
    (_, model, mut graph): (DecoderConfig, CausalLm, Graph),
    losses: &[f32],
    most: f64,
) -> [f64; 2] {
    let file = expected(name);
    let &[_, rows, length] = file.dims("steps.ids").unwrap() else { panic!("steps.ids") };
    let ids = file.i32("steps.ids").unwrap();
    let mut optimizer = adamw(&graph);
    let mut worst = 0f64;
    for (step, ids) in ids.chunks_exact(rows * length).enumerate() {
        graph.reset();
        graph.params_mut().clear_gradients();
        let (input, targets) = batch(&graph, ids, [rows, length]);
        let loss = model.loss(&mut graph, &input, &targets).unwrap();
        let (sum, count) = (loss.total.item().unwrap(), loss.count.item().unwrap());
        graph.backward(loss.total).unwrap();
        optimizer.step(graph.params_mut(), count, 3e-3).unwrap();
        let off = (sum / count / f64::from(losses[step]) - 1.0).abs();
        assert!(off < most, "{name}: loss {step} is {}, not {}", sum / count, losses[step]);
        worst = worst.max(off);
    }
    [worst; 2]
}

/// What a bf16 rounds off at most, relative to the value: it has 8 bits.
const U: f64 = 1.0 / 256.0;

/// The root of the mean square of what two differ by, over that of the first.
fn rms(expected: &[f32], found: &[f32]) -> f64 {
    assert_eq!(expected.len(), found.len());
    let off: f64 = expected.iter().zip(found).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    let all: f64 = expected.iter().map(|a| f64::from(*a).powi(2)).sum();
    (off / all).sqrt()
}

/// Products in bf16 against PyTorch's autocast. Both stand for the same numbers with roundings of
/// their own, so that the logits of the two differ by about √2 of what PyTorch's differ from its
/// own in f32: no more than 1.5 of that, nor ours from f32. In a loss, a mean over 22 tokens,
/// roundings cancel out: PyTorch's is within u of that in f32, so two are within 2 u.
fn in_bf16(name: &str) {
    let options = LanguageOptions { precision: Precision::Bf16, ..LanguageOptions::default() };
    let exact = expected(name);
    let file = TensorFile::open(&fixture(name).join("bf16.safetensors")).unwrap();
    let dims: [usize; 2] = exact.dims("ids").unwrap().try_into().unwrap();
    let (config, model, mut graph) = model(name, &options);
    let (input, _) = batch(&graph, &exact.i32("ids").unwrap(), dims);
    graph.set_mode(Mode::Eval);
    let logits = model.logits(&mut graph, &input, None).unwrap();
    let of =
        |file: &TensorFile| file.f32("logits", &[dims[0], dims[1], config.vocab_size]).unwrap();
    let (theirs, exactly, ours) = (of(&file), of(&exact), logits.slice::<f32>().unwrap());
    let usual = rms(&exactly, &theirs);
    let found = [rms(&theirs, ours), rms(&exactly, ours)];
    assert!(usual > U / 8.0, "{name}: PyTorch did not compute in bf16");
    let losses = file.f32("steps.losses", &[20]).unwrap();
    let [worst, _] = steps(name, &options, &losses, 2.0 * U);
    println!(
        "| {name} in bf16 | logits {:.1e} from PyTorch's, {:.1e} from f32, PyTorch's {usual:.1e} | losses {worst:.1e} |",
        found[0], found[1]
    );
    assert!(found.into_iter().all(|off| off < 1.5 * usual), "{name}: {found:?}, PyTorch {usual}");
}

#[test]
fn bf16_is_as_exact_as_pytorchs() {
    ["gpt2", "llama", "qwen3"].into_iter().for_each(in_bf16);
}

/// With the loss that spreads tokens over experts: of all layers together, for the tokens that the
/// mean is taken of.
fn balanced(name: &str) {
    let file = TensorFile::open(&fixture(name).join("balance.safetensors")).unwrap();
    let losses = file.f32("steps.losses", &[20]).unwrap();
    let exact = expected(name);
    let dims: [usize; 2] = exact.dims("ids").unwrap().try_into().unwrap();
    let mut worst = [0f64; 3];
    for recompute in [true, false] {
        let options = LanguageOptions { recompute, ..LanguageOptions::default() };
        let config = model(name, &options).0.with("output_router_logits", true).unwrap();
        let config = config.with("router_aux_loss_coef", 0.3).unwrap();
        let (config, model, mut graph) = model_of(name, config, &options);
        let (input, targets) = batch(&graph, &exact.i32("ids").unwrap(), dims);
        let loss = model.loss(&mut graph, &input, &targets).unwrap();
        let count = loss.count.item().unwrap();
        let mean = loss.total.item().unwrap() / count;
        worst[0] = (mean / f64::from(file.f32("loss", &[1]).unwrap()[0]) - 1.0).abs();
        assert!(worst[0] < LOSSES, "{name}: loss {mean}, {:.1e} off", worst[0]);
        graph.backward(loss.total).unwrap();
        let tensors = file_tensors(&config, graph.params());
        worst[1] = gradients(name, &file, &tensors, &mut graph, count);
        let fresh = model_of(name, config, &options);
        worst[2] = steps_of(name, fresh, &losses, LOSSES)[0];
    }
    let [loss, gradients, losses] = worst;
    println!("| {name} with balance | {loss:.1e} | {gradients:.1e} | {losses:.1e} |");
}

#[test]
fn experts_are_spread_as_in_transformers() {
    ["mixtral", "qwen2_moe", "qwen3_moe"].into_iter().for_each(balanced);
}

/// Token by token what `transformers` writes, with matrices as floats and in the form of their
/// file.
fn greedy(name: &str) -> f64 {
    let (device, options) = (Device::default(), LanguageOptions::default());
    greedy_of(name, LanguageModel::open(&fixture(name), &device, &options).unwrap());
    let in_file = LanguageModel::open_to_generate(&fixture(name), &[], &device, &options).unwrap();
    greedy_of(name, in_file);
    0.0
}

fn greedy_of(name: &str, mut opened: LanguageModel) {
    let file = expected(name);
    let ids = |key| -> Vec<u32> { file.i32(key).unwrap().iter().map(|&id| id as u32).collect() };
    let (prompt, tokens) = (ids("generate.prompt"), ids("generate.tokens"));
    let config: DecoderConfig = opened.config().clone();
    let options =
        GenerateOptions { temperature: 0.0, max_tokens: tokens.len(), ..Default::default() };
    let (model, graph) = opened.parts();
    let mut seen = Vec::new();
    let generated =
        generate_tokens(graph, (model, &config), &[&prompt], &[], &options, &mut |_, token| {
            seen.push(token);
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(generated[0].tokens, tokens, "{name}");
    assert_eq!((seen, generated[0].reason), (tokens.clone(), StopReason::MaxTokens));
    // Several at once write what each writes alone, whatever the lengths of the prompts.
    let prompts: Vec<&[u32]> = (0..5).map(|i| &prompt[i..]).chain([&tokens[..9]]).collect();
    let mut go_on = |_, _| ControlFlow::Continue(());
    let parts = (model, &config);
    let all = generate_tokens(graph, parts, &prompts, &[], &options, &mut go_on).unwrap();
    for (i, (prompt, all)) in prompts.iter().zip(&all).enumerate() {
        let alone = generate_tokens(graph, parts, &[prompt], &[], &options, &mut go_on).unwrap();
        assert_eq!(all, &alone[0], "{name}: prompt {i} of several");
    }
}

macro_rules! families {
    ($($name:ident),*) => {
        $(#[test]
        fn $name() {
            check(stringify!($name));
        })*
    };
}

families!(
    gpt2,
    gpt2_untied,
    llama,
    llama_biases,
    llama_linear,
    llama_yarn,
    mistral,
    qwen2,
    qwen3,
    mixtral,
    qwen2_moe,
    qwen3_moe,
    olmo2,
    gpt_oss,
    gemma2,
    gemma2_unbounded,
    gemma3,
    gemma3_bounded,
    phi3,
    phi3_long,
    smollm3,
    smollm3_windows,
    llama_dynamic_long
);
