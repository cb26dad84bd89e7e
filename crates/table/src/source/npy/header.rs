//! The header of a NumPy array.

use std::io::Read;
use std::path::Path;

use crate::error::{DataError, Result};

/// An array's shape and elements, and the bytes that its header takes.
pub(in crate::source) struct Array {
    pub(in crate::source) shape: Vec<usize>,
    pub(in crate::source) fortran: bool,
    pub(in crate::source) element: Element,
    pub(in crate::source) offset: u64,
}

/// The type of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::source) enum Element {
    Bool,
    Signed {
        size: usize,
        big: bool,
    },
    Unsigned {
        size: usize,
        big: bool,
    },
    Float {
        size: usize,
        big: bool,
    },
    /// Bytes, zeros at the end left out.
    Bytes {
        size: usize,
    },
    /// Characters of four bytes each.
    Unicode {
        length: usize,
        big: bool,
    },
}

/// NumPy itself refuses headers beyond 10,000 bytes unless told otherwise.
const MAX_HEADER: usize = 1 << 16;

impl Array {
    /// The first dimension; 1 for a single value.
    pub(in crate::source) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// The product of the other dimensions, which was checked to fit.
    pub(in crate::source) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// The bytes of all elements, if they can be counted.
    pub(in crate::source) fn bytes(&self) -> Option<u64> {
        let count = self.rows().checked_mul(self.width())?;
        count
            .checked_mul(self.element.size())
            .filter(|&n| isize::try_from(n).is_ok())
            .map(|n| n as u64)
    }
}

impl Element {
    pub(in crate::source) fn size(self) -> usize {
        match self {
            Self::Bool => 1,
            Self::Signed { size, .. }
            | Self::Unsigned { size, .. }
            | Self::Float { size, .. }
            | Self::Bytes { size } => size,
            Self::Unicode { length, .. } => 4 * length,
        }
    }

    pub(in crate::source) fn big(self) -> bool {
        match self {
            Self::Signed { big, .. }
            | Self::Unsigned { big, .. }
            | Self::Float { big, .. }
            | Self::Unicode { big, .. } => big,
            Self::Bool | Self::Bytes { .. } => false,
        }
    }

    /// Reads a type such as `<f8` or `|S10`.
    fn parse(descr: &str) -> Option<Self> {
        let big = match descr.as_bytes().first()? {
            b'>' => true,
            b'<' | b'|' | b'=' => false,
            _ => return None,
        };
        let kind = *descr.as_bytes().get(1)?;
        let size: usize = descr.get(2..)?.parse().ok()?;
        Some(match (kind, size) {
            (b'b', 1) => Self::Bool,
            (b'i', 1 | 2 | 4 | 8) => Self::Signed { size, big },
            (b'u', 1 | 2 | 4 | 8) => Self::Unsigned { size, big },
            (b'f', 2 | 4 | 8) => Self::Float { size, big },
            (b'S', 1..=1_000_000) => Self::Bytes { size },
            (b'U', 1..=1_000_000) => Self::Unicode { length: size, big },
            _ => return None,
        })
    }
}

impl std::fmt::Display for Element {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Bool => f.write_str("bool"),
            Self::Signed { size, .. } => write!(f, "int{}", 8 * size),
            Self::Unsigned { size, .. } => write!(f, "uint{}", 8 * size),
            Self::Float { size, .. } => write!(f, "float{}", 8 * size),
            Self::Bytes { size } => write!(f, "S{size}"),
            Self::Unicode { length, .. } => write!(f, "U{length}"),
        }
    }
}

/// Reads the magic bytes, the version and the header.
pub(in crate::source) fn read_header(bytes: &mut impl Read, path: &Path) -> Result<Array> {
    let error = |message: String| {
        DataError::format(path, message, "Write it again with numpy.save, without pickled objects.")
    };
    let cut = |_| error("the array ends within its header".into());
    let mut start = [0; 8];
    bytes.read_exact(&mut start).map_err(cut)?;
    if start[..6] != *b"\x93NUMPY" {
        return Err(error("not a NumPy array: it does not begin with \\x93NUMPY".into()));
    }
    let (length, before) = match start[6] {
        1 => {
            let mut length = [0; 2];
            bytes.read_exact(&mut length).map_err(cut)?;
            (usize::from(u16::from_le_bytes(length)), 10)
        }
        2 | 3 => {
            let mut length = [0; 4];
            bytes.read_exact(&mut length).map_err(cut)?;
            (u32::from_le_bytes(length) as usize, 12)
        }
        version => {
            return Err(error(format!("version {version} of the NumPy format is not known")));
        }
    };
    if length > MAX_HEADER {
        return Err(error(format!("a header that claims {length} bytes")));
    }
    let mut text = vec![0; length];
    bytes.read_exact(&mut text).map_err(cut)?;
    let text = std::str::from_utf8(&text).map_err(|_| error("a header that is no text".into()))?;
    let Header { descr, fortran, shape } = Header::parse(text)
        .ok_or_else(|| error(format!("a header that cannot be read: {}", text.trim())))?;
    let Some(element) = Element::parse(&descr) else {
        let what = match descr.get(1..2) {
            Some("O") => "Python objects, which only Python can read".into(),
            Some("c") => "complex numbers".into(),
            _ => format!("elements of type `{descr}`"),
        };
        return Err(error(format!("the array holds {what}")));
    };
    let array = Array { shape, fortran, element, offset: before + length as u64 };
    let width = array.shape.iter().skip(1).try_fold(1usize, |n, &m| n.checked_mul(m));
    if width.is_none() || array.bytes().is_none() {
        return Err(error(format!("a shape that claims too much: {:?}", array.shape)));
    }
    Ok(array)
}

struct Header {
    descr: String,
    fortran: bool,
    shape: Vec<usize>,
}

impl Header {
    /// Reads a Python dictionary with these three keys, in any order.
    fn parse(text: &str) -> Option<Self> {
        let mut rest = text.trim().strip_prefix('{')?.strip_suffix('}')?.trim();
        let (mut descr, mut fortran, mut shape) = (None, None, None);
        while !rest.is_empty() {
            let (key, after) = quoted(rest)?;
            rest = after.trim_start().strip_prefix(':')?.trim_start();
            match key {
                "descr" if rest.starts_with('[') => {
                    // A record type: named in the message, not read.
                    let end = rest.rfind(']')? + 1;
                    descr = Some(rest[..end].to_owned());
                    rest = &rest[end..];
                }
                "descr" => {
                    let (value, after) = quoted(rest)?;
                    descr = Some(value.to_owned());
                    rest = after;
                }
                "fortran_order" => {
                    let (value, after) = rest
                        .strip_prefix("True")
                        .map(|after| (true, after))
                        .or_else(|| rest.strip_prefix("False").map(|after| (false, after)))?;
                    fortran = Some(value);
                    rest = after;
                }
                "shape" => {
                    let (inner, after) = rest.strip_prefix('(')?.split_once(')')?;
                    let sizes = inner.split(',').map(str::trim).filter(|size| !size.is_empty());
                    shape = Some(
                        sizes
                            .map(|size| size.trim_end_matches('L').parse().ok())
                            .collect::<Option<Vec<usize>>>()?,
                    );
                    rest = after;
                }
                _ => return None,
            }
            rest = rest.trim_start();
            rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
        }
        Some(Self { descr: descr?, fortran: fortran?, shape: shape? })
    }
}

/// A quoted text at the start, and what follows.
fn quoted(text: &str) -> Option<(&str, &str)> {
    let quote = text.chars().next().filter(|c| matches!(c, '\'' | '"'))?;
    text[1..].split_once(quote)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_headers_that_numpy_writes() {
        let header =
            Header::parse("{'descr': '<f8', 'fortran_order': False, 'shape': (3, 4), }   \n")
                .unwrap();
        assert_eq!((header.descr.as_str(), header.fortran), ("<f8", false));
        assert_eq!(header.shape, [3, 4]);
        let header =
            Header::parse("{\"shape\": (5,), 'fortran_order': True, 'descr': '|S3'}").unwrap();
        assert_eq!((header.shape, header.fortran), (vec![5], true));
        assert!(Header::parse("{'shape': ()}").is_none());
        assert!(Header::parse("{'descr': '<f8', 'fortran_order': 0, 'shape': (1,)}").is_none());
    }

    #[test]
    fn reads_types() {
        assert_eq!(Element::parse(">i4"), Some(Element::Signed { size: 4, big: true }));
        assert_eq!(Element::parse("<U7").map(Element::size), Some(28));
        for bad in ["", "f8", "<f3", "|O", "<c16", "<f", "<U0", "<f99999999999999999999"] {
            assert_eq!(Element::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_shape_that_overflows_is_refused() {
        let header =
            b"{'descr': '<f8', 'fortran_order': False, 'shape': (9223372036854775807, 4), }";
        let mut file = b"\x93NUMPY\x01\x00".to_vec();
        file.extend((header.len() as u16).to_le_bytes());
        file.extend(header);
        let error = read_header(&mut file.as_slice(), Path::new("a.npy")).err().unwrap();
        assert!(error.to_string().contains("claims too much"), "{error}");
    }
}
