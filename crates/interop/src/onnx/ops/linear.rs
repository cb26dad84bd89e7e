//! Products of matrices.

use super::super::data::{DType, Data};
use super::super::session::{Call, Outcome, ints};
use super::super::tensor::{Tensor, count};
use super::walk::{Walk, broadcast, strides};
use super::{Operator, op};
use ff_kernels::{Epilogue, MatRef, gemm, gemm_with};

pub(super) const OPS: &[Operator] = &[
    op("Einsum", &["equation"], einsum),
    // Before version 7 C broadcast only where `broadcast` said so.
    op("Gemm", &["alpha", "beta", "broadcast", "transA", "transB"], general),
    op("MatMul", &[], |c| product(c, None)),
];

/// A product and a bias, which a plan makes of two nodes; no file can name it.
pub(in super::super) static BIASED: Operator =
    op("MatMul with Add", &[], |c| match c.input(2)?.data() {
        Data::F32(bias) => product(c, Some(bias)),
        _ => Err("a bias of floats is expected".into()),
    });

/// Rows of a matrix (input 2) by their number (input 0), as the product of one-hot rows: where the
/// number equals one of 0, 1, 2, … (input 1). A plan makes it of three nodes; no file can name it.
pub(in super::super) static ONE_HOT_PRODUCT: Operator = op("MatMul of one-hot rows", &[], |c| {
    let (x, labels, weight) = (c.input(0)?, c.input(1)?, c.input(2)?);
    let (Data::F32(w), &[rows, n], [outer @ .., 1]) = (weight.data(), weight.dims(), x.dims())
    else {
        let equal = super::elementwise::equal(c)?.remove(0);
        let rows = super::elementwise::cast(&equal, DType::F32)?.remove(0);
        return Ok(vec![matmul(c, &rows, weight)?]);
    };
    if x.dtype() != labels.dtype() {
        return Err("its inputs are of two types".into());
    }
    let mut dims = broadcast(&[outer, &labels.dims()[..labels.dims().len() - 1]])?;
    dims.push(n);
    let places = ints(x)?;
    let mut y = c.zeros(count(&dims)?);
    for (y, &i) in y.chunks_exact_mut(n.max(1)).zip(&places) {
        if let Some(i) = usize::try_from(i).ok().filter(|&i| i < rows) {
            y.copy_from_slice(&w[i * n..(i + 1) * n]);
        }
    }
    Ok(vec![Tensor::of(&dims, y.into())?])
});

/// Up to so many rows, a matrix that never changes is packed once and for all; more rows are worth
/// packing it anew into what suits them better.
const FEW: usize = 64;

/// y = x · W + b for rows x and a matrix from input 1, which is packed once where it never changes.
pub(super) fn by_rows<'m>(
    c: &Call<'_>,
    x: &[f32],
    view: impl Fn() -> MatRef<'m, f32>,
    bias: Option<&[f32]>,
    y: &mut [f32],
) {
    let (k, n) = view().shape();
    let rows = y.len() / n.max(1);
    if rows <= FEW
        && let Some(packed) = c.packed(1, &view)
    {
        packed.product(c.cpu(), x, bias, y, |y| y);
    } else if rows > 0 {
        let epilogue = Epilogue { bias, ..Epilogue::default() };
        gemm_with(c.cpu(), MatRef::new(x, rows, k), view(), y, epilogue);
    }
}

fn product(c: &Call<'_>, bias: Option<&[f32]>) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    if let (Data::F32(x), Data::F32(w), [outer @ .., depth], &[k, n]) =
        (a.data(), b.data(), a.dims(), b.dims())
        && *depth == k
        && k > 0
        && n > 0
        && !outer.is_empty()
    {
        let dims = [outer, &[n]].concat();
        let mut y = c.room(count(&dims)?);
        by_rows(c, x, || MatRef::new(w, k, n), bias, &mut y);
        return Ok(vec![Tensor::of(&dims, y.into())?]);
    }
    let y = matmul(c, a, b)?;
    Ok(vec![match bias {
        None => y,
        Some(bias) => {
            let bias = Tensor::vector(bias.to_vec());
            let dims = broadcast(&[y.dims(), bias.dims()])?;
            super::elementwise::sum(&y, &bias, &dims)?
        }
    }])
}

/// A matrix within an array: its first element, rows, columns, and their strides.
#[derive(Clone, Copy)]
struct Matrix {
    at: usize,
    rows: usize,
    cols: usize,
    row: usize,
    col: usize,
}

/// C[i] = A[i] B[i] for some pairs of matrices.
fn products(
    call: &Call<'_>,
    a: &Tensor,
    b: &Tensor,
    pairs: &[(Matrix, Matrix)],
    dims: &[usize],
) -> Result<Tensor, String> {
    let n = count(dims)?;
    macro_rules! floats {
        ($a:expr, $b:expr, $room:expr) => {{
            let mut c = $room;
            if pairs.iter().any(|(x, _)| x.cols == 0) {
                c.fill(Default::default());
            }
            for (i, (x, y)) in pairs.iter().enumerate() {
                let size = x.rows * y.cols;
                let c = &mut c[i * size..][..size];
                if size > 0 && x.cols > 0 {
                    let view = |v, m: &Matrix| MatRef::strided(v, m.rows, m.cols, m.row, m.col);
                    gemm(call.cpu(), view(&$a[x.at..], x), view(&$b[y.at..], y), c, false);
                }
            }
            Data::from(c)
        }};
    }
    let data = match (a.data(), b.data()) {
        (Data::F32(x), Data::F32(y)) => floats!(x, y, call.room(n)),
        (Data::F64(x), Data::F64(y)) => floats!(x, y, vec![0.0f64; n]),
        (x, y) if x.dtype() == y.dtype() && x.dtype().is_float() => {
            let (x, y) = (x.floats().unwrap_or_default(), y.floats().unwrap_or_default());
            let Data::F64(c) = floats!(x, y, vec![0.0f64; n]) else {
                return Err("no product".into());
            };
            a.dtype().of_floats(c.into_iter()).ok_or("no numbers")?
        }
        (x, y) if x.dtype() == y.dtype() => {
            let expected = || format!("numbers are expected, found {}", x.dtype().name());
            let (x, y) = (x.integers().ok_or_else(expected)?, y.integers().ok_or_else(expected)?);
            let mut c = Vec::with_capacity(n);
            for (p, q) in pairs {
                for i in 0..p.rows {
                    for j in 0..q.cols {
                        let term = |k: usize| {
                            let a = x[p.at + i * p.row + k * p.col];
                            a.wrapping_mul(y[q.at + k * q.row + j * q.col])
                        };
                        c.push((0..p.cols).fold(0i128, |sum, k| sum.wrapping_add(term(k))));
                    }
                }
            }
            a.dtype().of_integers(c.into_iter()).ok_or_else(expected)?
        }
        (x, y) => {
            return Err(format!(
                "its inputs are of two types, {} and {}",
                x.dtype().name(),
                y.dtype().name()
            ));
        }
    };
    Tensor::of(dims, data)
}

/// The product of the last two dimensions, with those before them broadcast, as NumPy's `matmul`.
pub(super) fn matmul(c: &Call<'_>, a: &Tensor, b: &Tensor) -> Result<Tensor, String> {
    let (mut x, mut y) = (a.dims().to_vec(), b.dims().to_vec());
    if x.is_empty() || y.is_empty() {
        return Err("a scalar is no matrix".into());
    }
    let (row, col) = (x.len() == 1, y.len() == 1);
    if row {
        x.insert(0, 1);
    }
    if col {
        y.push(1);
    }
    let ([ab @ .., m, k], [bb @ .., k2, n]) = (&x[..], &y[..]) else {
        return Err("no matrices".into());
    };
    if k != k2 {
        return Err(format!(
            "shapes {:?} and {:?} do not go together in a product",
            a.dims(),
            b.dims()
        ));
    }
    let batch = broadcast(&[ab, bb])?;
    let mut dims = batch.clone();
    dims.extend((!row).then_some(*m));
    dims.extend((!col).then_some(*n));
    count(&dims)?;
    // A matrix for all of a batch makes one product of its rows.
    let pairs: Vec<_> = if bb.iter().all(|&d| d == 1) && ab == batch {
        let rows = ab.iter().product::<usize>() * m;
        vec![(
            Matrix { at: 0, rows, cols: *k, row: *k, col: 1 },
            Matrix { at: 0, rows: *k, cols: *n, row: *n, col: 1 },
        )]
    } else {
        let places = Walk::broadcast(ab, &batch).zip(Walk::broadcast(bb, &batch));
        places
            .map(|(i, j)| {
                let a = Matrix { at: i * m * k, rows: *m, cols: *k, row: *k, col: 1 };
                (a, Matrix { at: j * k * n, rows: *k, cols: *n, row: *n, col: 1 })
            })
            .collect()
    };
    products(c, a, b, &pairs, &dims)
}

/// A bias of one number for each column, or none; `None` for any other.
#[allow(clippy::option_option)]
fn vector_bias(bias: Option<&Tensor>, n: usize) -> Option<Option<&[f32]>> {
    match bias.map(|bias| (bias.data(), bias.dims())) {
        None => Some(None),
        Some((Data::F32(v), [m] | [1, m])) if *m == n => Some(Some(v)),
        Some(_) => None,
    }
}

/// α A' B' + β C.
fn general(c: &Call<'_>) -> Outcome {
    let (a, b) = (c.input(0)?, c.input(1)?);
    let view = |x: &Tensor, transposed: bool| match *x.dims() {
        [rows, cols] if transposed => {
            Ok(Matrix { at: 0, rows: cols, cols: rows, row: 1, col: cols })
        }
        [rows, cols] => Ok(Matrix { at: 0, rows, cols, row: cols, col: 1 }),
        _ => Err(format!("a matrix is expected, found the shape {:?}", x.dims())),
    };
    let (x, y) = (view(a, c.int("transA", 0)? != 0)?, view(b, c.int("transB", 0)? != 0)?);
    if x.cols != y.rows {
        return Err(format!(
            "shapes {:?} and {:?} do not go together in a product",
            a.dims(),
            b.dims()
        ));
    }
    let dims = [x.rows, y.cols];
    let (alpha, beta) = (c.float("alpha", 1.0)?, c.float("beta", 1.0)?);
    if let (Data::F32(p), Data::F32(q), true) = (a.data(), b.data(), alpha == 1.0 && beta == 1.0)
        && let Some(bias) = vector_bias(c.get(2), y.cols)
        && x.rows > 0
        && x.cols > 0
        && y.cols > 0
    {
        let view = |v, m: &Matrix| MatRef::strided(v, m.rows, m.cols, m.row, m.col);
        let mut z = c.room(count(&dims)?);
        if x.rows <= FEW
            && x.col == 1
            && let Some(packed) = c.packed(1, || view(q, &y))
        {
            packed.product(c.cpu(), p, bias, &mut z, |z| z);
        } else {
            let epilogue = Epilogue { bias, ..Epilogue::default() };
            gemm_with(c.cpu(), view(p, &x), view(q, &y), &mut z, epilogue);
        }
        return Ok(vec![Tensor::of(&dims, z.into())?]);
    }
    let product = products(c, a, b, &[(x, y)], &dims)?;
    let Some(bias) = c.get(2).filter(|_| beta != 0.0) else {
        return super::elementwise::map(&product, |x| alpha * x);
    };
    if bias.dtype() != product.dtype() || broadcast(&[bias.dims(), &dims])? != dims {
        return Err(format!("C of shape {:?} does not broadcast to {dims:?}", bias.dims()));
    }
    let (p, bias_values) = (product.data().floats(), bias.data().floats());
    let (p, bias_values) = (p.ok_or("no numbers")?, bias_values.ok_or("no numbers")?);
    let places = Walk::broadcast(bias.dims(), &dims);
    let sums = p.iter().zip(places).map(|(p, i)| alpha * p + beta * bias_values[i]);
    Ok(vec![Tensor::of(&dims, a.dtype().of_floats(sums).ok_or("no numbers")?)?])
}

/// A tensor with its dimensions in another order.
pub(super) fn transposed(c: &Call<'_>, x: &Tensor, order: &[usize]) -> Result<Tensor, String> {
    let own = strides(x.dims());
    let dims: Vec<usize> = order.iter().map(|&i| x.dims()[i]).collect();
    let strides: Vec<isize> = order.iter().map(|&i| own[i]).collect();
    Tensor::of(&dims, x.data().view(&dims, &strides, 0, c.pool()))
}

/// Sums over the products of elements, by letters for dimensions, as NumPy's `einsum`.
fn einsum(c: &Call<'_>) -> Outcome {
    let all = c.all()?;
    let equation: String = c.text("equation", "")?.chars().filter(|c| !c.is_whitespace()).collect();
    let (left, right) = match equation.split_once("->") {
        Some((left, right)) => (left, Some(right)),
        None => (&*equation, None),
    };
    let terms: Vec<&str> = left.split(',').collect();
    if terms.len() != all.len() || all.is_empty() {
        return Err(format!("`{equation}` has not one term for each of {} inputs", all.len()));
    }
    // The dimensions of an ellipsis have numbers from the last one on.
    let labels = |term: &str, rank: usize| -> Result<Vec<char>, String> {
        let dots = |n: usize| (0..n as u32).rev().filter_map(|i| char::from_u32(0x4e00 + i));
        let own = term.replace("...", "");
        let missing = rank.checked_sub(own.chars().count());
        let missing = missing.filter(|&n| n < 64 && (n == 0 || term.contains("...")));
        let missing = missing.ok_or_else(|| format!("`{term}` does not name {rank} dimensions"))?;
        let (before, behind) = term.split_once("...").unwrap_or((term, ""));
        Ok(before.chars().chain(dots(missing)).chain(behind.chars()).collect())
    };
    let names = terms
        .iter()
        .zip(&all)
        .map(|(term, x)| labels(term, x.dims().len()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut sizes: std::collections::BTreeMap<char, usize> = std::collections::BTreeMap::new();
    for (names, x) in names.iter().zip(&all) {
        for (&name, &d) in names.iter().zip(x.dims()) {
            let size = sizes.entry(name).or_insert(d);
            if *size == 1 {
                *size = d;
            } else if d != 1 && d != *size {
                return Err(format!("`{name}` is both {size} and {d}"));
            }
        }
    }
    let outer: Vec<char> = if let Some(right) = right {
        let dots = sizes.keys().filter(|c| !c.is_ascii()).count();
        let named = right.replace("...", "").chars().count();
        labels(right, named + if right.contains("...") { dots } else { 0 })?
    } else {
        let once = |c: &char| names.iter().flatten().filter(|name| *name == c).count() == 1;
        let dots = sizes.keys().rev().filter(|c| !c.is_ascii());
        dots.chain(sizes.keys().filter(|c| c.is_ascii() && once(c))).copied().collect()
    };
    if let Some(name) = outer.iter().find(|name| !sizes.contains_key(name)) {
        return Err(format!("`{name}` is in no input"));
    }
    if let Some((_, name)) = outer.iter().enumerate().find(|(i, c)| outer[..*i].contains(c)) {
        return Err(format!("`{name}` is in the output twice"));
    }
    let inner: Vec<char> = sizes.keys().filter(|c| !outer.contains(c)).copied().collect();
    let order: Vec<char> = outer.iter().chain(&inner).copied().collect();
    let dims: Vec<usize> = order.iter().map(|c| sizes[c]).collect();
    let n = count(&dims)?;
    // Each input as a view of all dimensions; a letter that occurs twice walks along the diagonal.
    let mut terms = vec![1.0; n];
    for (names, x) in names.iter().zip(&all) {
        let own = strides(x.dims());
        let view: Vec<isize> = order
            .iter()
            .map(|c| {
                (0..names.len())
                    .filter(|&i| names[i] == *c && x.dims()[i] > 1)
                    .map(|i| own[i])
                    .sum()
            })
            .collect();
        let values = x.data().floats().ok_or("numbers are expected")?;
        terms.iter_mut().zip(Walk::new(&dims, &view, 0)).for_each(|(term, at)| *term *= values[at]);
    }
    let dims = &dims[..outer.len()];
    let width: usize = inner.iter().map(|c| sizes[c]).product();
    let sums: Vec<f64> = if width == 0 {
        vec![0.0; count(dims)?]
    } else {
        terms.chunks(width).map(|row| row.iter().sum()).collect()
    };
    Ok(vec![Tensor::of(dims, all[0].dtype().of_floats(sums.into_iter()).ok_or("no numbers")?)?])
}
