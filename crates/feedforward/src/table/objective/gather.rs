//! Rows of encoded data as the tensors of a batch.

use super::NAME;
use ff_graph::{Error, Graph, Result, Value};
use ff_kernels::for_rows;
use ff_nn::layers::BagInput;
use ff_nn::models::{Mlp, MlpInput};
use ff_nn::{Loss, LossTarget};
use ff_table::{Encoded, Target};
use ff_tensor::{DType, Device, Shape, Tensor};

/// The rows of a batch, one for each member where members have their own.
pub(crate) struct Rows<'a> {
    pub(super) rows: &'a [u32],
    members: Option<usize>,
}

impl<'a> Rows<'a> {
    /// The same rows for all members.
    pub(crate) fn all(rows: &'a [u32]) -> Self {
        Self { rows, members: None }
    }

    /// A batch for each member in training: for row i of the batch, member m of k sees row i + m
    /// n/k of the n rows, modulo n. A batch is a random part of the rows, so each member's is one
    /// too, and each member sees each row once an epoch.
    pub(super) fn of_members(
        graph: &Graph,
        model: &Mlp,
        data: &Encoded,
        rows: &'a [u32],
        memory: &'a mut Vec<u32>,
    ) -> Self {
        let Some(members) = model.members().filter(|_| graph.training()) else {
            return Self::all(rows);
        };
        let (n, k) = (data.rows as u64, members as u64);
        let own = |&row: &u32| (0..k).map(move |m| ((u64::from(row) + m * n / k) % n) as u32);
        memory.clear();
        memory.extend(rows.iter().flat_map(own));
        Self { rows: memory, members: Some(members) }
    }

    /// The shape of a tensor with a row for each.
    pub(super) fn shape(&self, width: Option<usize>) -> Shape {
        let rows = self.rows.len();
        match (self.members, width) {
            (None, None) => [rows].into(),
            (None, Some(width)) => [rows, width].into(),
            (Some(k), None) => [rows / k, k].into(),
            (Some(k), Some(width)) => [rows / k, k, width].into(),
        }
    }
}

pub(super) fn data_row(data: &Encoded, row: u32) -> &[f32] {
    &data.numeric[row as usize * data.n_numeric..][..data.n_numeric]
}

pub(super) fn tensor(graph: &Graph, shape: Shape, dtype: DType) -> Result<Tensor> {
    Tensor::uninit(graph.device(), shape, dtype).map_err(Error::of(NAME))
}

/// Fills a tensor unless it only belongs to a plan.
pub(super) fn fill<T: ff_tensor::Element>(
    tensor: &mut Tensor,
    write: impl FnOnce(&mut [T]),
) -> Result<()> {
    if !tensor.is_planned() {
        write(tensor.slice_mut::<T>().map_err(Error::of(NAME))?);
    }
    Ok(())
}

/// The texts of a part as tensors, made once: a batch holds their ids alone.
#[derive(Debug, Clone, Default)]
pub(crate) struct TextTensors(Vec<[Tensor; 3]>);

impl TextTensors {
    pub(crate) fn new(device: &Device, data: &Encoded) -> Result<Self> {
        let texts = data.texts.iter().map(|texts| {
            let entries = texts.indices.len();
            Ok([
                Tensor::from_slice(device, &texts.offsets, &[texts.offsets.len()])?,
                Tensor::from_slice(device, &texts.indices, &[entries])?,
                Tensor::from_slice(device, &texts.values, &[entries])?,
            ])
        });
        texts.collect::<ff_tensor::Result<_>>().map(Self).map_err(Error::of(NAME))
    }
}

/// The inputs of some rows.
pub(crate) fn gather_input(
    graph: &Graph,
    data: &Encoded,
    texts: &TextTensors,
    rows: &Rows<'_>,
    unseen: &[bool],
) -> Result<MlpInput> {
    let cpu = graph.device().cpu();
    gather_by(graph, data, texts, rows, unseen, |x| {
        let width = data.n_numeric;
        // Rows lie anywhere in memory: several threads hide its latency.
        for_rows(cpu, rows.rows.len(), 4 * width, [(x, width)], |i, [x]| {
            x.copy_from_slice(data_row(data, rows.rows[i]));
        });
    })
}

/// The inputs of some rows, each changed as it is gathered.
pub(super) fn gather_changed(
    graph: &Graph,
    data: &Encoded,
    texts: &TextTensors,
    rows: &Rows<'_>,
    unseen: &[bool],
    mut change: impl FnMut(usize, &mut [f32]),
) -> Result<MlpInput> {
    gather_by(graph, data, texts, rows, unseen, |x| {
        for (i, (x, &row)) in x.chunks_exact_mut(data.n_numeric).zip(rows.rows).enumerate() {
            x.copy_from_slice(data_row(data, row));
            change(i, x);
        }
    })
}

/// `unseen` marks ids to replace by 0; none where it is empty.
fn gather_by(
    graph: &Graph,
    data: &Encoded,
    texts: &TextTensors,
    rows: &Rows<'_>,
    unseen: &[bool],
    gather: impl FnOnce(&mut [f32]),
) -> Result<MlpInput> {
    let mut input = MlpInput::default();
    if data.n_numeric > 0 {
        let mut x = tensor(graph, rows.shape(Some(data.n_numeric)), DType::F32)?;
        fill::<f32>(&mut x, gather)?;
        input.numeric = Some(graph.input(x));
    }
    let categories = data.n_categorical - data.texts.len();
    for column in 0..data.n_categorical {
        let mut ids = tensor(graph, rows.shape(None), DType::I32)?;
        fill::<i32>(&mut ids, |ids| {
            for (id, &row) in ids.iter_mut().zip(rows.rows) {
                *id = data.categorical[row as usize * data.n_categorical + column];
            }
            if column < categories {
                let unseen = unseen.iter().skip(column).step_by(categories);
                let cells = ids.iter_mut().zip(unseen);
                cells.filter(|(_, unseen)| **unseen).for_each(|(id, _)| *id = 0);
            }
        })?;
        let ids = graph.input(ids);
        if column < categories {
            input.categorical.push(ids);
        } else {
            let entries = texts.0[column - categories].clone();
            let [offsets, indices, values] = entries.map(|tensor| graph.input(tensor));
            input.texts.push(BagInput { ids, offsets, indices, values });
        }
    }
    Ok(input)
}

pub(crate) fn gather_weights(
    graph: &Graph,
    data: &Encoded,
    rows: &Rows<'_>,
) -> Result<Option<Value>> {
    let Some(weights) = &data.weights else { return Ok(None) };
    let mut w = tensor(graph, rows.shape(None), DType::F32)?;
    fill::<f32>(&mut w, |w| {
        w.iter_mut().zip(rows.rows).for_each(|(w, &row)| *w = weights[row as usize]);
    })?;
    Ok(Some(graph.input(w)))
}

pub(super) fn no_target() -> Error {
    Error::shape(NAME, "the rows have no target to compare with")
}

pub(crate) fn gather_target(
    graph: &Graph,
    loss: &Loss,
    data: &Encoded,
    rows: &Rows<'_>,
) -> Result<Value> {
    let target = data.target.as_ref().ok_or_else(no_target)?;
    match (loss.target(), target) {
        (LossTarget::Classes, Target::Class(classes)) => {
            let mut y = tensor(graph, rows.shape(None), DType::I32)?;
            fill::<i32>(&mut y, |y| {
                y.iter_mut().zip(rows.rows).for_each(|(y, &row)| *y = classes[row as usize]);
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Probabilities(width), Target::Class(classes)) => {
            let mut y = tensor(graph, rows.shape(Some(width)), DType::F32)?;
            fill::<f32>(&mut y, |y| {
                for (y, &row) in y.chunks_exact_mut(width).zip(rows.rows) {
                    add_class(y, classes[row as usize], 1.0, true);
                }
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Values, target) => {
            let mut y = tensor(graph, rows.shape(Some(1)), DType::F32)?;
            fill::<f32>(&mut y, |y| {
                y.iter_mut().zip(rows.rows).for_each(|(y, &row)| *y = value(target, row));
            })?;
            Ok(graph.input(y))
        }
        (LossTarget::Classes | LossTarget::Probabilities(_), Target::Value(_)) => {
            Err(Error::shape(
                NAME,
                "this loss needs classes, the target is numbers; use mse, mae or huber",
            ))
        }
    }
}

pub(super) fn value(target: &Target, row: u32) -> f32 {
    match target {
        Target::Class(classes) => classes[row as usize] as f32,
        Target::Value(values) => values[row as usize],
    }
}

/// Adds a class's share to a row of probabilities; a row of one holds the probability of class 1.
pub(super) fn add_class(row: &mut [f32], class: i32, share: f32, fresh: bool) {
    if fresh {
        row.fill(0.0);
    }
    match row {
        [p] => *p += share * class as f32,
        row => row[class as usize] += share,
    }
}
