//! The transforms as nodes: gaps filled, numbers scaled, categories and dates as numbers.

pub(super) mod single;
mod text;
mod words;

use super::{attribute, constant};
use crate::error::Result;
use ff_interop::onnx::{DType, GraphBuilder, Tensor};
use ff_table::{
    BooleanEncoder, CategoryEncoder, Coding, DateEncoder, Encoder, NumberEncoder, SMOOTH, Scaler,
    Transforms,
};

/// What the columns become.
pub(super) struct Features {
    /// The numbers of a row `[N, n_numeric]`, if there are any.
    pub(super) numeric: Option<String>,
    /// The ids of each category with an embedding `[N]`.
    pub(super) ids: Vec<String>,
    /// The weights of each text's n-grams `[N, n-grams]`.
    pub(super) texts: Vec<String>,
}

/// Columns of numbers that were computed together.
struct Piece {
    name: String,
    width: usize,
}

/// The graph, and the numbers so far.
struct Encoding<'a> {
    graph: &'a mut GraphBuilder,
    pieces: Vec<Piece>,
    width: usize,
    /// Where each number of a row is among those of the pieces.
    order: Vec<usize>,
}

/// Makes an input of each column.
pub(super) fn inputs(graph: &mut GraphBuilder, transforms: &Transforms) -> Vec<String> {
    let input = |column: &ff_table::ColumnTransform| {
        let (dtype, about) = input_of(&column.encoder);
        graph.input(&column.name, dtype, &[None, Some(1)], &about)
    };
    transforms.columns.iter().map(input).collect()
}

/// Makes the features of the inputs, one for each column.
pub(super) fn encode(
    graph: &mut GraphBuilder,
    transforms: &Transforms,
    inputs: &[String],
) -> Result<Features> {
    let mut at =
        Encoding { graph, pieces: Vec::new(), width: 0, order: vec![0; transforms.n_numeric()] };
    let ranges = transforms.feature_ranges();
    let mut numbers = Vec::new();
    let (mut ids, mut texts) = (Vec::new(), Vec::new());
    for ((column, input), range) in transforms.columns.iter().zip(inputs).zip(&ranges) {
        let start = range.numeric.start;
        match &column.encoder {
            Encoder::Number(encoder) => numbers.push((input.as_str(), encoder, start)),
            Encoder::Boolean(encoder) => at.boolean(input, encoder, start)?,
            Encoder::Date(encoder) => at.date(input, encoder, start)?,
            Encoder::Category(encoder) => {
                let id = at.category(input, encoder, &transforms.null_values)?;
                match encoder.coding {
                    Coding::Embedding => ids.push(id),
                    Coding::OneHot => at.one_hot(input, &id, encoder, start)?,
                }
            }
            Encoder::Text(encoder) => texts.push(text::weights(at.graph, input, encoder)?),
        }
    }
    at.numbers(&numbers)?;
    Ok(Features { numeric: at.joined()?, ids, texts })
}

/// The type of a column's input, and what it takes.
fn input_of(encoder: &Encoder) -> (DType, String) {
    let numbers = encoder.takes_numbers();
    let dtype = if numbers { DType::F64 } else { DType::Text };
    let about = match encoder {
        Encoder::Number(_) => "a number; NaN is missing".into(),
        Encoder::Boolean(e) if numbers => format!("{} or {}; NaN is missing", e.no, e.yes),
        Encoder::Boolean(e) => format!("`{}` or `{}`; an empty text is missing", e.no, e.yes),
        Encoder::Date(_) => "seconds since 1970-01-01T00:00; NaN is missing".into(),
        Encoder::Category(_) if numbers => "a category that is a number; NaN is missing".into(),
        Encoder::Category(_) => {
            "a category without spaces around it; an empty text is missing".into()
        }
        Encoder::Text(_) => "a text; an empty one is missing".into(),
    };
    (dtype, about)
}

impl Encoding<'_> {
    /// Adds numbers `[N, width]`, of which the first belongs at `start` of a row, and so on.
    fn add(&mut self, name: String, places: &[usize]) {
        for (i, &place) in places.iter().enumerate() {
            self.order[place] = self.width + i;
        }
        self.width += places.len();
        self.pieces.push(Piece { name, width: places.len() });
    }

    /// All numbers in the order of a row.
    fn joined(self) -> Result<Option<String>> {
        let graph = self.graph;
        if self.pieces.iter().all(|piece| piece.width == 0) {
            return Ok(None);
        }
        let names: Vec<&str> = self.pieces.iter().map(|piece| piece.name.as_str()).collect();
        let all = match names[..] {
            [one] => one.to_owned(),
            _ => graph.node_with("Concat", "features/pieces", &names, &[attribute::int("axis", 1)]),
        };
        if self.order.iter().copied().eq(0..self.width) {
            return Ok(Some(all));
        }
        let order: Vec<i64> = self.order.iter().map(|&i| i as i64).collect();
        let order = constant(graph, "features/order", &[order.len()], order)?;
        Ok(Some(graph.node_with(
            "Gather",
            "features",
            &[&all, &order],
            &[attribute::int("axis", 1)],
        )))
    }

    fn node(&mut self, operator: &str, name: &str, inputs: &[&str]) -> String {
        self.graph.node(operator, name, inputs)
    }

    fn cast(&mut self, x: &str, to: DType, name: &str) -> String {
        self.graph.node_with("Cast", name, &[x], &[attribute::int("to", i64::from(to.code()))])
    }

    /// A double that broadcasts.
    fn value(&mut self, name: &str, x: f64) -> Result<String> {
        constant(self.graph, name, &[], vec![x])
    }

    /// A row of doubles.
    fn row(&mut self, name: &str, values: Vec<f64>) -> Result<String> {
        constant(self.graph, name, &[1, values.len()], values)
    }

    /// All columns of numbers at once, with the column's input, its encoder and its place in a row.
    fn numbers(&mut self, columns: &[(&str, &NumberEncoder, usize)]) -> Result<()> {
        if columns.is_empty() {
            return Ok(());
        }
        let names: Vec<&str> = columns.iter().map(|(input, _, _)| *input).collect();
        let x = match names[..] {
            [one] => one.to_owned(),
            _ => {
                self.graph.node_with("Concat", "numbers/raw", &names, &[attribute::int("axis", 1)])
            }
        };
        let of = |f: &dyn Fn(&NumberEncoder) -> f64| {
            columns.iter().map(|(_, e, _)| f(e)).collect::<Vec<_>>()
        };
        // Missing: NaN, infinite, a number that stands for nothing, or one without a logarithm.
        let nan = self.node("IsNaN", "numbers/is_nan", &[&x]);
        let infinite = self.node("IsInf", "numbers/is_infinite", &[&x]);
        let mut missing = self.node("Or", "numbers/not_finite", &[&nan, &infinite]);
        let size = self.node("Abs", "numbers/size", &[&x]);
        let single = self.cast(&size, DType::F32, "numbers/size_single");
        for (name, value) in [("largest_single", f32::MAX), ("fill_of_netcdf", 9.969_21e36)] {
            let value = constant(self.graph, &format!("numbers/{name}"), &[], vec![value])?;
            let same = self.node("Equal", &format!("numbers/is_{name}"), &[&single, &value]);
            missing = self.node("Or", &format!("numbers/or_{name}"), &[&missing, &same]);
        }
        let largest = self.value("numbers/largest", f64::MAX)?;
        let same = self.node("Equal", "numbers/is_largest", &[&size, &largest]);
        missing = self.node("Or", "numbers/or_largest", &[&missing, &same]);
        let logs = columns.iter().any(|(_, e, _)| e.log);
        if logs {
            let bound = self
                .row("numbers/log_bound", of(&|e| if e.log { -1.0 } else { f64::NEG_INFINITY }))?;
            let below = self.node("LessOrEqual", "numbers/has_no_log", &[&x, &bound]);
            missing = self.node("Or", "numbers/missing", &[&missing, &below]);
        }
        let low = self.row("numbers/low", of(&|e| e.bounds()[0]))?;
        let high = self.row("numbers/high", of(&|e| e.bounds()[1]))?;
        let fill = self.row("numbers/fill", of(&|e| e.fill))?;
        let within = self.node("Max", "numbers/above_low", &[&x, &low]);
        let within = self.node("Min", "numbers/within", &[&within, &high]);
        let mut filled = self.node("Where", "numbers/filled", &[&missing, &fill, &within]);
        if logs {
            let one = self.value("numbers/one", 1.0)?;
            let mask: Vec<bool> = columns.iter().map(|(_, e, _)| e.log).collect();
            let mask = constant(self.graph, "numbers/log", &[1, mask.len()], mask)?;
            let plus = self.node("Add", "numbers/plus_one", &[&filled, &one]);
            let log = self.node("Log", "numbers/log_plus_one", &[&plus]);
            filled = self.node("Where", "numbers/or_log", &[&mask, &log, &filled]);
        }
        let linear = |scaler: &Scaler| match *scaler {
            Scaler::Linear { shift, scale } | Scaler::Smooth { shift, scale } => [shift, scale],
            _ => [0.0, 1.0],
        };
        let shift = self.row("numbers/shift", of(&|e| linear(&e.scaler)[0]))?;
        let scale = self.row("numbers/scale", of(&|e| linear(&e.scaler)[1]))?;
        let y = self.node("Sub", "numbers/shifted", &[&filled, &shift]);
        let mut y = self.node("Div", "numbers/scaled", &[&y, &scale]);
        if columns.iter().any(|(_, e, _)| matches!(e.scaler, Scaler::Smooth { .. })) {
            y = self.smooth(&y, columns)?;
        }
        if columns.iter().any(|(_, e, _)| matches!(e.scaler, Scaler::Quantile { .. })) {
            y = self.quantiles(&y, columns)?;
        }
        let limit = |e: &NumberEncoder| e.clip.unwrap_or(f64::from(f32::MAX));
        let (least, most) =
            (self.row("numbers/least", of(&|e| -limit(e)))?, self.row("numbers/most", of(&limit))?);
        let y = self.node("Max", "numbers/above_least", &[&y, &least]);
        let y = self.node("Min", "numbers/clipped", &[&y, &most]);
        let y = self.cast(&y, DType::F32, "numbers");
        let places: Vec<usize> = columns.iter().map(|(_, _, start)| *start).collect();
        self.add(y, &places);
        // Flags of the columns that have one.
        let flagged: Vec<usize> = (0..columns.len()).filter(|&i| columns[i].1.flag).collect();
        if !flagged.is_empty() {
            let index: Vec<i64> = flagged.iter().map(|&i| i as i64).collect();
            let index = constant(self.graph, "numbers/flagged", &[index.len()], index)?;
            let flags = self.graph.node_with(
                "Gather",
                "numbers/gaps",
                &[&missing, &index],
                &[attribute::int("axis", 1)],
            );
            let flags = self.cast(&flags, DType::F32, "numbers/flags");
            let places: Vec<usize> = flagged.iter().map(|&i| columns[i].2 + 1).collect();
            self.add(flags, &places);
        }
        Ok(())
    }

    /// z / √(1 + z²/9) in the columns that are scaled so, and the others as they are.
    fn smooth(&mut self, z: &str, columns: &[(&str, &NumberEncoder, usize)]) -> Result<String> {
        let is = |e: &NumberEncoder| matches!(e.scaler, Scaler::Smooth { .. });
        let bound = columns.iter().map(|(_, e, _)| if is(e) { SMOOTH } else { f64::INFINITY });
        let bound = self.row("numbers/smooth_bound", bound.collect())?;
        let one = self.value("numbers/smooth_one", 1.0)?;
        let part = self.node("Div", "numbers/smooth_part", &[z, &bound]);
        let square = self.node("Mul", "numbers/smooth_square", &[&part, &part]);
        let sum = self.node("Add", "numbers/smooth_sum", &[&square, &one]);
        let root = self.node("Sqrt", "numbers/smooth_root", &[&sum]);
        Ok(self.node("Div", "numbers/smooth", &[z, &root]))
    }

    /// Columns with quantiles, one by one, and the others as they are.
    fn quantiles(&mut self, y: &str, columns: &[(&str, &NumberEncoder, usize)]) -> Result<String> {
        let mut parts = Vec::new();
        for (i, (input, encoder, _)) in columns.iter().enumerate() {
            let name = |part: &str| format!("{input}/{part}");
            let index = constant(self.graph, &name("index"), &[1], vec![i as i64])?;
            let x = self.graph.node_with(
                "Gather",
                &name("filled"),
                &[y, &index],
                &[attribute::int("axis", 1)],
            );
            parts.push(match &encoder.scaler {
                Scaler::Quantile { references, normal } => {
                    let rank = self.rank(&x, references, input)?;
                    if *normal { self.normal_quantile(&rank, input)? } else { rank }
                }
                _ => x,
            });
        }
        let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
        Ok(self.graph.node_with(
            "Concat",
            "numbers/with_quantiles",
            &parts,
            &[attribute::int("axis", 1)],
        ))
    }

    /// The rank of `x` `[N, 1]` among references, from 0 to 1: see [`Scaler`].
    fn rank(&mut self, x: &str, references: &[f64], input: &str) -> Result<String> {
        let name = |part: &str| format!("{input}/{part}");
        let last = references.len() - 1;
        let row = self.row(&name("references"), references.to_vec())?;
        let flat = constant(
            self.graph,
            &name("references_flat"),
            &[references.len()],
            references.to_vec(),
        )?;
        let axis = constant(self.graph, &name("axis"), &[1], vec![1i64])?;
        let count = |at: &mut Self, operator: &str, part: &str| {
            let found = at.node(operator, &name(&format!("is_{part}")), &[&row, x]);
            let found = at.cast(&found, DType::F64, &name(&format!("is_{part}_double")));
            at.graph.node("ReduceSum", &name(part), &[&found, &axis])
        };
        let below = count(self, "Less", "below");
        let upto = count(self, "LessOrEqual", "upto");
        let (zero, one, half) = (
            self.value(&name("zero"), 0.0)?,
            self.value(&name("one"), 1.0)?,
            self.value(&name("half"), 0.5)?,
        );
        let end = self.value(&name("last"), last as f64)?;
        // The middle of the ranks that equal references span.
        let sum = self.node("Add", &name("both"), &[&below, &upto]);
        let sum = self.node("Sub", &name("span"), &[&sum, &one]);
        let middle = self.node("Mul", &name("middle"), &[&sum, &half]);
        // Between two references.
        let high = self.node("Min", &name("high_rank"), &[&below, &end]);
        let low = self.node("Sub", &name("low_rank_or_less"), &[&high, &one]);
        let low = self.node("Max", &name("low_rank"), &[&low, &zero]);
        let mut reference = |rank: &str, part: &str| {
            let index = self.cast(rank, DType::I64, &name(&format!("{part}_index")));
            self.node("Gather", &name(part), &[&flat, &index])
        };
        let (a, b) = (reference(&low, "low"), reference(&high, "high"));
        let width = self.node("Sub", &name("width"), &[&b, &a]);
        let equal = self.node("Equal", &name("is_point"), &[&width, &zero]);
        let width = self.node("Where", &name("width_or_one"), &[&equal, &one, &width]);
        let over = self.node("Sub", &name("over"), &[x, &a]);
        let part = self.node("Div", &name("part"), &[&over, &width]);
        let between = self.node("Add", &name("between"), &[&low, &part]);
        let met = self.node("Greater", &name("is_reference"), &[&upto, &below]);
        let place = self.node("Where", &name("place"), &[&met, &middle, &between]);
        let rank = self.node("Div", &name("rank_inside"), &[&place, &end]);
        let (first, most) = (
            self.value(&name("first"), references[0])?,
            self.value(&name("most"), references[last])?,
        );
        let is_first = self.node("LessOrEqual", &name("is_first"), &[x, &first]);
        let is_last = self.node("GreaterOrEqual", &name("is_last"), &[x, &most]);
        let rank = self.node("Where", &name("rank_or_one"), &[&is_last, &one, &rank]);
        Ok(self.node("Where", &name("rank"), &[&is_first, &zero, &rank]))
    }

    /// The quantile of the standard normal distribution: see [`Scaler`].
    fn normal_quantile(&mut self, rank: &str, input: &str) -> Result<String> {
        let name = |part: &str| format!("{input}/{part}");
        let [of_centre, of_near, of_far] = ff_table::NORMAL_QUANTILE;
        let (low, high) =
            (self.value(&name("edge"), 1e-7)?, self.value(&name("other_edge"), 1.0 - 1e-7)?);
        let p = self.node("Max", &name("p_above"), &[rank, &low]);
        let p = self.node("Min", &name("p"), &[&p, &high]);
        let (half, one) = (self.value(&name("p_half"), 0.5)?, self.value(&name("p_one"), 1.0)?);
        let q = self.node("Sub", &name("q"), &[&p, &half]);
        let ratio = |at: &mut Self, r: &str, of: [[f64; 8]; 2], part: &str| -> Result<String> {
            let mut both = Vec::new();
            for (i, coefficients) in of.iter().enumerate() {
                let part = format!("{part}_{}", ["above", "below"][i]);
                let mut sum = at.value(&name(&format!("{part}_7")), coefficients[7])?;
                for k in (0..7).rev() {
                    let c = at.value(&name(&format!("{part}_{k}")), coefficients[k])?;
                    let times = at.node("Mul", &name(&format!("{part}_times_{k}")), &[&sum, r]);
                    sum = at.node("Add", &name(&format!("{part}_sum_{k}")), &[&times, &c]);
                }
                both.push(sum);
            }
            Ok(at.node("Div", &name(part), &[&both[0], &both[1]]))
        };
        // The centre.
        let square = self.node("Mul", &name("q_square"), &[&q, &q]);
        let bound = self.value(&name("centre_bound"), 0.180_625)?;
        let r = self.node("Sub", &name("centre_r"), &[&bound, &square]);
        let c = ratio(self, &r, of_centre, "centre")?;
        let c = self.node("Mul", &name("centre_z"), &[&q, &c]);
        // The tails.
        let other = self.node("Sub", &name("one_minus_p"), &[&one, &p]);
        let tail = self.node("Min", &name("tail"), &[&p, &other]);
        let log = self.node("Log", &name("tail_log"), &[&tail]);
        let log = self.node("Neg", &name("tail_minus_log"), &[&log]);
        let root = self.node("Sqrt", &name("tail_root"), &[&log]);
        let (shift, five) =
            (self.value(&name("tail_shift"), 1.6)?, self.value(&name("tail_five"), 5.0)?);
        let near = self.node("Sub", &name("near_r"), &[&root, &shift]);
        let near = ratio(self, &near, of_near, "near")?;
        let far = self.node("Sub", &name("far_r"), &[&root, &five]);
        let far = ratio(self, &far, of_far, "far")?;
        let is_near = self.node("LessOrEqual", &name("is_near"), &[&root, &five]);
        let z = self.node("Where", &name("tail_size"), &[&is_near, &near, &far]);
        let sign = self.node("Sign", &name("tail_sign"), &[&q]);
        let z = self.node("Mul", &name("tail_z"), &[&z, &sign]);
        let size = self.node("Abs", &name("q_size"), &[&q]);
        let bound = self.value(&name("q_bound"), 0.425)?;
        let central = self.node("LessOrEqual", &name("is_central"), &[&size, &bound]);
        Ok(self.node("Where", &name("z"), &[&central, &c, &z]))
    }

    /// 0 or 1 with gaps filled, and a flag.
    fn boolean(&mut self, input: &str, encoder: &BooleanEncoder, start: usize) -> Result<()> {
        let name = |part: &str| format!("{input}/{part}");
        let mut keys: Vec<(String, f64)> = Vec::new();
        let words = [
            (&*encoder.yes, 1.0),
            (&*encoder.no, 0.0),
            ("1", 1.0),
            ("0", 0.0),
            ("true", 1.0),
            ("false", 0.0),
        ];
        for (word, value) in words {
            for text in cases(word) {
                if !keys.iter().any(|(known, _)| *known == text) {
                    keys.push((text, value));
                }
            }
        }
        let (keys, values) = if Encoder::Boolean(encoder.clone()).takes_numbers() {
            let numbers =
                keys.iter().filter_map(|(text, value)| Some((text.parse().ok()?, *value)));
            let mut known: Vec<(f64, f64)> = Vec::new();
            for (key, value) in numbers {
                if !known.iter().any(|(other, _)| *other == key) {
                    known.push((key, value));
                }
            }
            let (keys, values): (Vec<f64>, Vec<f64>) = known.into_iter().unzip();
            (Tensor::new(&[keys.len()], keys)?, values)
        } else {
            let (keys, values): (Vec<String>, Vec<f64>) = keys.into_iter().unzip();
            (Tensor::new(&[keys.len()], keys)?, values)
        };
        let found = self.lookup(input, &keys, values, f64::NAN, &name("truth"))?;
        let missing = self.node("IsNaN", &name("is_missing"), &[&found]);
        let fill = self.value(&name("fill"), encoder.fill)?;
        let filled = self.node("Where", &name("filled"), &[&missing, &fill, &found]);
        let filled = self.cast(&filled, DType::F32, &name("number"));
        self.add(filled, &[start]);
        if encoder.flag {
            let flag = self.cast(&missing, DType::F32, &name("flag"));
            self.add(flag, &[start + 1]);
        }
        Ok(())
    }

    /// The value of each key, as doubles.
    fn lookup(
        &mut self,
        input: &str,
        keys: &Tensor,
        values: Vec<f64>,
        default: f64,
        name: &str,
    ) -> Result<String> {
        let attributes = [
            attribute::tensor("keys_tensor", keys),
            attribute::tensor("values_tensor", &Tensor::new(&[values.len()], values)?),
            attribute::tensor("default_tensor", &Tensor::new(&[1], vec![default])?),
        ];
        Ok(self.graph.ml_node("LabelEncoder", name, &[input], &attributes))
    }

    /// The ids `[N]` of a category: 0 for rare and unseen values.
    fn category(
        &mut self,
        input: &str,
        encoder: &CategoryEncoder,
        nulls: &[String],
    ) -> Result<String> {
        let name = |part: &str| format!("{input}/{part}");
        let n = encoder.values.len();
        let ids: Vec<f64> = (1..=n).map(|id| id as f64).collect();
        let missing_id = if encoder.missing { n + 1 } else { 0 };
        let ids = if Encoder::Category(encoder.clone()).takes_numbers() {
            let keys: Vec<f64> =
                encoder.values.iter().map(|v| v.parse().unwrap_or(f64::NAN)).collect();
            let found = self.lookup(input, &Tensor::new(&[n], keys)?, ids, 0.0, &name("known"))?;
            let missing = self.node("IsNaN", &name("is_missing"), &[input]);
            let id = self.value(&name("missing_id"), missing_id as f64)?;
            self.node("Where", &name("id_double"), &[&missing, &id, &found])
        } else {
            let mut keys = encoder.values.clone();
            for null in std::iter::once(&String::new()).chain(nulls) {
                let null = null.trim();
                if !keys.iter().any(|key| key == null) {
                    keys.push(null.to_owned());
                }
            }
            let mut ids = ids;
            ids.resize(keys.len(), missing_id as f64);
            self.lookup(input, &Tensor::new(&[keys.len()], keys)?, ids, 0.0, &name("id_double"))?
        };
        let ids = self.cast(&ids, DType::I64, &name("id_column"));
        let flat = constant(self.graph, &name("flat"), &[1], vec![-1i64])?;
        Ok(self.node("Reshape", &name("id"), &[&ids, &flat]))
    }

    /// The row of each id.
    fn one_hot(
        &mut self,
        input: &str,
        id: &str,
        encoder: &CategoryEncoder,
        start: usize,
    ) -> Result<()> {
        let name = |part: &str| format!("{input}/{part}");
        let n = encoder.values.len();
        if !encoder.levels.is_empty() {
            let width = encoder.levels.len();
            let row = |id: usize| {
                let slot = encoder.slot(id);
                encoder.levels.iter().enumerate().map(move |(i, level)| level.at(i, slot))
            };
            let rows: Vec<f32> = (0..n + 2).flat_map(row).collect();
            let rows = constant(self.graph, &name("one_hot_rows"), &[n + 2, width], rows)?;
            let y = self.node("Gather", &name("one_hot"), &[&rows, id]);
            self.add(y, &(start..start + width).collect::<Vec<_>>());
            return Ok(());
        }
        let width = n + usize::from(encoder.rare) + usize::from(encoder.missing);
        let mut rows = vec![0.0f32; (n + 2) * width];
        if encoder.rare {
            rows[n] = 1.0;
        } else {
            rows[..encoder.shares.len()].copy_from_slice(&encoder.shares);
        }
        for i in 0..n {
            rows[(i + 1) * width + i] = 1.0;
        }
        if encoder.missing {
            rows[(n + 2) * width - 1] = 1.0;
        }
        let rows = constant(self.graph, &name("one_hot_rows"), &[n + 2, width], rows)?;
        let y = self.node("Gather", &name("one_hot"), &[&rows, id]);
        self.add(y, &(start..start + width).collect::<Vec<_>>());
        Ok(())
    }

    /// The parts of a moment in seconds since 1970, each scaled.
    fn date(&mut self, input: &str, encoder: &DateEncoder, start: usize) -> Result<()> {
        let name = |part: &str| format!("{input}/{part}");
        let value = |at: &mut Self, x: f64| at.value(&name(&format!("value_{x}")), x);
        let binary =
            |at: &mut Self, operator: &str, x: &str, y: f64, part: &str| -> Result<String> {
                let y = value(at, y)?;
                Ok(at.node(operator, &name(part), &[x, &y]))
            };
        let floor_div = |at: &mut Self, x: &str, y: f64, part: &str| -> Result<String> {
            let quotient = binary(at, "Div", x, y, &format!("{part}_whole"))?;
            Ok(at.node("Floor", &name(part), &[&quotient]))
        };
        let less_times =
            |at: &mut Self, x: &str, y: &str, factor: f64, part: &str| -> Result<String> {
                let product = binary(at, "Mul", y, factor, &format!("{part}_product"))?;
                Ok(at.node("Sub", &name(part), &[x, &product]))
            };
        // Whole microseconds; years from −9999 to 9999.
        let nan = self.node("IsNaN", &name("is_nan"), &[input]);
        let early = binary(self, "Less", input, -377_705_116_800.0, "is_early")?;
        let late = binary(self, "GreaterOrEqual", input, 253_402_300_800.0, "is_late")?;
        let missing = self.node("Or", &name("is_nan_or_early"), &[&nan, &early]);
        let missing = self.node("Or", &name("is_missing"), &[&missing, &late]);
        let zero = value(self, 0.0)?;
        let seconds = self.node("Where", &name("seconds"), &[&missing, &zero, input]);
        let micros = binary(self, "Mul", &seconds, 1e6, "micros_exact")?;
        let micros = self.node("Round", &name("micros"), &[&micros]);
        let days = floor_div(self, &micros, 86_400e6, "days")?;
        let rest = less_times(self, &micros, &days, 86_400e6, "rest")?;
        let hour = binary(self, "Div", &rest, 3_600e6, "hour")?;
        // The civil calendar in eras of 400 years that begin in March (Hinnant, "chrono-compatible
        // low-level date algorithms").
        let z = binary(self, "Add", &days, 719_468.0, "z")?;
        let era = floor_div(self, &z, 146_097.0, "era")?;
        let doe = less_times(self, &z, &era, 146_097.0, "day_of_era")?;
        let (a, b, c) = (
            floor_div(self, &doe, 1460.0, "leap_4")?,
            floor_div(self, &doe, 36_524.0, "leap_100")?,
            floor_div(self, &doe, 146_096.0, "leap_400")?,
        );
        let y = self.node("Sub", &name("less_leap_4"), &[&doe, &a]);
        let y = self.node("Add", &name("plus_leap_100"), &[&y, &b]);
        let y = self.node("Sub", &name("less_leap_400"), &[&y, &c]);
        let yoe = floor_div(self, &y, 365.0, "year_of_era")?;
        let doy = less_times(self, &doe, &yoe, 365.0, "day_of_365")?;
        let four = floor_div(self, &yoe, 4.0, "years_4")?;
        let hundred = floor_div(self, &yoe, 100.0, "years_100")?;
        let doy = self.node("Sub", &name("less_years_4"), &[&doy, &four]);
        let doy = self.node("Add", &name("day_of_year"), &[&doy, &hundred]);
        let five = binary(self, "Mul", &doy, 5.0, "day_times_5")?;
        let five = binary(self, "Add", &five, 2.0, "day_times_5_plus_2")?;
        let mp = floor_div(self, &five, 153.0, "month_from_march")?;
        let month_days = binary(self, "Mul", &mp, 153.0, "month_times_153")?;
        let month_days = binary(self, "Add", &month_days, 2.0, "month_times_153_plus_2")?;
        let month_start = floor_div(self, &month_days, 5.0, "month_start")?;
        let day = self.node("Sub", &name("day_from_0"), &[&doy, &month_start]);
        let day = binary(self, "Add", &day, 1.0, "day")?;
        let (late_month, early_month) = (
            binary(self, "Sub", &mp, 9.0, "month_next_year")?,
            binary(self, "Add", &mp, 3.0, "month_this_year")?,
        );
        let next = binary(self, "GreaterOrEqual", &mp, 10.0, "is_next_year")?;
        let month = self.node("Where", &name("month"), &[&next, &late_month, &early_month]);
        let next = self.cast(&next, DType::F64, &name("next_year"));
        let years = binary(self, "Mul", &era, 400.0, "years_of_eras")?;
        let year = self.node("Add", &name("year_from_march"), &[&yoe, &years]);
        let year = self.node("Add", &name("year"), &[&year, &next]);
        // 1970-01-01 was a Thursday.
        let from_monday = binary(self, "Add", &days, 3.0, "days_from_monday")?;
        let weeks = floor_div(self, &from_monday, 7.0, "weeks")?;
        let weekday = less_times(self, &from_monday, &weeks, 7.0, "weekday")?;
        let angle = binary(self, "Mul", &hour, std::f64::consts::TAU / 24.0, "angle")?;
        let quarter = binary(self, "Add", &angle, std::f64::consts::FRAC_PI_2, "angle_of_cosine")?;
        let since = binary(self, "Div", &seconds, 86_400.0, "days_since_epoch")?;
        let mut places = Vec::new();
        let mut parts = Vec::new();
        for (i, (part, scaler)) in encoder.parts.iter().enumerate() {
            let x = match part.as_str() {
                "year" => year.clone(),
                "month" => month.clone(),
                "day" => day.clone(),
                "weekday" => weekday.clone(),
                "hour" => hour.clone(),
                "hour_sin" => self.node("Sin", &name("hour_sin"), &[&angle]),
                // The sine a quarter later: ONNX Runtime has no cosine of doubles.
                "hour_cos" => self.node("Sin", &name("hour_cos"), &[&quarter]),
                _ => since.clone(),
            };
            let (shift, scale) = match *scaler {
                Scaler::Linear { shift, scale } => (shift, scale),
                _ => (0.0, 1.0),
            };
            let scaled = |part_of: &str| format!("{part}_{part_of}");
            let x = binary(self, "Sub", &x, shift, &scaled("shifted"))?;
            let x = binary(self, "Div", &x, scale, &scaled("scaled"))?;
            let x = self.node("Where", &name(&scaled("filled")), &[&missing, &zero, &x]);
            parts.push(self.cast(&x, DType::F32, &name(&scaled("number"))));
            places.push(start + i);
        }
        for (part, place) in parts.into_iter().zip(places) {
            self.add(part, &[place]);
        }
        if encoder.flag {
            let flag = self.cast(&missing, DType::F32, &name("flag"));
            self.add(flag, &[start + encoder.parts.len()]);
        }
        Ok(())
    }
}

/// A word in any case: every one of a short word, the usual ones of a long word.
fn cases(word: &str) -> Vec<String> {
    let letters: Vec<usize> =
        word.char_indices().filter(|(_, c)| c.is_ascii_alphabetic()).map(|(i, _)| i).collect();
    if letters.len() > 6 {
        let mut title = word.to_ascii_lowercase();
        if let Some(first) = title.get_mut(..1) {
            first.make_ascii_uppercase();
        }
        return vec![word.to_owned(), word.to_ascii_lowercase(), word.to_ascii_uppercase(), title];
    }
    (0..1usize << letters.len())
        .map(|choice| {
            let mut bytes = word.as_bytes().to_vec();
            for (k, &i) in letters.iter().enumerate() {
                bytes[i] = if choice >> k & 1 == 1 {
                    bytes[i].to_ascii_uppercase()
                } else {
                    bytes[i].to_ascii_lowercase()
                };
            }
            String::from_utf8(bytes).unwrap_or_default()
        })
        .collect()
}
