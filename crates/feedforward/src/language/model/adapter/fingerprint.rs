//! Which weights an adapter belongs to.

use super::names::is_adapter;
use crate::error::Result;
use ff_graph::{ParamId, Params, Segment};
use ff_kernels::file_rows;
use ff_tensor::{Device, DeviceOptions};
use xxhash_rust::xxh3::Xxh3;

/// XXH3-128 of the base model's parameters, which an adapter belongs to.
pub(crate) fn fingerprint(params: &Params) -> Result<String> {
    const CHUNK: usize = 1 << 14;
    let device = Device::open(DeviceOptions { threads: 1, isa: None })?;
    let mut hasher = Xxh3::new();
    let mut bytes = Vec::with_capacity(4 * CHUNK);
    for (id, info) in params.iter() {
        let name = &info.spec.name;
        if is_adapter(name) {
            continue;
        }
        hasher.update(name.as_bytes());
        each_row(params, id, &device, &mut |values| {
            for values in values.chunks(CHUNK) {
                bytes.clear();
                bytes.extend(values.iter().flat_map(|value| value.to_le_bytes()));
                hasher.update(&bytes);
            }
        })?;
    }
    Ok(format!("{:032x}", hasher.digest128()))
}

/// Gives all values of a parameter in order, row by row where it is in the form of its file.
pub(super) fn each_row(
    params: &Params,
    id: ParamId,
    device: &Device,
    each: &mut dyn FnMut(&[f32]),
) -> Result<()> {
    if params.info(id).spec.segment != Segment::File {
        each(params.values::<f32>(id)?);
        return Ok(());
    }
    if let Some(matrix) = params.view(id).file() {
        let mut row = vec![0.0; matrix.cols()];
        for i in 0..matrix.rows() {
            file_rows(device.cpu(), matrix, i..i + 1, &mut row);
            each(&row);
        }
    }
    Ok(())
}
