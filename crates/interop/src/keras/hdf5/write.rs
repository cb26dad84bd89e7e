//! Writing arrays in groups: one file, headers of version 2, contiguous elements.

use super::cursor::UNDEFINED;
use crate::onnx::{DType, Tensor};
use std::collections::BTreeMap;

/// A group's children, or an array.
enum Node<'a> {
    Group(BTreeMap<&'a str, Node<'a>>),
    Array(&'a Tensor),
}

/// The bytes of a file with the arrays at their paths; an empty group for a path ending in `/`.
///
/// # Errors
/// A path runs through an array, or an array holds texts.
pub(crate) fn write(arrays: &[(String, Tensor)]) -> Result<Vec<u8>, String> {
    let mut root = BTreeMap::new();
    for (path, tensor) in arrays {
        let mut children = &mut root;
        let mut parts = path.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                if !part.is_empty() {
                    children.insert(part, Node::Array(tensor));
                }
                break;
            }
            let next = children.entry(part).or_insert_with(|| Node::Group(BTreeMap::new()));
            match next {
                Node::Group(next) => children = next,
                Node::Array(_) => return Err(format!("`{path}` runs through an array")),
            }
        }
    }
    // The superblock, filled in at the end.
    let mut file = vec![0; 48];
    let root = node(&mut file, &Node::Group(root))?;
    let mut head = super::MAGIC.to_vec();
    head.extend([2, 8, 8, 0]);
    for address in [0, UNDEFINED, file.len() as u64, root] {
        head.extend(address.to_le_bytes());
    }
    let sum = checksum(&head);
    head.extend(sum.to_le_bytes());
    file[..48].copy_from_slice(&head);
    Ok(file)
}

/// Appends a node behind its children; gives the address of its header.
fn node(file: &mut Vec<u8>, node: &Node<'_>) -> Result<u64, String> {
    let messages = match node {
        Node::Group(children) => {
            let mut messages = vec![(0x02, {
                let mut info = vec![0, 0];
                info.extend(UNDEFINED.to_le_bytes());
                info.extend(UNDEFINED.to_le_bytes());
                info
            })];
            messages.push((0x0a, vec![0, 0]));
            for (name, child) in children {
                let address = self::node(file, child)?;
                // Names of up to 65,535 bytes, in UTF-8.
                let length = u16::try_from(name.len()).map_err(|_| "a name is too long")?;
                let mut link = vec![1, 0x11, 1];
                link.extend(length.to_le_bytes());
                link.extend(name.as_bytes());
                link.extend(address.to_le_bytes());
                messages.push((0x06, link));
            }
            messages
        }
        Node::Array(tensor) => array(file, tensor)?,
    };
    Ok(header(file, &messages))
}

/// Appends elements; gives the messages of their header.
fn array(file: &mut Vec<u8>, tensor: &Tensor) -> Result<Vec<(u8, Vec<u8>)>, String> {
    let bytes = tensor.bytes().ok_or("texts are not written as arrays")?;
    file.resize(file.len().next_multiple_of(8), 0);
    let address = if bytes.is_empty() { UNDEFINED } else { file.len() as u64 };
    let size = bytes.len() as u64;
    file.extend(bytes);
    let dims = tensor.dims();
    let mut space = vec![2, dims.len() as u8, 0, u8::from(!dims.is_empty())];
    for &d in dims {
        space.extend((d as u64).to_le_bytes());
    }
    let mut layout = vec![3, 1];
    layout.extend(address.to_le_bytes());
    layout.extend(size.to_le_bytes());
    // Space is taken early, and no value fills it: every element is there.
    let fill = vec![3, 0x0a];
    Ok(vec![(0x01, space), (0x03, datatype(tensor.dtype())?), (0x05, fill), (0x08, layout)])
}

fn datatype(dtype: DType) -> Result<Vec<u8>, String> {
    let size = dtype.size() as u8;
    let bits = 8 * size;
    // Sign, exponent's place and size, mantissa's size, and the exponent's bias.
    let float = |exponent: u8, width: u8, bias: u32| {
        let mut message = vec![0x11, 0x20, bits - 1, 0, size, 0, 0, 0, 0, 0, bits, 0];
        message.extend([exponent, width, 0, exponent]);
        message.extend(bias.to_le_bytes());
        message
    };
    let int = |signed: u8| vec![0x10, signed << 3, 0, 0, size, 0, 0, 0, 0, 0, bits, 0];
    Ok(match dtype {
        DType::F16 => float(10, 5, 15),
        DType::F32 => float(23, 8, 127),
        DType::F64 => float(52, 11, 1023),
        DType::I8 | DType::I16 | DType::I32 | DType::I64 => int(1),
        DType::U8 | DType::U16 | DType::U32 | DType::U64 => int(0),
        other => return Err(format!("elements of {} are not written", other.name())),
    })
}

/// Appends a header of version 2.
fn header(file: &mut Vec<u8>, messages: &[(u8, Vec<u8>)]) -> u64 {
    file.resize(file.len().next_multiple_of(8), 0);
    let start = file.len();
    let size: usize = messages.iter().map(|(_, body)| 4 + body.len()).sum();
    file.extend(b"OHDR");
    // The size of the block takes four bytes.
    file.extend([2, 2]);
    file.extend((size as u32).to_le_bytes());
    for (kind, body) in messages {
        file.push(*kind);
        file.extend((body.len() as u16).to_le_bytes());
        file.push(0);
        file.extend(body);
    }
    let sum = checksum(&file[start..]);
    file.extend(sum.to_le_bytes());
    start as u64
}

/// The checksum of metadata: `hashlittle` of Bob Jenkins' lookup3 (public domain) from 0.
fn checksum(bytes: &[u8]) -> u32 {
    let start = 0xdead_beef_u32.wrapping_add(bytes.len() as u32);
    let [mut a, mut b, mut c] = [start; 3];
    let word = |bytes: &[u8], i: usize| {
        let byte = |k: usize| u32::from(bytes.get(4 * i + k).copied().unwrap_or(0));
        byte(0) | byte(1) << 8 | byte(2) << 16 | byte(3) << 24
    };
    let mut rest = bytes;
    while rest.len() > 12 {
        a = a.wrapping_add(word(rest, 0));
        b = b.wrapping_add(word(rest, 1));
        c = c.wrapping_add(word(rest, 2));
        for (x, y, z, turn) in
            [(0, 2, 1, 4), (1, 0, 2, 6), (2, 1, 0, 8), (0, 2, 1, 16), (1, 0, 2, 19), (2, 1, 0, 4)]
        {
            // x −= y; x ^= y rotated; y += z.
            let mut values = [a, b, c];
            values[x] = values[x].wrapping_sub(values[y]) ^ values[y].rotate_left(turn);
            values[y] = values[y].wrapping_add(values[z]);
            [a, b, c] = values;
        }
        rest = &rest[12..];
    }
    if rest.is_empty() {
        return c;
    }
    a = a.wrapping_add(word(rest, 0));
    b = b.wrapping_add(word(rest, 1));
    c = c.wrapping_add(word(rest, 2));
    for (x, y, turn) in
        [(2, 1, 14), (0, 2, 11), (1, 0, 25), (2, 1, 16), (0, 2, 4), (1, 0, 14), (2, 1, 24)]
    {
        let mut values = [a, b, c];
        values[x] = (values[x] ^ values[y]).wrapping_sub(values[y].rotate_left(turn));
        [a, b, c] = values;
    }
    c
}
