//! The promises of an operation to the graph, besides a correct gradient.

use crate::CheckResult;
use crate::fill::{Data, dtype_of};
use crate::run::{Outcome, Role, Run, to_f64};
use ff_graph::{Case, Contract, Cx, Error, Mode, OpError, Result, Spec};
use ff_tensor::{DType, Device, Key, Shape, Tensor, TensorMut, TensorRef};

/// Sums of the same terms in another order differ by a few units in the last place of the largest.
const REORDERED: f64 = 1e-12;

pub(crate) fn check(
    case: &Case,
    device: &Device,
    data: &[Data],
    analytic: &Outcome,
    result: &mut CheckResult,
) {
    let checks: [(&'static str, Check); 9] = [
        ("contract", contract),
        ("nothing unwritten", written),
        ("nothing needed, nothing kept", nothing_needed),
        ("evaluation", evaluation),
        ("one gradient alone", alone),
        ("one output alone", one_output),
        ("added gradient", added),
        ("one value twice", twice),
        ("planned memory", planned),
    ];
    for (name, check) in checks {
        let mut partial = CheckResult::new(&case.name);
        let setup = Setup { case, device, data, analytic, name };
        if let Err(error) = check(&setup, &mut partial) {
            partial.engine(name, error);
        }
        result.absorb(partial);
    }
}

type Check = fn(&Setup<'_>, &mut CheckResult) -> Result<()>;

struct Setup<'a> {
    case: &'a Case,
    device: &'a Device,
    data: &'a [Data],
    analytic: &'a Outcome,
    name: &'static str,
}

impl Setup<'_> {
    fn run(&self, run: &Run<'_>) -> Result<Outcome> {
        run.on(self.device, self.data)
    }

    fn specs(&self, float: DType) -> Result<Vec<Spec>> {
        let inputs = self.case.inputs.iter();
        inputs
            .map(|x| {
                let shape = Shape::new(&x.dims).map_err(Error::of("testkit"))?;
                Ok(Spec { shape, dtype: dtype_of(x, float) })
            })
            .collect()
    }

    fn with_gradient(&self) -> impl Iterator<Item = usize> {
        self.case.inputs.iter().enumerate().filter(|(_, x)| x.grad).map(|(i, _)| i)
    }

    /// Compares the gradient of input `i` with `expected`.
    fn compare_dx(
        &self,
        result: &mut CheckResult,
        i: usize,
        expected: &[f64],
        found: Option<&Vec<f64>>,
    ) {
        let tensor = format!("gradient of input {i}");
        match found {
            Some(found) => {
                let dims = &self.case.inputs[i].dims;
                result.compare(self.name, &tensor, dims, (expected, found), REORDERED);
            }
            None => result.promise(self.name, format!("{tensor} is missing")),
        }
    }

    fn dx(&self, i: usize) -> &[f64] {
        self.analytic.dx[i].as_deref().unwrap_or_default()
    }

    fn same_y(&self, result: &mut CheckResult, y: &[(Shape, Vec<f64>)]) {
        for (j, ((shape, expected), (_, found))) in self.analytic.y.iter().zip(y).enumerate() {
            let pair = (expected.as_slice(), found.as_slice());
            result.compare(self.name, &format!("output {j}"), shape.dims(), pair, 0.0);
        }
    }
}

/// Output shapes depend only on input shapes and match the contract, and an empty list of inputs is
/// rejected.
fn contract(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let op = &setup.case.op;
    for float in [DType::F64, DType::F32] {
        let specs = setup.specs(float)?;
        let all = op.contract(&specs, &vec![true; specs.len()]).map_err(Error::of(op.name()))?;
        let none = op.contract(&specs, &vec![false; specs.len()]).map_err(Error::of(op.name()))?;
        if all.outputs != none.outputs {
            let message = format!(
                "the outputs depend on the gradients needed: {:?} and {:?}",
                none.outputs, all.outputs
            );
            result.promise(setup.name, message);
        }
        if !none.saved.is_empty() {
            let message = format!("saves {:?} although no gradient is needed", none.saved);
            result.promise(setup.name, message);
        }
        if float == DType::F64 {
            let found: Vec<Shape> = setup.analytic.y.iter().map(|(shape, _)| *shape).collect();
            let expected: Vec<Shape> = all.outputs.iter().map(|spec| spec.shape).collect();
            if expected != found {
                let message = format!("promises the shapes {expected:?}, returns {found:?}");
                result.promise(setup.name, message);
            }
        }
    }
    if op.contract(&[], &[]).is_ok() {
        result.promise(setup.name, "accepts an empty list of inputs");
    }
    Ok(())
}

/// Forward into memory of ones and of zeros gives the same bits: every value is written, and none
/// is read before.
fn written(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let specs = setup.specs(DType::F64)?;
    let need: Vec<bool> = setup.case.inputs.iter().map(|x| x.grad).collect();
    let op = &setup.case.op;
    let contract = op.contract(&specs, &need).map_err(Error::of(op.name()))?;
    let (ones, zeros) = (forward(setup, &contract, true)?, forward(setup, &contract, false)?);
    for (j, (a, b)) in ones.iter().zip(&zeros).enumerate() {
        let outputs = contract.outputs.len();
        let (tensor, spec) = match j.checked_sub(outputs) {
            None => (format!("output {j}"), contract.outputs[j]),
            Some(saved) => (format!("saved value {saved}"), contract.saved[saved]),
        };
        result.compare(setup.name, &tensor, spec.shape.dims(), (b, a), 0.0);
    }
    // The gradients in poisoned buffers of the check's device against those in fresh, zeroed ones.
    let fresh = Run::new(setup.case).on(&Device::default(), setup.data)?;
    setup.same_y(result, &fresh.y);
    for i in setup.with_gradient() {
        let dims = &setup.case.inputs[i].dims;
        let pair = (fresh.dx[i].as_deref().unwrap_or_default(), setup.dx(i));
        result.compare(setup.name, &format!("gradient of input {i}"), dims, pair, 0.0);
    }
    Ok(())
}

fn forward(setup: &Setup<'_>, contract: &Contract, ones: bool) -> Result<Vec<Vec<f64>>> {
    let error = Error::of("testkit");
    let inputs: Vec<Tensor> = setup
        .data
        .iter()
        .zip(&setup.case.inputs)
        .map(|(data, input)| data.tensor(setup.device, &input.dims, DType::F64))
        .collect::<Result<_>>()?;
    let x: Vec<TensorRef<'_>> = inputs.iter().map(Tensor::view).collect();
    let allocate = |spec: &Spec| -> Result<Tensor> {
        let mut tensor =
            Tensor::uninit(setup.device, spec.shape, spec.dtype).map_err(Error::of("testkit"))?;
        let fill = match spec.dtype {
            DType::F64 => {
                tensor.slice_mut::<f64>().map(|v| v.fill(if ones { f64::NAN } else { 0.0 }))
            }
            DType::F32 => {
                tensor.slice_mut::<f32>().map(|v| v.fill(if ones { f32::NAN } else { 0.0 }))
            }
            DType::I32 => tensor.slice_mut::<i32>().map(|v| v.fill(if ones { -1 } else { 0 })),
            _ => tensor.slice_mut::<u8>().map(|v| v.fill(if ones { 0xff } else { 0 })),
        };
        fill.map_err(Error::of("testkit"))?;
        Ok(tensor)
    };
    let mut y = contract.outputs.iter().map(allocate).collect::<Result<Vec<_>>>()?;
    let mut saved = contract.saved.iter().map(allocate).collect::<Result<Vec<_>>>()?;
    {
        let views = |tensors| -> Result<Vec<TensorMut<'_>>> {
            let tensors: &mut Vec<Tensor> = tensors;
            tensors.iter_mut().map(|t| t.view_mut().map_err(&error)).collect()
        };
        let cx = Cx { device: setup.device, training: true, key: Key::new(0), progress: 0.0 };
        let op = &setup.case.op;
        op.forward(&cx, &x, &mut views(&mut y)?, &mut views(&mut saved)?)
            .map_err(Error::of(op.name()))?;
    }
    Ok(y.iter().chain(&saved).map(|t| to_f64(&t.view())).collect())
}

/// Without gradients, outputs have the same bits, and nothing is kept.
fn nothing_needed(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let outcome = setup.run(&Run::constant(setup.case))?;
    if outcome.kept != 0 || outcome.differentiable.contains(&true) {
        result.promise(setup.name, format!("{} bytes were kept", outcome.kept));
    }
    setup.same_y(result, &outcome.y);
    Ok(())
}

/// The operation also runs in evaluation, without a gradient.
fn evaluation(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let outcome = setup.run(&Run { mode: Mode::Eval, ..Run::new(setup.case) })?;
    if outcome.differentiable.contains(&true) || outcome.kept != 0 {
        result.promise(setup.name, "an output carries a gradient");
    }
    Ok(())
}

/// The gradient of each input is the same if no other input needs one: the others are skipped.
fn alone(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    for i in setup.with_gradient() {
        let mut run = Run::constant(setup.case);
        run.roles[i] = Role::Variable;
        let outcome = setup.run(&run)?;
        setup.same_y(result, &outcome.y);
        setup.compare_dx(result, i, setup.dx(i), outcome.dx[i].as_ref());
        if outcome.dx.iter().flatten().count() != 1 {
            result.promise(
                setup.name,
                format!(
                    "other gradients than that of input {i} were \
                                                written"
                ),
            );
        }
    }
    Ok(())
}

/// The gradients through each output alone add up to the whole.
fn one_output(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let carrying = || (0..setup.analytic.y.len()).filter(|&j| setup.analytic.differentiable[j]);
    if carrying().count() < 2 {
        return Ok(());
    }
    let mut sums: Vec<Vec<f64>> =
        setup.analytic.dx.iter().map(|dx| vec![0.0; dx.as_ref().map_or(0, Vec::len)]).collect();
    for j in carrying() {
        let outcome = setup.run(&Run { only: Some(j), ..Run::new(setup.case) })?;
        for (sum, dx) in sums.iter_mut().zip(&outcome.dx) {
            sum.iter_mut().zip(dx.iter().flatten()).for_each(|(sum, dx)| *sum += dx);
        }
    }
    for i in setup.with_gradient() {
        setup.compare_dx(result, i, setup.dx(i), Some(&sums[i]));
    }
    Ok(())
}

/// Gradients accumulate: in two nodes with shared inputs, for parameters instead of values, and for
/// parameters over two passes.
fn added(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let variables = Run::new(setup.case);
    let params = Run { roles: as_params(&variables.roles), ..variables.clone() };
    let runs = [
        (Run { factors: &[1.0, -3.0], ..variables.clone() }, -2.0),
        (params.clone(), 1.0),
        (Run { factors: &[1.0, -3.0], ..params.clone() }, -2.0),
        (Run { passes: 2, ..params }, 2.0),
    ];
    for (run, times) in runs {
        let outcome = setup.run(&run)?;
        for i in setup.with_gradient() {
            let expected: Vec<f64> = setup.dx(i).iter().map(|v| v * times).collect();
            setup.compare_dx(result, i, &expected, outcome.dx[i].as_ref());
        }
    }
    Ok(())
}

fn as_params(roles: &[Role]) -> Vec<Role> {
    roles.iter().map(|&r| if r == Role::Variable { Role::Param } else { r }).collect()
}

/// One value as two inputs of a node gets the sum of both gradients.
fn twice(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let inputs = &setup.case.inputs;
    for i in setup.with_gradient() {
        let fits = |&j: &usize| j > i && inputs[j].dims == inputs[i].dims;
        for j in setup.with_gradient().filter(fits) {
            let mut data = setup.data.to_vec();
            data[j] = data[i].clone();
            let apart = match Run::new(setup.case).on(setup.device, &data) {
                // The values of one input may lie outside the domain of the other.
                Err(Error::Op { source: OpError::Domain(_), .. }) => continue,
                apart => apart?,
            };
            let (Some(one), Some(other)) = (&apart.dx[i], &apart.dx[j]) else { continue };
            let expected: Vec<f64> = one.iter().zip(other).map(|(a, b)| a + b).collect();
            let mut run = Run::new(setup.case);
            run.roles[j] = Role::SameAs(i);
            for roles in [run.roles.clone(), as_params(&run.roles)] {
                let together = Run { roles, ..run.clone() }.on(setup.device, &data)?;
                setup.compare_dx(result, i, &expected, together.dx[i].as_ref());
            }
        }
    }
    Ok(())
}

/// A planning device counts the same peak as a real one.
fn planned(setup: &Setup<'_>, result: &mut CheckResult) -> Result<()> {
    let variables = Run::new(setup.case);
    let params = Run { roles: as_params(&variables.roles), ..variables.clone() };
    let runs = [
        ("evaluation", Run::constant(setup.case)),
        ("training", variables.clone()),
        ("training of parameters", params),
        ("training with two nodes", Run { factors: &[1.0, 1.0], ..variables }),
    ];
    for (what, run) in runs {
        for dtype in [DType::F64, DType::F32] {
            let run = Run { dtype, ..run.clone() };
            let (plan, real) = (Device::planning(), Device::default());
            run.on(&plan, setup.data)?;
            run.on(&real, setup.data)?;
            let (plan, real) = (plan.pool().stats(), real.pool().stats());
            result.compared += 1;
            if plan.peak != real.peak {
                let message = format!(
                    "{what} in {dtype}: planned {} bytes, measured {}",
                    plan.peak, real.peak
                );
                result.promise(setup.name, message);
            }
        }
    }
    Ok(())
}
