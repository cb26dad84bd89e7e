//! Images in another size: each dimension on its own, as weighted sums of neighbours.

use super::super::data::Data;
use super::super::session::{Call, Outcome, axis, ints};
use super::super::tensor::{Tensor, count};
use super::shape::{floats, tensor};
use super::walk::around;
use super::{Operator, op, single};

pub(super) const OPS: &[Operator] = &[
    op(
        "Resize",
        &[
            "antialias",
            "axes",
            "coordinate_transformation_mode",
            "cubic_coeff_a",
            "exclude_outside",
            "extrapolation_value",
            "keep_aspect_ratio_policy",
            "mode",
            "nearest_mode",
        ],
        resize,
    ),
    op("Upsample", &["mode", "scales"], |c| {
        let scales = match (c.get(1), c.attribute("scales")) {
            (Some(scales), _) => floats(scales)?.0,
            (None, Some(super::super::session::Attribute::Floats(scales))) => {
                scales.iter().map(|&s| f64::from(s)).collect()
            }
            _ => return Err("its scales are missing".into()),
        };
        let x = c.input(0)?;
        let rank = x.dims().len();
        if scales.len() != rank {
            return Err(format!(
                "{} scales are not one for each of {rank} dimensions",
                scales.len()
            ));
        }
        let axes: Vec<Axis> =
            (0..rank).map(|i| Axis::scaled(i, x.dims()[i], scales[i])).collect::<Result<_, _>>()?;
        let how = How { transformation: "asymmetric", nearest: "floor", ..How::new(c)? };
        apply(c, x, &axes, &how)
    }),
];

/// A dimension that changes.
struct Axis {
    at: usize,
    from: usize,
    to: usize,
    scale: f64,
    region: [f64; 2],
}

impl Axis {
    fn scaled(at: usize, from: usize, scale: f64) -> Result<Self, String> {
        let to = (from as f64 * scale).floor();
        if !(scale > 0.0 && to < super::super::tensor::MOST as f64) {
            return Err(format!("{scale} is no scale"));
        }
        Ok(Self { at, from, to: to as usize, scale, region: [0.0, 1.0] })
    }
}

/// What the attributes say.
struct How<'a> {
    mode: &'a str,
    transformation: &'a str,
    nearest: &'a str,
    cubic: f64,
    antialias: bool,
    exclude: bool,
    outside: f64,
}

impl<'a> How<'a> {
    fn new(c: &'a Call<'_>) -> Result<Self, String> {
        let default = if c.opset() < 11 { "asymmetric" } else { "half_pixel" };
        let nearest = if c.opset() < 11 { "floor" } else { "round_prefer_floor" };
        Ok(Self {
            mode: c.text("mode", "nearest")?,
            transformation: c.text("coordinate_transformation_mode", default)?,
            nearest: c.text("nearest_mode", nearest)?,
            cubic: c.float("cubic_coeff_a", -0.75)?,
            antialias: c.int("antialias", 0)? != 0,
            exclude: c.int("exclude_outside", 0)? != 0,
            outside: c.float("extrapolation_value", 0.0)?,
        })
    }

    /// Where a position of the result lies in the image.
    fn place(&self, a: &Axis, x: f64) -> Result<f64, String> {
        let (from, to) = (a.from as f64, a.to as f64);
        let half = (x + 0.5) / a.scale - 0.5;
        Ok(match self.transformation {
            "half_pixel" => half,
            "pytorch_half_pixel" => {
                if a.to > 1 {
                    half
                } else {
                    0.0
                }
            }
            "half_pixel_symmetric" => {
                let exact = from * a.scale;
                from / 2.0 * (1.0 - to / exact) + half
            }
            // The result's size before it is rounded, as in the standard.
            "align_corners" if from * a.scale > 1.0 => x * (from - 1.0) / (from * a.scale - 1.0),
            "align_corners" => 0.0,
            "asymmetric" => x / a.scale,
            "tf_half_pixel_for_nn" => (x + 0.5) / a.scale,
            "tf_crop_and_resize" => {
                let [start, end] = a.region;
                if a.to > 1 {
                    start * (from - 1.0) + x * (end - start) * (from - 1.0) / (to - 1.0)
                } else {
                    0.5 * (start + end) * (from - 1.0)
                }
            }
            other => {
                return Err(format!(
                    "its attribute `coordinate_transformation_mode` is `{other}`, which is none of the standard's"
                ));
            }
        })
    }

    /// The neighbours of a place and their weights; no one outside of a region.
    fn weights(&self, a: &Axis, x: f64) -> Result<Option<Vec<(usize, f64)>>, String> {
        let place = self.place(a, x)?;
        let last = a.from as f64 - 1.0;
        if self.transformation == "tf_crop_and_resize" && !(0.0..=last).contains(&place) {
            return Ok(None);
        }
        let clamped = |i: f64| i.clamp(0.0, last) as usize;
        if self.mode == "nearest" {
            let nearest = match self.nearest {
                "round_prefer_floor" => (place - 0.5).ceil(),
                "round_prefer_ceil" => (place + 0.5).floor(),
                "floor" => place.floor(),
                "ceil" => place.ceil(),
                other => {
                    return Err(format!(
                        "its attribute `nearest_mode` is `{other}`, which is none of the standard's"
                    ));
                }
            };
            return Ok(Some(vec![(clamped(nearest), 1.0)]));
        }
        let scale = if self.antialias { a.scale.min(1.0) } else { 1.0 };
        let reach = match self.mode {
            "linear" => 1.0,
            "cubic" => 2.0,
            other => {
                return Err(format!(
                    "its attribute `mode` is `{other}`, which is none of the standard's"
                ));
            }
        };
        if reach / scale * a.to as f64 > super::super::tensor::MOST as f64 {
            return Err(format!("a scale of {} takes too many neighbours", a.scale));
        }
        let cubic = |d: f64| {
            let (d, k) = (d.abs(), self.cubic);
            if d <= 1.0 {
                ((k + 2.0) * d - (k + 3.0)) * d * d + 1.0
            } else if d < 2.0 {
                ((k * d - 5.0 * k) * d + 8.0 * k) * d - 4.0 * k
            } else {
                0.0
            }
        };
        // The place itself counts to its left neighbour.
        let base = place.ceil() - 1.0;
        let start = (-reach / scale).floor() as i64 + 1;
        let mut found: Vec<(f64, f64)> = (start..2 - start)
            .map(|i| {
                let at = base + i as f64;
                let d = (at - place) * scale;
                (at, if reach == 1.0 { (1.0 - d.abs()).max(0.0) } else { cubic(d) })
            })
            .collect();
        if self.exclude {
            found.retain(|(at, _)| (0.0..=last).contains(at));
        }
        let total: f64 = found.iter().map(|(_, w)| w).sum();
        Ok(Some(found.into_iter().map(|(at, w)| (clamped(at), w / total)).collect()))
    }
}

fn resize(c: &Call<'_>) -> Outcome {
    let x = c.input(0)?;
    let rank = x.dims().len();
    let axes: Vec<usize> = match c.ints("axes")? {
        Some(axes) => axes.into_iter().map(|a| axis(a, rank)).collect::<Result<_, _>>()?,
        None => (0..rank).collect(),
    };
    if let Some((_, a)) = axes.iter().enumerate().find(|(i, a)| axes[..*i].contains(a)) {
        return Err(format!("it names dimension {a} twice"));
    }
    let old = c.opset() < 11;
    let given = |i: usize| c.get(i).filter(|x| !x.data().is_empty());
    let (scales, sizes) = if old { (given(1), None) } else { (given(2), given(3)) };
    let fits = |n: usize| {
        let message = || format!("{n} sizes are not one for each of {} dimensions", axes.len());
        if n == axes.len() { Ok(()) } else { Err(message()) }
    };
    let mut all: Vec<Axis> = match (scales, sizes) {
        (Some(scales), None) => {
            let (scales, _) = floats(scales)?;
            fits(scales.len())?;
            let pairs = axes.iter().zip(scales);
            pairs.map(|(&a, s)| Axis::scaled(a, x.dims()[a], s)).collect::<Result<_, _>>()?
        }
        (None, Some(sizes)) => {
            let sizes = super::shape::sizes(&ints(sizes)?)?;
            fits(sizes.len())?;
            let pairs = axes.iter().zip(sizes);
            pairs
                .map(|(&axis, to)| {
                    let from = x.dims()[axis];
                    Axis { at: axis, from, to, scale: to as f64 / from as f64, region: [0.0, 1.0] }
                })
                .collect()
        }
        _ => return Err("either its scales or its sizes are expected".into()),
    };
    if sizes.is_some() {
        let scales = all.iter().map(|a| a.scale);
        let common = match c.text("keep_aspect_ratio_policy", "stretch")? {
            "stretch" => None,
            "not_larger" => Some(scales.fold(f64::INFINITY, f64::min)),
            "not_smaller" => Some(scales.fold(0.0, f64::max)),
            other => {
                return Err(format!(
                    "its attribute `keep_aspect_ratio_policy` is `{other}`, which is none of the standard's"
                ));
            }
        };
        if let Some(scale) = common {
            for a in &mut all {
                (a.scale, a.to) = (scale, (scale * a.from as f64 + 0.5).floor() as usize);
            }
        }
    }
    let how = How::new(c)?;
    if how.transformation == "tf_crop_and_resize" {
        let (region, _) = floats(given(1).ok_or("its region is missing")?)?;
        if region.len() != 2 * all.len() {
            return Err("its region has not two numbers for each dimension".into());
        }
        let n = all.len();
        for (i, a) in all.iter_mut().enumerate() {
            a.region = [region[i], region[n + i]];
        }
    }
    apply(c, x, &all, &how)
}

fn apply(c: &Call<'_>, x: &Tensor, axes: &[Axis], how: &How<'_>) -> Outcome {
    let mut dims = x.dims().to_vec();
    for a in axes {
        dims[a.at] = a.to;
    }
    let n = count(&dims)?;
    if x.data().is_empty() && n > 0 {
        return Err("an image without elements has no other size".into());
    }
    if n == 0 {
        return Ok(vec![Tensor::of(&dims, x.dtype().zeros(0))?]);
    }
    // Elements that only move keep their type.
    let mut moved = x.clone();
    let mut sums: Option<Vec<f64>> = None;
    let mut shape = x.dims().to_vec();
    for a in axes {
        if a.from == a.to && a.scale == 1.0 && how.transformation != "tf_crop_and_resize" {
            continue;
        }
        let weights: Vec<Option<Vec<(usize, f64)>>> =
            (0..a.to).map(|i| how.weights(a, i as f64)).collect::<Result<_, _>>()?;
        let [outer, from, inner] = around(&shape, a.at);
        shape[a.at] = a.to;
        let total = count(&shape)?;
        if how.mode == "nearest" && how.transformation != "tf_crop_and_resize" {
            let places: Vec<usize> =
                weights.iter().map(|w| w.as_ref().map_or(0, |w| w[0].0)).collect();
            if let (Data::F32(v), 1) = (moved.data(), inner) {
                moved = Tensor::of(&shape, single::picked(c, v, from, &places).into())?;
                continue;
            }
            let starts: Vec<usize> = (0..outer)
                .flat_map(|o| places.iter().map(move |i| (o * from + i) * inner))
                .collect();
            moved = Tensor::of(&shape, moved.data().runs(&starts, inner, c.pool()))?;
            continue;
        }
        let values = match sums {
            Some(values) => values,
            None => floats(&moved)?.0,
        };
        let mut y = vec![0.0; total];
        let mut rows = y.chunks_exact_mut(inner.max(1));
        for o in 0..outer {
            for (weights, row) in weights.iter().zip(&mut rows) {
                let Some(weights) = weights else {
                    row.fill(how.outside);
                    continue;
                };
                for &(i, w) in weights {
                    let from = &values[(o * from + i) * inner..][..inner];
                    row.iter_mut().zip(from).for_each(|(y, x)| *y += w * x);
                }
            }
        }
        sums = Some(y);
    }
    Ok(vec![match sums {
        Some(values) => tensor(&dims, x.dtype(), values)?,
        None => moved,
    }])
}
