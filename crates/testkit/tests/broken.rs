//! The checks find faults: a small operation, broken in one way at a time.
#![allow(clippy::unwrap_used)]

use ff_graph::{
    Case, CaseInput, Contract, Cx, Graph, Kept, Op, OpError, OpResult, ParamKind, ParamSpec,
    Params, Slot, Spec, for_float,
};
use ff_tensor::{DType, Device, Isa, TensorMut, TensorRef};
use ff_testkit::{
    CheckResult, Machine, WeightedSum, check_case, compare_paths, gradient_check, nan_check,
    network_check,
};
use std::sync::Arc;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    Slope,
    SlopeOfOneValue,
    Overwrites,
    OutputUnwritten,
    GradientUnwritten,
    SavesAlways,
    SavedUnwritten,
    ForgetsGradient,
    DomainInEvaluation,
    AcceptsNothing,
    ShowsThreads,
    ShowsInstructionSet,
    LosesNan,
    LeaksNan,
    FiniteAtInfinity,
    Panics,
}

/// y = x², which saves the factor of its derivative.
#[derive(Debug)]
struct Square(Fault);

impl Op for Square {
    fn name(&self) -> &'static str {
        "square"
    }

    fn contract(&self, x: &[Spec], need: &[bool]) -> OpResult<Contract> {
        let Some(&x) = x.first() else {
            return match self.0 {
                Fault::AcceptsNothing => Ok(Contract::default()),
                _ => Err(OpError::shape("expected 1 input, found 0")),
            };
        };
        let contract = Contract::new([x]).keep_input(0);
        Ok(if need[0] || self.0 == Fault::SavesAlways { contract.save(x) } else { contract })
    }

    fn forward(
        &self,
        cx: &Cx<'_>,
        x: &[TensorRef<'_>],
        y: &mut [TensorMut<'_>],
        saved: &mut [TensorMut<'_>],
    ) -> OpResult {
        if self.0 == Fault::DomainInEvaluation && !cx.training {
            return Err(OpError::domain("only works in training"));
        }
        for_float!(x[0].dtype(), T => {
            let x = x[0].slice::<T>().unwrap();
            let y = y[0].slice_mut::<T>().unwrap();
            let written = x.len() - usize::from(self.0 == Fault::OutputUnwritten);
            y.iter_mut().zip(x).take(written).for_each(|(y, x)| *y = x * x);
            let nan = x.iter().any(|x| x.is_nan());
            match self.0 {
                Fault::ShowsThreads => y[0] += T::EPSILON * y[0] * cx.cpu().threads().count() as T,
                Fault::ShowsInstructionSet if cx.cpu().isa() != Isa::Plain => y[1] *= 1.001,
                Fault::LosesNan if nan => y.iter_mut().for_each(|y| *y = y.max(0.0)),
                Fault::LeaksNan if nan => y.fill(T::NAN),
                Fault::FiniteAtInfinity => y.iter_mut().for_each(|y| *y = y.min(T::MAX)),
                Fault::Panics => panic!("the square of a circle"),
                _ => {}
            }
            if let Some(saved) = saved.first_mut() {
                let skip = usize::from(self.0 == Fault::SavedUnwritten);
                let saved = saved.slice_mut::<T>().unwrap();
                saved.iter_mut().zip(x).skip(skip).for_each(|(s, x)| *s = 2.0 * x);
            }
            Ok(())
        })
    }

    fn backward(
        &self,
        _cx: &Cx<'_>,
        kept: &Kept<'_>,
        dy: &mut [Option<TensorMut<'_>>],
        dx: &mut [Slot<'_>],
    ) -> OpResult {
        if self.0 == Fault::ForgetsGradient {
            return Ok(());
        }
        for_float!(kept.spec(0).dtype, T => {
            let x = kept.input(0)?.slice::<T>().unwrap();
            let dy = dy[0].as_mut().unwrap().slice_mut::<T>().unwrap();
            if let Some((dx, accumulate)) = dx[0].take::<T>().unwrap() {
                let skip = usize::from(self.0 == Fault::GradientUnwritten);
                for (i, dx) in dx.iter_mut().enumerate().skip(skip) {
                    let slope = match self.0 {
                        Fault::Slope => 2.0001 * x[i],
                        Fault::SlopeOfOneValue if i == 3 => x[i],
                        _ => 2.0 * x[i],
                    };
                    let add = accumulate && self.0 != Fault::Overwrites;
                    *dx = if add { *dx + slope * dy[i] } else { slope * dy[i] };
                }
            }
            Ok(())
        })
    }
}

fn check(fault: Fault) -> CheckResult {
    gradient_check(&case(fault))
}

#[track_caller]
fn found(fault: Fault, expected: &str) {
    let result = check(fault);
    assert!(!result.passed(), "{fault:?} was not found");
    let messages = result.to_string();
    assert!(messages.contains(expected), "{fault:?}: expected `{expected}` in\n{messages}");
}

#[test]
fn a_faultless_operation_passes() {
    check(Fault::None).assert();
    assert!(check(Fault::None).worst < 1e-9);
}

#[test]
fn a_wrong_gradient_is_named_with_its_place() {
    found(Fault::Slope, "square: gradient: input 0 at [");
    found(Fault::SlopeOfOneValue, "square: gradient: input 0 at [1, 0]: expected");
    found(Fault::ForgetsGradient, "backward wrote no gradient for input 0");
}

#[test]
fn a_gradient_that_is_not_added_is_found() {
    found(Fault::Overwrites, "square: added gradient: gradient of input 0 at [");
}

#[test]
fn what_is_not_written_is_found() {
    found(
        Fault::OutputUnwritten,
        "square: nothing unwritten: output 0 at [1, 2]: expected 0, found NaN",
    );
    found(Fault::GradientUnwritten, "square: nothing unwritten: gradient of input 0 at [0, 0]");
    found(Fault::SavedUnwritten, "square: nothing unwritten: saved value 0 at [0, 0]");
}

#[test]
fn broken_contracts_are_found() {
    found(Fault::SavesAlways, "although no gradient is needed");
    found(Fault::AcceptsNothing, "accepts an empty list of inputs");
    found(Fault::DomainInEvaluation, "square: evaluation: square: only works in training");
}

fn case(fault: Fault) -> Case {
    Case::new("square", Arc::new(Square(fault)), vec![CaseInput::normal([2, 3])])
}

#[test]
fn a_faultless_operation_passes_everywhere() {
    let row = check_case(&case(Fault::None), &Machine::new().unwrap());
    assert!(row.passed() && row.same_bits && row.nan && row.paths < 1e-6, "{row:?}");
}

#[test]
fn threads_and_instruction_sets_that_show_are_found() {
    let machine = Machine::new().unwrap();
    let paths = compare_paths(&case(Fault::ShowsThreads), &machine);
    let message = paths.threads.to_string();
    assert!(message.contains("square: threads: output 0 in f64 on plain with 2 threads at [0, 0]"));
    assert!(paths.isas.passed());
    if machine.isas().count() > 1 {
        let paths = compare_paths(&case(Fault::ShowsInstructionSet), &machine);
        let message = paths.isas.to_string();
        let expected = "output 0 in f64 on avx2 against plain f64 at [0, 1]: expected";
        assert!(message.contains(expected), "{message}");
        assert!(message.contains("output 0 in f32 on avx2 against plain f64 at [0, 1]: expected"));
        assert!(paths.threads.passed());
    }
}

#[test]
fn a_nan_that_is_lost_or_leaks_is_found() {
    let message = |fault| nan_check(&case(fault)).to_string();
    let lost = message(Fault::LosesNan);
    let expected = "output 0 where input 0 at [0, 0] is NaN at [0]: expected NaN, found 0";
    assert!(lost.contains(expected), "{lost}");
    let leaked = message(Fault::LeaksNan);
    assert!(leaked.contains("where input 0 at [0, 0] is NaN at [1]: expected "), "{leaked}");
    let finite = message(Fault::FiniteAtInfinity);
    assert!(
        finite.contains("output 0 where input 0 at [0, 0] is inf at [0]: expected"),
        "{finite}"
    );
}

#[test]
fn a_panic_is_a_failure_of_its_row() {
    let row = check_case(&case(Fault::Panics), &Machine::new().unwrap());
    assert_eq!(row.failures.len(), 1);
    assert_eq!(row.to_string(), "square: panic: the square of a circle");
}

fn neuron(fault: Fault, used: bool) -> CheckResult {
    let specs = vec![
        ParamSpec::new("used", [2, 3], ParamKind::Weight),
        ParamSpec::new("unused", [1], ParamKind::Bias),
    ];
    let specs = if used { specs[..1].to_vec() } else { specs };
    let mut params = Params::allocate(&Device::default(), DType::F64, specs, true).unwrap();
    let id = params.id("used").unwrap();
    params.values_mut::<f64>(id).unwrap().copy_from_slice(&[1.0, -2.0, 0.5, 3.0, 0.25, -1.5]);
    network_check("net", params, |graph: &mut Graph| {
        let x = graph.param(id);
        let y = graph.apply(&(Arc::new(Square(fault)) as Arc<dyn Op>), &[&x])?;
        let dy = ff_tensor::Tensor::from_slice(graph.device(), &[1.0; 6], &[2, 3]).unwrap();
        WeightedSum::apply(graph, &[&y], vec![dy])
    })
}

#[test]
fn a_network_with_a_fault_fails() {
    neuron(Fault::None, true).assert();
    let message = neuron(Fault::SlopeOfOneValue, true).to_string();
    assert!(message.contains("net: gradient: parameter `used` at [1, 0]: expected"), "{message}");
    let message = neuron(Fault::Overwrites, true).to_string();
    assert!(message.contains("added gradient"), "{message}");
    let message = neuron(Fault::None, false).to_string();
    assert!(message.contains("no gradient reached unused"), "{message}");
}
