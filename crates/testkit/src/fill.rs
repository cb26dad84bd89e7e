//! The input values of a case, the same on every machine.

use ff_graph::{Case, CaseInput, Fill, Result};
use ff_tensor::{DType, Device, Key, Rng, Shape, Tensor};

/// The seed of all numbers of all checks, together with the name of the case.
const SEED: u64 = 20;

/// The values of one input.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Data {
    /// Floats, exact in f32, so that f32 and f64 start from the same numbers.
    Float(Vec<f64>),
    /// Indices.
    Int(Vec<i32>),
}

impl Data {
    pub(crate) fn floats(&self) -> Option<&[f64]> {
        match self {
            Data::Float(values) => Some(values),
            Data::Int(_) => None,
        }
    }

    /// The values as a tensor; floats become `dtype`.
    pub(crate) fn tensor(&self, device: &Device, dims: &[usize], dtype: DType) -> Result<Tensor> {
        let tensor = match (self, dtype) {
            (Data::Int(values), _) => Tensor::from_slice(device, values, dims),
            (Data::Float(values), DType::F32) => {
                let values: Vec<f32> = values.iter().map(|&v| v as f32).collect();
                Tensor::from_slice(device, &values, dims)
            }
            (Data::Float(values), _) => Tensor::from_slice(device, values, dims),
        };
        tensor.map_err(ff_graph::Error::of("testkit"))
    }
}

/// The values of every input of a case; checks start from `variant` 0.
pub(crate) fn fill(case: &Case, variant: u64) -> Vec<Data> {
    let key = Key::new(SEED).with_name(&case.name).with(variant);
    case.inputs
        .iter()
        .enumerate()
        .map(|(i, input)| fill_input(input, &mut Rng::new(key.with(i as u64))))
        .collect()
}

fn fill_input(input: &CaseInput, rng: &mut Rng) -> Data {
    let n = input.dims.iter().product();
    let mut draw = |f: &mut dyn FnMut(&mut Rng) -> f64| {
        Data::Float((0..n).map(|_| f64::from(f(rng) as f32)).collect())
    };
    match &input.fill {
        Fill::Normal(deviation) => draw(&mut |rng| rng.normal() * deviation),
        Fill::Uniform(from, to) => draw(&mut |rng| from + (to - from) * rng.uniform()),
        Fill::Integers(end) => Data::Int((0..n).map(|_| rng.below(*end as u64) as i32).collect()),
        Fill::Indices(values) => Data::Int(values.iter().copied().cycle().take(n).collect()),
        Fill::Values(values) => {
            let mut values = values.iter().cycle();
            draw(&mut |_| values.next().copied().unwrap_or_default())
        }
        Fill::Probabilities => {
            let width = input.dims.last().copied().unwrap_or(1).max(1);
            let mut values: Vec<f64> = (0..n).map(|_| rng.normal().exp()).collect();
            for row in values.chunks_mut(width) {
                let sum: f64 = row.iter().sum();
                for v in row {
                    *v = f64::from((*v / sum) as f32);
                }
            }
            Data::Float(values)
        }
    }
}

/// Standard normal numbers, rounded to f32, for the gradient of a case's output.
pub(crate) fn weights(case: &str, output: usize, n: usize) -> Vec<f64> {
    let key = Key::new(SEED).with_name(case).with_name("dy").with(output as u64);
    let mut rng = Rng::new(key);
    (0..n).map(|_| f64::from(rng.normal() as f32)).collect()
}

/// At most `most` of `n` indices, sorted: all of them, or both ends and a random choice in between.
pub(crate) fn sample(case: &str, input: usize, n: usize, most: usize) -> Vec<usize> {
    if n <= most {
        return (0..n).collect();
    }
    let mut rng = Rng::new(Key::new(SEED).with_name(case).with_name("sample").with(input as u64));
    let mut chosen = vec![0, n - 1];
    while chosen.len() < most {
        let i = rng.below(n as u64) as usize;
        if !chosen.contains(&i) {
            chosen.push(i);
        }
    }
    chosen.sort_unstable();
    chosen
}

/// A case of the same operation with every dimension above 1 multiplied by one odd number, which
/// preserves equalities and sums of dimensions, so that its largest input holds about `values`.
/// `None` if there is no such dimension or the operation rejects the shapes.
pub(crate) fn enlarged(case: &Case, values: usize) -> Option<Case> {
    let largest = case.inputs.iter().max_by_key(|input| input.dims.iter().product::<usize>())?;
    let size: usize = largest.dims.iter().product();
    let rank = largest.dims.iter().filter(|&&d| d > 1).count();
    if size == 0 || rank == 0 {
        return None;
    }
    let factor = (values as f64 / size as f64).powf(1.0 / rank as f64).floor() as usize | 1;
    if factor <= 1 {
        return None;
    }
    let mut large = case.clone();
    large.name = format!("{} × {factor}", case.name);
    let grow = |d: usize| if d > 1 { d * factor } else { d };
    for input in &mut large.inputs {
        input.dims.iter_mut().for_each(|d| *d = grow(*d));
        if let Fill::Integers(end) = &mut input.fill
            && case.inputs.iter().any(|x| x.dims.contains(end))
        {
            *end = grow(*end);
        }
    }
    let specs: Option<Vec<_>> = large
        .inputs
        .iter()
        .map(|x| Some(ff_graph::Spec::new(Shape::new(&x.dims).ok()?, dtype_of(x, DType::F64))))
        .collect();
    let need = vec![false; large.inputs.len()];
    case.op.contract(&specs?, &need).ok().map(|_| large)
}

/// The type of an input with floats of type `float`.
pub(crate) fn dtype_of(input: &CaseInput, float: DType) -> DType {
    if matches!(input.fill, Fill::Integers(_) | Fill::Indices(_)) { DType::I32 } else { float }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ff_ops::{Activation, Feedforward};

    fn case(inputs: Vec<CaseInput>) -> Case {
        Case::new("case", Feedforward::op(Activation::Relu, true), inputs)
    }

    #[test]
    fn fills_stay_in_their_bounds_and_never_change() {
        let case = case(vec![
            CaseInput::new([50], Fill::Uniform(2.0, 3.0)),
            CaseInput::constant([50], Fill::Integers(4)),
            CaseInput::new([5, 3], Fill::Probabilities),
            CaseInput::new([5], Fill::Values(vec![1.0, -2.0])),
            CaseInput::new([0], Fill::Normal(1.0)),
        ]);
        let data = fill(&case, 0);
        assert_eq!(data, fill(&case, 0));
        assert_ne!(data, fill(&case, 1));
        assert!(data[0].floats().unwrap().iter().all(|v| (2.0..=3.0).contains(v)));
        let Data::Int(labels) = &data[1] else { panic!("integers") };
        assert!((0..4).all(|c| labels.contains(&c)) && labels.iter().all(|c| (0..4).contains(c)));
        for row in data[2].floats().unwrap().chunks(3) {
            // Three roundings to f32.
            assert!((row.iter().sum::<f64>() - 1.0).abs() < 3.0 * f64::from(f32::EPSILON));
        }
        assert_eq!(data[3].floats().unwrap(), [1.0, -2.0, 1.0, -2.0, 1.0]);
    }

    #[test]
    fn a_sample_holds_both_ends_and_no_place_twice() {
        let chosen = sample("case", 0, 1000, 40);
        assert_eq!((chosen[0], chosen[39], chosen.len()), (0, 999, 40));
        assert!(chosen.windows(2).all(|w| w[0] < w[1]));
        assert_eq!(sample("case", 0, 3, 40), [0, 1, 2]);
    }

    #[test]
    fn enlarging_keeps_the_relations_between_dimensions() {
        let inputs =
            vec![CaseInput::normal([5, 3]), CaseInput::normal([4, 3]), CaseInput::normal([4])];
        let large = enlarged(&case(inputs), 1500).unwrap();
        let factor = large.inputs[2].dims[0] / 4;
        assert!(factor > 1 && factor % 2 == 1);
        assert_eq!(large.inputs[0].dims, [5 * factor, 3 * factor]);
        let ones =
            vec![CaseInput::normal([1, 1]), CaseInput::normal([1, 1]), CaseInput::normal([1])];
        assert!(enlarged(&case(ones), 1500).is_none());
    }
}
