//! Operators on each element, and on the elements of several tensors that broadcast.

use super::super::data::{DType, Data, Number, numbers};
use super::super::rows::Rows;
use super::super::session::{Call, Outcome, UNSUPPORTED};
use super::super::tensor::Tensor;
use super::walk::{Walk, broadcast, expand};
use super::{Operator, op, single};
use ff_kernels::Float;
use std::f64::consts::{FRAC_1_SQRT_2, PI};

pub(super) const OPS: &[Operator] = &[
    op("Abs", &[], |c| signed(c, f32::abs, f64::abs, i128::abs)),
    op("Acos", &[], |c| unary(c, f64::acos)),
    op("Acosh", &[], |c| unary(c, f64::acosh)),
    op("Add", &[], |c| arithmetic(c, |a, b| a + b, |a, b| a + b, |a, b| a + b)),
    op("And", &[], |c| logical(c, |a, b| a && b)),
    op("Asin", &[], |c| unary(c, f64::asin)),
    op("Asinh", &[], |c| unary(c, f64::asinh)),
    op("Atan", &[], |c| unary(c, f64::atan)),
    op("Atanh", &[], |c| unary(c, f64::atanh)),
    op("BitShift", &["direction"], bit_shift),
    op("BitwiseAnd", &[], |c| integers(c, |a, b| a & b)),
    op("BitwiseNot", &[], |c| one(c.input(0)?, whole(c.input(0)?)?.into_iter().map(|x| !x))),
    op("BitwiseOr", &[], |c| integers(c, |a, b| a | b)),
    op("BitwiseXor", &[], |c| integers(c, |a, b| a ^ b)),
    op("Cast", &["to", "saturate", "round_mode"], |c| {
        let to = c.dtype("to")?.ok_or("its attribute `to` is missing")?;
        cast(c.input(0)?, to)
    }),
    op("CastLike", &["saturate", "round_mode"], |c| cast(c.input(0)?, c.input(1)?.dtype())),
    op("Ceil", &[], |c| unary(c, f64::ceil)),
    op("Celu", &["alpha"], |c| {
        let a = c.float("alpha", 1.0)?;
        unary(c, move |x| x.max(0.0) + (a * (x / a).exp_m1()).min(0.0))
    }),
    op("Clip", &["min", "max"], clip),
    op("Cos", &[], |c| unary(c, f64::cos)),
    op("Cosh", &[], |c| unary(c, f64::cosh)),
    op("Div", &[], |c| {
        arithmetic(c, |a, b| a / b, |a, b| a / b, |a, b| a.checked_div(b).unwrap_or(0))
    }),
    op("Dropout", &["ratio", "seed", "is_test"], dropout),
    op("Elu", &["alpha"], |c| {
        let a = c.float("alpha", 1.0)?;
        unary(c, move |x| if x < 0.0 { a * x.exp_m1() } else { x })
    }),
    op("Equal", &[], equal),
    op("Erf", &[], |c| swift(c, Float::erf, libm::erf)),
    op("Exp", &[], |c| swift(c, Float::exp, f64::exp)),
    op("Floor", &[], |c| unary(c, f64::floor)),
    op("Gelu", &["approximate"], |c| match c.text("approximate", "none")? {
        "none" => swift(
            c,
            #[inline(always)]
            |x| x * Float::normal(x).0,
            |x| 0.5 * x * (1.0 + libm::erf(x * FRAC_1_SQRT_2)),
        ),
        "tanh" => {
            let k = (2.0 / PI).sqrt();
            let k32 = k as f32;
            swift(
                c,
                #[inline(always)]
                move |x| 0.5 * x * (1.0 + Float::tanh(k32 * (x + 0.044_715 * x * x * x))),
                move |x| 0.5 * x * (1.0 + (k * (x + 0.044_715 * x * x * x)).tanh()),
            )
        }
        other => {
            Err(format!("its attribute `approximate` is `{other}`, neither `none` nor `tanh`"))
        }
    }),
    op("Greater", &[], |c| compare(c, |a, b| a > b, |a, b| a > b)),
    op("GreaterOrEqual", &[], |c| compare(c, |a, b| a >= b, |a, b| a >= b)),
    op("HardSigmoid", &["alpha", "beta"], |c| {
        let (a, b) = (c.float("alpha", 0.2)?, c.float("beta", 0.5)?);
        let (a32, b32) = (a as f32, b as f32);
        swift(c, move |x| (a32 * x + b32).clamp(0.0, 1.0), move |x| (a * x + b).clamp(0.0, 1.0))
    }),
    op("HardSwish", &[], |c| {
        let f = |x: f64| x * (x / 6.0 + 0.5).clamp(0.0, 1.0);
        swift(c, |x: f32| x * (x * (1.0 / 6.0) + 0.5).clamp(0.0, 1.0), f)
    }),
    op("Identity", &[], |c| Ok(vec![c.input(0)?.clone()])),
    op("IsInf", &["detect_negative", "detect_positive"], |c| {
        let (down, up) = (c.int("detect_negative", 1)? != 0, c.int("detect_positive", 1)? != 0);
        test(c, move |x| x == f64::INFINITY && up || x == f64::NEG_INFINITY && down)
    }),
    op("IsNaN", &[], |c| match c.input(0)?.data() {
        Data::F32(v) => {
            let found: Vec<bool> = v.iter().map(|x| x.is_nan()).collect();
            Ok(vec![Tensor::of(c.input(0)?.dims(), found.into())?])
        }
        _ => test(c, f64::is_nan),
    }),
    op("LeakyRelu", &["alpha"], |c| {
        let a = c.float("alpha", 0.01)?;
        let a32 = a as f32;
        let f = move |x| if x < 0.0 { a * x } else { x };
        swift(c, move |x| if x < 0.0 { a32 * x } else { x }, f)
    }),
    op("Less", &[], |c| compare(c, |a, b| a < b, |a, b| a < b)),
    op("LessOrEqual", &[], |c| compare(c, |a, b| a <= b, |a, b| a <= b)),
    op("Log", &[], |c| unary(c, f64::ln)),
    op("Max", &[], |c| fold(c, |a, b| if a.is_nan() || a > b { a } else { b }, i128::max)),
    op("Mean", &[], |c| {
        let n = c.len() as f64;
        let sum = fold(c, |a, b| a + b, |a, b| a + b)?;
        map(&sum[0], move |x| x / n)
    }),
    op("Min", &[], |c| fold(c, |a, b| if a.is_nan() || a < b { a } else { b }, i128::min)),
    op("Mish", &[], |c| unary(c, |x| x * softplus(x).tanh())),
    op("Mod", &["fmod"], modulo),
    op("Mul", &[], |c| arithmetic(c, |a, b| a * b, |a, b| a * b, i128::wrapping_mul)),
    op("Neg", &[], |c| signed(c, |x| -x, |x| -x, |x| -x)),
    op("Not", &[], |c| {
        let x = c.input(0)?;
        Ok(vec![Tensor::of(x.dims(), truths(x)?.iter().map(|x| !x).collect::<Vec<_>>().into())?])
    }),
    op("Or", &[], |c| logical(c, |a, b| a || b)),
    op("PRelu", &[], prelu),
    op("Pow", &[], power),
    op("Reciprocal", &[], |c| swift(c, |x| 1.0 / x, |x| 1.0 / x)),
    op("Relu", &[], |c| {
        let positive = |x| if x < 0.0 { 0.0 } else { x };
        signed(c, |x| if x < 0.0 { 0.0 } else { x }, positive, |x| x.max(0))
    }),
    op("Round", &[], |c| unary(c, f64::round_ties_even)),
    op("Selu", &["alpha", "gamma"], |c| {
        let (a, g) = (
            c.float("alpha", 1.673_263_192_176_818_8)?,
            c.float("gamma", 1.050_701_022_148_132_3)?,
        );
        unary(c, move |x| g * if x > 0.0 { x } else { a * x.exp_m1() })
    }),
    op("Shrink", &["bias", "lambd"], |c| {
        let (bias, l) = (c.float("bias", 0.0)?, c.float("lambd", 0.5)?);
        let f = move |x: f64| {
            if x < -l {
                x + bias
            } else if x > l {
                x - bias
            } else {
                0.0
            }
        };
        map(c.input(0)?, f)
    }),
    op("Sigmoid", &[], |c| swift(c, Float::sigmoid, sigmoid)),
    op("Sign", &[], |c| {
        signed(
            c,
            |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            },
            |x| {
                if x > 0.0 {
                    1.0
                } else if x < 0.0 {
                    -1.0
                } else {
                    x
                }
            },
            i128::signum,
        )
    }),
    op("Sin", &[], |c| unary(c, f64::sin)),
    op("Sinh", &[], |c| unary(c, f64::sinh)),
    op("Softplus", &[], |c| swift(c, Float::softplus, softplus)),
    op("Softsign", &[], |c| unary(c, |x| x / (1.0 + x.abs()))),
    op("Sqrt", &[], |c| swift(c, f32::sqrt, f64::sqrt)),
    op("Sub", &[], |c| arithmetic(c, |a, b| a - b, |a, b| a - b, |a, b| a - b)),
    op("Sum", &[], |c| fold(c, |a, b| a + b, |a, b| a + b)),
    op("SwiGLU", &["alpha"], |c| {
        let (a, b) = (c.input(0)?, c.input(1)?);
        let alpha = c.float("alpha", 1.0)?;
        if a.dims() != b.dims() || a.dtype() != b.dtype() {
            return Err("the gate and what it lets through differ in shape or type".into());
        }
        let (x, y) = (floats_of(a)?, floats_of(b)?);
        let values = x.iter().zip(&y).map(|(x, y)| x * sigmoid(alpha * x) * y);
        Ok(vec![Tensor::of(a.dims(), a.dtype().of_floats(values).ok_or_else(|| not_numbers(a))?)?])
    }),
    op("Swish", &["alpha"], |c| {
        let a = c.float("alpha", 1.0)?;
        unary(c, move |x| x * sigmoid(a * x))
    }),
    op("Tan", &[], |c| unary(c, f64::tan)),
    op("Tanh", &[], |c| swift(c, Float::tanh, f64::tanh)),
    op("ThresholdedRelu", &["alpha"], |c| {
        let a = c.float("alpha", 1.0)?;
        unary(c, move |x| if x > a { x } else { 0.0 })
    }),
    op("Where", &[], choose),
    op("Xor", &[], |c| logical(c, |a, b| a != b)),
];

pub(super) fn sigmoid(x: f64) -> f64 {
    1.0 / (1.0 + (-x).exp())
}

fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

fn not_numbers(x: &Tensor) -> String {
    format!("numbers are expected, found {}", x.dtype().name())
}

/// f of each element of a float tensor.
fn unary(c: &Call<'_>, f: impl Fn(f64) -> f64) -> Outcome {
    let x = c.input(0)?;
    if !x.dtype().is_float() {
        return Err(format!("floats are expected, found {}", x.dtype().name()));
    }
    map(x, f)
}

/// The same, with a loop of its own for the type of most networks.
#[inline(always)]
fn swift(
    c: &Call<'_>,
    single: impl Fn(f32) -> f32 + Sync + Copy,
    f: impl Fn(f64) -> f64,
) -> Outcome {
    match single::map(c, c.input(0)?, single) {
        Some(y) => Ok(vec![y?]),
        None => unary(c, f),
    }
}

/// f of each number, in its type.
pub(super) fn map(x: &Tensor, f: impl Fn(f64) -> f64) -> Outcome {
    fn all<T: Number>(x: &[T], f: &dyn Fn(f64) -> f64) -> Vec<T> {
        x.iter().map(|x| T::of_float(f(x.float()))).collect()
    }
    // One copy of the code for each type, not for each operator and type.
    let f: &dyn Fn(f64) -> f64 = &f;
    let data: Data = numbers!(x.data(), v => all(v, f).into(), return Err(not_numbers(x)));
    Ok(vec![Tensor::of(x.dims(), data)?])
}

/// f of each float or g of each integer.
#[inline(always)]
fn signed(
    c: &Call<'_>,
    single: impl Fn(f32) -> f32 + Sync + Copy,
    f: impl Fn(f64) -> f64,
    g: impl Fn(i128) -> i128,
) -> Outcome {
    let x = c.input(0)?;
    if let Some(y) = single::map(c, x, single) {
        return Ok(vec![y?]);
    }
    if x.dtype().is_float() {
        return map(x, f);
    }
    one(x, whole(x)?.into_iter().map(g))
}

fn whole(x: &Tensor) -> Result<Vec<i128>, String> {
    let numbers = if x.dtype().is_float() { None } else { x.data().integers() };
    numbers.ok_or_else(|| format!("integers are expected, found {}", x.dtype().name()))
}

/// A tensor of the same shape and type.
fn one(x: &Tensor, values: impl Iterator<Item = i128>) -> Outcome {
    let data = x.dtype().of_integers(values).ok_or_else(|| not_numbers(x))?;
    Ok(vec![Tensor::of(x.dims(), data)?])
}

/// Whether a float has a property.
fn test(c: &Call<'_>, f: impl Fn(f64) -> bool) -> Outcome {
    fn all<T: Number>(x: &[T], f: &dyn Fn(f64) -> bool) -> Vec<bool> {
        x.iter().map(|x| f(x.float())).collect()
    }
    let f: &dyn Fn(f64) -> bool = &f;
    let x = c.input(0)?;
    let found = numbers!(x.data(), v => all(v, f), return Err(not_numbers(x)));
    Ok(vec![Tensor::of(x.dims(), found.into())?])
}

/// f over two arrays in the shape that they broadcast to.
fn zip<A: Copy, B: Copy, O>(
    (a, a_dims): (&[A], &[usize]),
    (b, b_dims): (&[B], &[usize]),
    to: &[usize],
    f: impl Fn(A, B) -> O,
) -> Vec<O> {
    let rows = Rows::broadcast(to, [a_dims, b_dims]);
    let mut y = Vec::with_capacity(rows.count * rows.len);
    let [p, q] = rows.steps.map(|step| step as usize);
    for row in 0..rows.count {
        let [i, j] = rows.starts(row).map(|at| at as usize);
        match [p, q] {
            [1, 1] => {
                y.extend(a[i..][..rows.len].iter().zip(&b[j..]).map(|(&a, &b)| f(a, b)));
            }
            [1, 0] => y.extend(a[i..][..rows.len].iter().map(|&a| f(a, b[j]))),
            _ => y.extend((0..rows.len).map(|k| f(a[i + k * p], b[j + k * q]))),
        }
    }
    y
}

fn two<'a>(c: &'a Call<'_>) -> Result<(&'a Tensor, &'a Tensor, Vec<usize>), String> {
    let (a, b) = (c.input(0)?, c.input(1)?);
    if a.dtype() != b.dtype() {
        return Err(format!(
            "its inputs are of two types, {} and {}",
            a.dtype().name(),
            b.dtype().name()
        ));
    }
    Ok((a, b, broadcast(&[a.dims(), b.dims()])?))
}

type OfFloats = fn(f64, f64) -> f64;
type OfIntegers = fn(i128, i128) -> i128;

fn binary(c: &Call<'_>, f: OfFloats, g: OfIntegers) -> Outcome {
    let (a, b, to) = two(c)?;
    Ok(vec![combine(a, b, &to, f, g)?])
}

/// The same, with a loop of its own for the type of most networks.
#[inline(always)]
fn arithmetic(
    c: &Call<'_>,
    single: impl Fn(f32, f32) -> f32 + Sync + Copy,
    f: OfFloats,
    g: OfIntegers,
) -> Outcome {
    let (a, b, to) = two(c)?;
    if let (Data::F32(x), Data::F32(y)) = (a.data(), b.data()) {
        let y = single::zip(c, (x, a.dims()), (y, b.dims()), &to, single);
        return Ok(vec![Tensor::of(&to, y.into())?]);
    }
    Ok(vec![combine(a, b, &to, f, g)?])
}

/// The sum of two tensors in the shape that they broadcast to.
pub(super) fn sum(a: &Tensor, b: &Tensor, to: &[usize]) -> Result<Tensor, String> {
    combine(a, b, to, |a, b| a + b, |a, b| a + b)
}

/// f of pairs of floats or g of pairs of integers, of one type.
fn combine(
    a: &Tensor,
    b: &Tensor,
    to: &[usize],
    f: OfFloats,
    g: OfIntegers,
) -> Result<Tensor, String> {
    let (x, y) = (a.dims(), b.dims());
    let data = if a.dtype().is_float() {
        let (a_values, b_values) = (floats_of(a)?, floats_of(b)?);
        a.dtype().of_floats(zip((&a_values, x), (&b_values, y), to, f).into_iter())
    } else {
        let (a_values, b_values) = (whole(a)?, whole(b)?);
        a.dtype().of_integers(zip((&a_values, x), (&b_values, y), to, g).into_iter())
    };
    Tensor::of(to, data.ok_or_else(|| not_numbers(a))?)
}

fn floats_of(x: &Tensor) -> Result<Vec<f64>, String> {
    x.data().floats().ok_or_else(|| not_numbers(x))
}

/// f over all inputs, one after the other.
fn fold(c: &Call<'_>, f: OfFloats, g: OfIntegers) -> Outcome {
    let all = c.all()?;
    let (first, rest) = all.split_first().ok_or("it has no inputs")?;
    let shapes: Vec<&[usize]> = all.iter().map(|x| x.dims()).collect();
    let to = broadcast(&shapes)?;
    if let (Data::F32(a), [second]) = (first.data(), rest)
        && let Data::F32(b) = second.data()
    {
        let exact = |a, b| f(f64::from(a), f64::from(b)) as f32;
        let y = zip((a, first.dims()), (b, second.dims()), &to, exact);
        return Ok(vec![Tensor::of(&to, y.into())?]);
    }
    let mut sum = expand(c, first, &to)?;
    for x in rest {
        if x.dtype() != sum.dtype() {
            return Err("its inputs are of several types".into());
        }
        sum = combine(&sum, x, &to, f, g)?;
    }
    Ok(vec![sum])
}

fn integers(c: &Call<'_>, g: OfIntegers) -> Outcome {
    let (a, b, to) = two(c)?;
    whole(a).and(whole(b))?;
    Ok(vec![combine(a, b, &to, |a, _| a, g)?])
}

fn compare(c: &Call<'_>, f: fn(f64, f64) -> bool, g: fn(i128, i128) -> bool) -> Outcome {
    let (a, b, to) = two(c)?;
    let (x, y) = (a.dims(), b.dims());
    if let (Data::F32(p), Data::F32(q)) = (a.data(), b.data()) {
        let found = zip((p, x), (q, y), &to, |a, b| f(f64::from(a), f64::from(b)));
        return Ok(vec![Tensor::of(&to, found.into())?]);
    }
    let data = if a.dtype().is_float() {
        let (a, b) = (a.data().floats().unwrap_or_default(), b.data().floats().unwrap_or_default());
        zip((&a, x), (&b, y), &to, f)
    } else {
        let (a, b) = (whole(a)?, whole(b)?);
        zip((&a, x), (&b, y), &to, g)
    };
    Ok(vec![Tensor::of(&to, data.into())?])
}

pub(super) fn equal(c: &Call<'_>) -> Outcome {
    let (a, b, to) = two(c)?;
    let data = if let (Data::Text(x), Data::Text(y)) = (a.data(), b.data()) {
        let pairs = Walk::broadcast(a.dims(), &to).zip(Walk::broadcast(b.dims(), &to));
        pairs.map(|(i, j)| x[i] == y[j]).collect::<Vec<_>>()
    } else if let (Data::I32(x), Data::I32(y)) = (a.data(), b.data()) {
        zip((x, a.dims()), (y, b.dims()), &to, |a, b| a == b)
    } else if let (Data::I64(x), Data::I64(y)) = (a.data(), b.data()) {
        zip((x, a.dims()), (y, b.dims()), &to, |a, b| a == b)
    } else {
        let (x, y) = (a.dims(), b.dims());
        if a.dtype().is_float() {
            let (a, b) =
                (a.data().floats().unwrap_or_default(), b.data().floats().unwrap_or_default());
            zip((&a, x), (&b, y), &to, |a, b| a == b)
        } else {
            let (a, b) = (whole(a)?, whole(b)?);
            zip((&a, x), (&b, y), &to, |a, b| a == b)
        }
    };
    Ok(vec![Tensor::of(&to, data.into())?])
}

pub(super) fn truths(x: &Tensor) -> Result<&[bool], String> {
    match x.data() {
        Data::Bool(v) => Ok(v),
        other => Err(format!("truth values are expected, found {}", other.dtype().name())),
    }
}

fn logical(c: &Call<'_>, f: impl Fn(bool, bool) -> bool) -> Outcome {
    let (a, b, to) = two(c)?;
    let data = zip((truths(a)?, a.dims()), (truths(b)?, b.dims()), &to, f);
    Ok(vec![Tensor::of(&to, data.into())?])
}

fn bit_shift(c: &Call<'_>) -> Outcome {
    fn shift(b: i128) -> u32 {
        u32::try_from(b).unwrap_or(64).min(64)
    }
    match c.text("direction", "")? {
        "LEFT" => integers(c, |a, b| a << shift(b)),
        "RIGHT" => integers(c, |a, b| a >> shift(b)),
        other => Err(format!("its attribute `direction` is `{other}`, neither `LEFT` nor `RIGHT`")),
    }
}

/// The remainder has the divisor's sign, or with `fmod` the dividend's.
fn modulo(c: &Call<'_>) -> Outcome {
    let fmod = c.int("fmod", 0)? != 0;
    if fmod {
        return binary(c, |a, b| a % b, |a, b| a.checked_rem(b).unwrap_or(0));
    }
    binary(
        c,
        |a, b| {
            let r = a % b;
            if r != 0.0 && (r < 0.0) != (b < 0.0) { r + b } else { r }
        },
        |a, b| a.checked_rem(b).map_or(0, |r| if r != 0 && (r < 0) != (b < 0) { r + b } else { r }),
    )
}

fn power(c: &Call<'_>) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let to = broadcast(&[a.dims(), b.dims()])?;
    if !a.dtype().is_float()
        && !b.dtype().is_float()
        && let (Some(x), Some(y)) = (a.data().integers(), b.data().integers())
    {
        let data = zip((&x, a.dims()), (&y, b.dims()), &to, |x, y| match u32::try_from(y) {
            Ok(y) => x.wrapping_pow(y),
            Err(_) => (x as f64).powf(y as f64) as i128,
        });
        let data = a.dtype().of_integers(data.into_iter()).ok_or_else(|| not_numbers(a))?;
        return Ok(vec![Tensor::of(&to, data)?]);
    }
    // Squares and roots, which normalisations are made of.
    if let (Data::F32(_), true, Some(exponent)) = (
        a.data(),
        b.data().len() == 1 && to == a.dims(),
        b.data().floats().and_then(|v| v.first().copied()),
    ) {
        let y = match exponent {
            2.0 => single::map(c, a, |x| x * x),
            0.5 => single::map(c, a, f32::sqrt),
            _ => None,
        };
        if let Some(y) = y {
            return Ok(vec![y?]);
        }
    }
    let floats = |x: &Tensor| x.data().floats().ok_or_else(|| not_numbers(x));
    let data = zip((&floats(a)?, a.dims()), (&floats(b)?, b.dims()), &to, f64::powf);
    let data = a.dtype().of_floats(data.into_iter()).ok_or_else(|| not_numbers(a))?;
    Ok(vec![Tensor::of(&to, data)?])
}

fn clip(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let bound = |i: usize, name: &str| -> Result<Option<Tensor>, String> {
        match (c.get(i), c.attribute(name)) {
            (Some(bound), _) if bound.data().len() == 1 => Ok(Some(bound.clone())),
            (Some(bound), _) => Err(format!("a bound of shape {:?} is no scalar", bound.dims())),
            (None, None) => Ok(None),
            (None, Some(_)) => {
                let value = x.dtype().of_floats([c.float(name, 0.0)?].into_iter());
                Ok(value.map(Tensor::scalar))
            }
        }
    };
    if let Data::F32(_) = x.data() {
        let value = |bound: Option<Tensor>, default: f32| match bound.as_ref().map(Tensor::data) {
            None => Some(default),
            Some(Data::F32(v)) => v.first().copied(),
            Some(_) => None,
        };
        let low = value(bound(1, "min")?, f32::NEG_INFINITY);
        let high = value(bound(2, "max")?, f32::INFINITY);
        let f = |low, high| {
            move |x| {
                let x = if x < low { low } else { x };
                if x > high { high } else { x }
            }
        };
        if let (Some(low), Some(high)) = (low, high)
            && let Some(y) = single::map(c, x, f(low, high))
        {
            return Ok(vec![y?]);
        }
    }
    let mut y = x.clone();
    if let Some(low) = bound(1, "min")? {
        let low = Tensor::scalar(low.into_data());
        y = combine(&y, &low, x.dims(), |x, low| if x < low { low } else { x }, i128::max)?;
    }
    if let Some(high) = bound(2, "max")? {
        let high = Tensor::scalar(high.into_data());
        y = combine(&y, &high, x.dims(), |x, high| if x > high { high } else { x }, i128::min)?;
    }
    Ok(vec![y])
}

/// PReLU; before version 7 the slopes are those of the channels, the second dimension.
fn prelu(c: &Call<'_>) -> Outcome {
    let f: OfFloats = |x, s| if x < 0.0 { s * x } else { x };
    let g: OfIntegers = |x, s| if x < 0 { s.wrapping_mul(x) } else { x };
    let (x, slope) = (c.input(0)?, c.input(1)?);
    if c.opset() < 7 && x.dims().len() > 2 && slope.dims() == &x.dims()[1..2] {
        let mut dims = vec![1; x.dims().len() - 1];
        dims[0] = x.dims()[1];
        return Ok(vec![combine(x, &slope.reshaped(&dims)?, x.dims(), f, g)?]);
    }
    binary(c, f, g)
}

/// Dropout in inference passes its input on.
fn dropout(c: &Call<'_>) -> Outcome {
    if c.opset() < 7 && c.int("is_test", 0)? == 0 {
        return Err(format!(
            "{UNSUPPORTED}dropout of version 6 is in training unless `is_test` says otherwise"
        ));
    }
    if let Some(training) = c.get(2)
        && truths(training)?.first() == Some(&true)
        && c.get(1)
            .is_none_or(|ratio| ratio.data().floats().is_none_or(|r| r.first() != Some(&0.0)))
    {
        return Err(format!(
            "{UNSUPPORTED}dropout in training draws random numbers, which no two programs share"
        ));
    }
    let x = c.input(0)?;
    if c.outputs() < 2 {
        return Ok(vec![x.clone()]);
    }
    let kept = Tensor::of(x.dims(), vec![true; x.data().len()].into())?;
    Ok(vec![x.clone(), kept])
}

fn choose(c: &Call<'_>) -> Outcome {
    let (condition, a, b) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let to = broadcast(&[condition.dims(), a.dims(), b.dims()])?;
    let rows = Rows::broadcast(&to, [condition.dims(), a.dims(), b.dims()]);
    let data = Data::chosen(&rows, truths(condition)?, a.data(), b.data());
    Ok(vec![Tensor::of(&to, data.ok_or("its values are of two types")?)?])
}

/// Elements in another type: floats are cut off toward zero, integers wrap, texts are read or
/// written.
pub(super) fn cast(x: &Tensor, to: DType) -> Outcome {
    let data = match (x.data(), to) {
        (data, to) if data.dtype() == to => return Ok(vec![x.clone()]),
        (Data::Bool(v), DType::F32) => {
            v.iter().map(|&x| f32::from(u8::from(x))).collect::<Vec<_>>().into()
        }
        (Data::I8(v), DType::F32) => v.iter().map(|&x| f32::from(x)).collect::<Vec<_>>().into(),
        (Data::U8(v), DType::F32) => v.iter().map(|&x| f32::from(x)).collect::<Vec<_>>().into(),
        (Data::I64(v), DType::I32) => v.iter().map(|&x| x as i32).collect::<Vec<_>>().into(),
        (Data::I32(v), DType::I64) => v.iter().map(|&x| i64::from(x)).collect::<Vec<_>>().into(),
        (Data::I64(v), DType::Bool) => v.iter().map(|&x| x != 0).collect::<Vec<_>>().into(),
        (Data::Text(texts), to) => {
            let number = |text: &String| {
                text.trim().parse::<f64>().map_err(|_| format!("the text `{text}` is no number"))
            };
            let numbers: Vec<f64> = texts.iter().map(number).collect::<Result<_, _>>()?;
            to.of_floats(numbers.into_iter()).unwrap_or_else(|| texts.clone().into())
        }
        (Data::F32(v), DType::Text) => {
            v.iter().map(|&x| text(f64::from(x), &x.to_string())).collect::<Vec<_>>().into()
        }
        (Data::Bool(v), DType::Text) => {
            v.iter().map(|&x| if x { "1" } else { "0" }.to_owned()).collect::<Vec<_>>().into()
        }
        (data, DType::Text) if data.dtype().is_float() => {
            let values = data.floats().unwrap_or_default();
            values.iter().map(|&x| text(x, &x.to_string())).collect::<Vec<_>>().into()
        }
        (data, DType::Text) => {
            let values = data.integers().unwrap_or_default();
            values.iter().map(i128::to_string).collect::<Vec<_>>().into()
        }
        (data, to) if data.dtype().is_float() && !to.is_float() && to != DType::Bool => {
            let values = data.integers().unwrap_or_default();
            to.of_integers(values.into_iter()).ok_or_else(|| not_numbers(x))?
        }
        (data, to) if data.dtype().is_float() => to
            .of_floats(data.floats().unwrap_or_default().into_iter())
            .ok_or_else(|| not_numbers(x))?,
        (data, to) => to
            .of_integers(data.integers().unwrap_or_default().into_iter())
            .ok_or_else(|| not_numbers(x))?,
    };
    Ok(vec![Tensor::of(x.dims(), data)?])
}

/// A float as text, with the standard's names of what is no number.
fn text(x: f64, plain: &str) -> String {
    if x.is_nan() {
        "NaN".into()
    } else if x.is_infinite() {
        if x > 0.0 { "INF".into() } else { "-INF".into() }
    } else {
        plain.into()
    }
}
