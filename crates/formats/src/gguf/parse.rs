//! The header of a GGUF file. Nothing is allocated for a count that the file is too short for.

use super::{GgmlType, GgufTensor, GgufValue};
use std::collections::BTreeMap;

pub(super) const MAGIC: [u8; 4] = *b"GGUF";
/// Tensors begin at multiples of this, unless the metadata says otherwise.
const ALIGNMENT: usize = 32;
const MOST_ALIGNMENT: u64 = 1 << 20;
const MOST_DIMS: u32 = 4;
/// Arrays in arrays.
const DEEPEST: usize = 4;
const LONGEST_NAME: usize = 1 << 16;

type Result<T> = std::result::Result<T, String>;
type Header = (BTreeMap<String, GgufValue>, BTreeMap<String, GgufTensor>);

/// Reads the header of a file.
pub(super) fn header(bytes: &[u8]) -> Result<Header> {
    let mut at = Reader { bytes, at: 0 };
    if at.take(4, "the magic number")? != MAGIC {
        return Err("it does not begin with `GGUF`".into());
    }
    match at.u32("the version")? {
        2 | 3 => (),
        version if (2..=3).contains(&version.swap_bytes()) => {
            return Err("it is big-endian, which is not read; convert it to little-endian".into());
        }
        1 => return Err("GGUF version 1 is not read; convert the model again".into()),
        version => return Err(format!("GGUF version {version} is not read; versions 2 and 3 are")),
    }
    // An entry has a name of 8 bytes or more, and another 5 or 24.
    let tensors = at.count(24, "tensors")?;
    let keys = at.count(13, "metadata entries")?;
    let mut metadata = BTreeMap::new();
    for _ in 0..keys {
        let key = at.text("a metadata key")?;
        let kind = at.u32(&key)?;
        let value = at.value(kind, &key, 0)?;
        if metadata.insert(key.clone(), value).is_some() {
            return Err(format!("the metadata key `{key}` is repeated"));
        }
    }
    let alignment = match metadata.get("general.alignment").map(GgufValue::as_u64) {
        None => ALIGNMENT,
        Some(Some(n)) if n.is_power_of_two() && n <= MOST_ALIGNMENT => n as usize,
        _ => return Err("general.alignment is no power of two up to 2^20".into()),
    };
    let mut infos = Vec::new();
    for _ in 0..tensors {
        infos.push(at.tensor()?);
    }
    let start = at.at.next_multiple_of(alignment);
    let mut tensors = BTreeMap::new();
    for (name, mut tensor) in infos {
        let fail = |what: String| Err(format!("tensor `{name}`: {what}"));
        if !tensor.start.is_multiple_of(alignment) {
            return fail(format!("its offset {} is no multiple of {alignment}", tensor.start));
        }
        let end = start.checked_add(tensor.start).and_then(|start| start.checked_add(tensor.bytes));
        if end.is_none_or(|end| end > bytes.len()) {
            return fail(format!(
                "{} bytes at offset {} go past the end of the file, which has {} after its header",
                tensor.bytes,
                tensor.start,
                bytes.len().saturating_sub(start)
            ));
        }
        tensor.start += start;
        if tensors.insert(name.clone(), tensor).is_some() {
            return fail("its name is repeated".into());
        }
    }
    overlaps(&tensors)?;
    Ok((metadata, tensors))
}

fn overlaps(tensors: &BTreeMap<String, GgufTensor>) -> Result<()> {
    let mut places: Vec<_> = tensors.iter().filter(|(_, tensor)| tensor.bytes > 0).collect();
    places.sort_by_key(|(_, tensor)| tensor.start);
    for pair in places.windows(2) {
        let [(a, first), (b, second)] = pair else { continue };
        if first.start + first.bytes > second.start {
            return Err(format!("the tensors `{a}` and `{b}` overlap"));
        }
    }
    Ok(())
}

/// A place in a file; `what` names the thing that is read, for messages.
struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, len: usize, what: &str) -> Result<&'a [u8]> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| {
            let left = rest.len();
            format!("{what}: {len} bytes are expected at {}, and {left} are left", self.at)
        })?;
        self.at += len;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self, what: &str) -> Result<[u8; N]> {
        let bytes = self.take(N, what)?;
        bytes.try_into().map_err(|_| what.to_owned())
    }

    fn u32(&mut self, what: &str) -> Result<u32> {
        self.array(what).map(u32::from_le_bytes)
    }

    fn u64(&mut self, what: &str) -> Result<u64> {
        self.array(what).map(u64::from_le_bytes)
    }

    /// A count of things that take at least `least` bytes each.
    fn count(&mut self, least: usize, what: &str) -> Result<usize> {
        let count = self.u64(what)?;
        let left = self.bytes.len() - self.at;
        let fits = |&n: &usize| n.checked_mul(least).is_some_and(|bytes| bytes <= left);
        usize::try_from(count).ok().filter(fits).ok_or_else(|| {
            format!("the header claims {count} {what}, for which the {left} bytes that are left are too few")
        })
    }

    fn text(&mut self, what: &str) -> Result<String> {
        let len = self.count(1, &format!("bytes of {what}"))?;
        let bytes = self.take(len, what)?;
        String::from_utf8(bytes.to_vec()).map_err(|_| format!("{what} is not UTF-8"))
    }

    fn value(&mut self, kind: u32, key: &str, depth: usize) -> Result<GgufValue> {
        Ok(match kind {
            0 => GgufValue::U8(self.array::<1>(key)?[0]),
            1 => GgufValue::I8(i8::from_le_bytes(self.array(key)?)),
            2 => GgufValue::U16(u16::from_le_bytes(self.array(key)?)),
            3 => GgufValue::I16(i16::from_le_bytes(self.array(key)?)),
            4 => GgufValue::U32(self.u32(key)?),
            5 => GgufValue::I32(i32::from_le_bytes(self.array(key)?)),
            6 => GgufValue::F32(f32::from_le_bytes(self.array(key)?)),
            7 => match self.array::<1>(key)? {
                [flag @ 0..=1] => GgufValue::Bool(flag == 1),
                [other] => return Err(format!("`{key}`: {other} is no truth value")),
            },
            8 => GgufValue::String(self.text(&format!("`{key}`"))?),
            9 if depth < DEEPEST => {
                let kind = self.u32(key)?;
                let least = match kind {
                    0 | 1 | 7 => 1,
                    2 | 3 => 2,
                    4..=6 => 4,
                    9 => 12,
                    _ => 8,
                };
                let len = self.count(least, &format!("values of `{key}`"))?;
                let values = (0..len).map(|_| self.value(kind, key, depth + 1));
                GgufValue::Array(values.collect::<Result<_>>()?)
            }
            9 => return Err(format!("`{key}` has arrays in arrays in arrays")),
            10 => GgufValue::U64(self.u64(key)?),
            11 => GgufValue::I64(i64::from_le_bytes(self.array(key)?)),
            12 => GgufValue::F64(f64::from_le_bytes(self.array(key)?)),
            other => return Err(format!("`{key}` has the unknown type {other}")),
        })
    }

    /// A tensor's entry; its start is the offset from the first tensor.
    fn tensor(&mut self) -> Result<(String, GgufTensor)> {
        let name = self.text("a tensor's name")?;
        if name.len() > LONGEST_NAME {
            return Err(format!("a tensor's name has {} bytes", name.len()));
        }
        let fail = |what: String| Err(format!("tensor `{name}`: {what}"));
        let count = self.u32(&name)?;
        if count > MOST_DIMS {
            return fail(format!("{count} dimensions are more than {MOST_DIMS}"));
        }
        let mut dims = Vec::new();
        for _ in 0..count {
            dims.push(usize::try_from(self.u64(&name)?).unwrap_or(usize::MAX));
        }
        dims.reverse();
        let id = self.u32(&name)?;
        let offset = self.u64(&name)?;
        let Some(dtype) = GgmlType::of(id) else {
            return fail(format!("values of type {id} are not known to this version"));
        };
        let width = dims.last().copied().unwrap_or(1);
        if !width.is_multiple_of(dtype.block()) {
            return fail(format!(
                "rows of {width} values are no blocks of {} ({dtype})",
                dtype.block()
            ));
        }
        let values = dims.iter().try_fold(1usize, |all, &dim| all.checked_mul(dim));
        let bytes = values.and_then(|n| (n / dtype.block()).checked_mul(dtype.bytes()));
        let (Some(bytes), Ok(start)) = (bytes, usize::try_from(offset)) else {
            return fail(format!("the shape {dims:?} is too large"));
        };
        Ok((name, GgufTensor { dims, dtype, start, bytes }))
    }
}
