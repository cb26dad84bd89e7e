//! A window over images, as the attributes of convolutions and pooling state it.

use super::super::session::Call;
use super::super::tensor::{MOST, count};
use super::shape::indices;
use super::walk::strides;

/// A window that slides over the dimensions behind the first two.
pub(super) struct Window {
    /// Of the image.
    pub(super) size: Vec<usize>,
    pub(super) kernel: Vec<usize>,
    pub(super) stride: Vec<usize>,
    pub(super) dilation: Vec<usize>,
    /// Before the image.
    pub(super) before: Vec<i64>,
    /// Before and behind it.
    padding: Vec<[i64; 2]>,
    /// Of the result.
    pub(super) out: Vec<usize>,
}

impl Window {
    pub(super) fn new(
        c: &Call<'_>,
        dims: &[usize],
        kernel: Option<&[usize]>,
    ) -> Result<Self, String> {
        let size = dims
            .get(2..)
            .filter(|size| !size.is_empty())
            .ok_or("images of channels are expected")?
            .to_vec();
        let n = size.len();
        let list = |name: &str, default: i64, n: usize| -> Result<Vec<i64>, String> {
            let found = c.ints(name)?.unwrap_or_else(|| vec![default; n]);
            if found.len() == n {
                Ok(found)
            } else {
                Err(format!("its attribute `{name}` has not {n} numbers"))
            }
        };
        let positive = |values: Vec<i64>| -> Result<Vec<usize>, String> {
            let sizes: Option<Vec<usize>> = values
                .iter()
                .map(|&x| usize::try_from(x).ok().filter(|x| (1..1 << 24).contains(x)))
                .collect();
            sizes.ok_or_else(|| format!("{values:?} are no sizes"))
        };
        let stated = c.ints("kernel_shape")?.map(positive).transpose()?;
        let kernel = match (stated, kernel) {
            (Some(stated), Some(kernel)) if stated != kernel => {
                return Err(format!("the kernel has the shape {kernel:?}, not {stated:?}"));
            }
            (_, Some(kernel)) => kernel.to_vec(),
            (Some(stated), None) => stated,
            (None, None) => return Err("its attribute `kernel_shape` is missing".into()),
        };
        let (stride, dilation) =
            (positive(list("strides", 1, n)?)?, positive(list("dilations", 1, n)?)?);
        if kernel.contains(&0) {
            return Err(format!("a window of shape {kernel:?} has no elements"));
        }
        if kernel.len() != n {
            return Err(format!("a window of {} dimensions over {n}", kernel.len()));
        }
        let pads = list("pads", 0, 2 * n)?;
        if pads.iter().any(|p| !(0..1 << 24).contains(p)) {
            return Err(format!("pads of {pads:?} are out of range"));
        }
        let mut padding: Vec<[i64; 2]> = (0..n).map(|i| [pads[i], pads[n + i]]).collect();
        let auto = c.text("auto_pad", "NOTSET")?;
        let ceil = c.int("ceil_mode", 0)? != 0;
        let mut out = Vec::with_capacity(n);
        for i in 0..n {
            let (d, s) = (size[i] as i64, stride[i] as i64);
            let span = (dilation[i] * (kernel[i] - 1)) as i64 + 1;
            match auto {
                "SAME_UPPER" | "SAME_LOWER" => {
                    let pad = ((d.div_euclid(s) + i64::from(d % s != 0) - 1) * s + span - d).max(0);
                    let (less, more) = (pad / 2, pad - pad / 2);
                    padding[i] = if auto == "SAME_UPPER" { [less, more] } else { [more, less] };
                }
                "VALID" => padding[i] = [0, 0],
                "NOTSET" => {}
                other => {
                    return Err(format!(
                        "its attribute `auto_pad` is `{other}`, which is none of the standard's"
                    ));
                }
            }
            let room = d + padding[i][0] + padding[i][1] - span;
            let mut steps = if ceil && auto == "NOTSET" {
                (room + s - 1).div_euclid(s)
            } else {
                room.div_euclid(s)
            } + 1;
            // The last window starts within the image or before it.
            if ceil && (steps - 1) * s >= d + padding[i][0] {
                steps -= 1;
            }
            out.push(
                usize::try_from(steps)
                    .map_err(|_| format!("a window of {span} is larger than the image of {d}"))?,
            );
        }
        if count(&out)?.saturating_mul(count(&kernel)?) > MOST {
            return Err(format!("windows of {kernel:?} at {out:?} places are too many"));
        }
        Ok(Self {
            size,
            kernel,
            stride,
            dilation,
            before: padding.iter().map(|p| p[0]).collect(),
            padding,
            out,
        })
    }

    /// For each position of the result, the places of the image in its window: the number within
    /// the kernel and the position in the image.
    pub(super) fn places(&self) -> Vec<Vec<(usize, usize)>> {
        let own = strides(&self.size);
        let within: Vec<Vec<usize>> = indices(&self.kernel).collect();
        indices(&self.out)
            .map(|at| {
                let place = |index: &Vec<usize>| {
                    (0..at.len()).try_fold(0usize, |sum, i| {
                        let x = (at[i] * self.stride[i] + index[i] * self.dilation[i]) as i64
                            - self.before[i];
                        let x = usize::try_from(x).ok().filter(|&x| x < self.size[i])?;
                        Some(sum + x * own[i] as usize)
                    })
                };
                within
                    .iter()
                    .enumerate()
                    .filter_map(|(k, index)| Some((k, place(index)?)))
                    .collect()
            })
            .collect()
    }

    /// The places of each window, padding included but what `ceil_mode` adds behind it.
    pub(super) fn padded(&self) -> Vec<usize> {
        indices(&self.out)
            .map(|at| {
                (0..at.len())
                    .map(|i| {
                        let end = self.size[i] as i64 + self.padding[i][1];
                        let start = (at[i] * self.stride[i]) as i64 - self.before[i];
                        (0..self.kernel[i])
                            .filter(|k| start + ((k * self.dilation[i]) as i64) < end)
                            .count()
                    })
                    .product()
            })
            .collect()
    }
}
