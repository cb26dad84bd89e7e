//! Headers of objects and the links of groups.

use super::cursor::{Cursor, UNDEFINED};
use super::message::{self, Datatype, link};
use super::{Dataset, MOST_OBJECTS, Object, heap};

/// The most messages of a header.
const MOST_MESSAGES: usize = 1 << 16;
/// The most blocks of a header, or nodes of a tree.
const MOST_NODES: usize = 1 << 16;

/// An object and, of a group, its links.
pub(super) struct Parsed {
    pub(super) object: Object,
    pub(super) links: Vec<(String, u64)>,
}

/// A message: its kind, its flags, and where its bytes are.
struct Message {
    kind: u16,
    flags: u8,
    at: std::ops::Range<usize>,
}

/// Takes `n` of the parts that are left.
fn take(parts: &mut usize, n: usize) -> Result<(), String> {
    *parts = parts.checked_sub(n).ok_or("the headers of the file have too many parts")?;
    Ok(())
}

/// Reads the header at an address; `parts` bounds the work for all of them.
pub(super) fn parse(bytes: &[u8], address: u64, parts: &mut usize) -> Result<Parsed, String> {
    let mut object = Object::default();
    let mut links = Vec::new();
    let (mut dims, mut dtype, mut layout, mut filters) = (None, None, None, Vec::new());
    let messages = messages(bytes, address)?;
    take(parts, messages.len())?;
    for Message { kind, flags, at } in messages {
        let shared = flags & 2 != 0;
        // Cut off at the message's end, so that nothing is read beyond.
        let mut at = Cursor { bytes: &bytes[..at.end], at: at.start };
        match kind {
            0x01 | 0x03 | 0x0b | 0x0c if shared => {
                return Err(
                    "its type or shape lies elsewhere in the file, which is not read".into()
                );
            }
            0x01 => dims = Some(message::dataspace(&mut at)?),
            0x02 => links.extend(heap::links(bytes, &mut at)?),
            0x03 => dtype = Some(Datatype::parse(&mut at)?),
            0x06 => links.push(link(&mut at)?),
            0x07 => {
                return Err("its elements lie in other files (external storage), which are not \
                            read"
                    .into());
            }
            0x08 => layout = Some(message::layout(&mut at)?),
            0x0b => filters = message::filters(&mut at)?,
            0x0c => object.attributes.push(message::attribute(&mut at)?),
            0x11 => symbol_table(bytes, &mut at, &mut links, parts)?,
            0x15 => object.attributes.extend(heap::attributes(bytes, &mut at)?),
            _ => {}
        }
    }
    take(parts, links.len() + object.attributes.len())?;
    if let (Some(dims), Some(dtype), Some(layout)) = (dims, dtype, layout) {
        object.dataset = Some(Dataset { dtype, dims, layout, filters });
    }
    Ok(Parsed { object, links })
}

/// The messages of a header, those of its further blocks included.
fn messages(bytes: &[u8], address: u64) -> Result<Vec<Message>, String> {
    let mut at = Cursor::new(bytes, address)?;
    let mut messages = Vec::new();
    // Blocks: first byte, length.
    let mut blocks = Vec::new();
    let new = bytes[at.at..].starts_with(b"OHDR");
    let mut ordered = 0;
    if new {
        at.skip(5)?;
        let flags = at.u8()?;
        at.skip(if flags & 0x20 != 0 { 16 } else { 0 })?;
        at.skip(if flags & 0x10 != 0 { 4 } else { 0 })?;
        ordered = if flags & 4 != 0 { 2 } else { 0 };
        let size = at.uint(1 << (flags & 3))?;
        blocks.push((at.at, size));
    } else {
        let version = at.u8()?;
        if version != 1 {
            return Err(format!("there is no header at the address {address}"));
        }
        at.skip(7)?;
        let size = at.u32()?;
        at.skip(4)?;
        blocks.push((at.at, u64::from(size)));
    }
    let mut done = 0;
    while done < blocks.len() {
        let (start, size) = blocks[done];
        done += 1;
        let mut block = Cursor::new(bytes, start as u64)?;
        let size = usize::try_from(size).unwrap_or(usize::MAX);
        block.take(size)?;
        let mut at = Cursor { bytes: &bytes[..start + size], at: start };
        let head = if new { 4 + ordered } else { 8 };
        while at.left() >= head {
            let (kind, size, flags);
            if new {
                kind = u16::from(at.u8()?);
                size = at.u16()?;
                flags = at.u8()?;
                at.skip(ordered)?;
            } else {
                kind = at.u16()?;
                size = at.u16()?;
                flags = at.u8()?;
                at.skip(3)?;
            }
            let start = at.at;
            at.skip(usize::from(size))?;
            if kind == 0x10 {
                let mut next = Cursor { bytes: &bytes[..at.at], at: start };
                let (address, size) = (next.u64()?, next.u64()?);
                let found = if new {
                    let body = Cursor::signed(bytes, address, *b"OCHK")?.at;
                    (body, size.saturating_sub(8))
                } else {
                    (Cursor::new(bytes, address)?.at, size)
                };
                blocks.push(found);
            } else {
                messages.push(Message { kind, flags, at: start..at.at });
            }
            if blocks.len() > MOST_NODES || messages.len() > MOST_MESSAGES {
                return Err("its header is too long, or leads to itself".into());
            }
        }
    }
    Ok(messages)
}

/// The links of a group of the old kind: a tree of nodes, and a heap of names.
fn symbol_table(
    bytes: &[u8],
    at: &mut Cursor<'_>,
    links: &mut Vec<(String, u64)>,
    parts: &mut usize,
) -> Result<(), String> {
    let (tree, names) = (at.u64()?, at.u64()?);
    let mut heap = Cursor::signed(bytes, names, *b"HEAP")?;
    heap.skip(4)?;
    let (size, _free, address) = (heap.size()?, heap.u64()?, heap.u64()?);
    let names = Cursor::new(bytes, address)?.take(size)?;
    let leaves = leaves(bytes, tree, 0, 8)?;
    take(parts, leaves.len())?;
    for leaf in leaves {
        let mut at = Cursor::signed(bytes, leaf.child, *b"SNOD")?;
        at.skip(2)?;
        for _ in 0..at.u16()? {
            let (name, header, cache) = (at.u64()?, at.u64()?, at.u32()?);
            at.skip(20)?;
            let mut name = Cursor::new(names, name)?;
            let name = name.text(name.left())?;
            if cache == 2 || header == UNDEFINED {
                return Err(format!("`{name}` is a soft link, which is not followed"));
            }
            links.push((name, header));
            if links.len() > MOST_OBJECTS {
                return Err(format!("it has more than {MOST_OBJECTS} links"));
            }
        }
    }
    Ok(())
}

/// A child of a tree's lowest nodes, and the key before it.
pub(super) struct Leaf {
    pub(super) key: std::ops::Range<usize>,
    pub(super) child: u64,
}

/// The leaves of a B-tree of version 1 whose nodes are of a kind, with keys of a size.
pub(super) fn leaves(bytes: &[u8], root: u64, kind: u8, key: usize) -> Result<Vec<Leaf>, String> {
    let mut leaves = Vec::new();
    let mut open = vec![(root, None)];
    let mut nodes = 0;
    while let Some((address, expected)) = open.pop() {
        nodes += 1;
        let mut at = Cursor::signed(bytes, address, *b"TREE")?;
        let (found, level) = (at.u8()?, at.u8()?);
        // Levels count down, so that no tree is without end.
        if found != kind || expected.is_some_and(|expected| expected != level) {
            return Err(format!("the tree node at the address {address} is damaged"));
        }
        let n = at.u16()?;
        at.skip(16)?;
        for _ in 0..n {
            let start = at.at;
            at.skip(key)?;
            let (key, child) = (start..at.at, at.u64()?);
            if level == 0 {
                leaves.push(Leaf { key, child });
            } else {
                open.push((child, Some(level - 1)));
            }
        }
        if nodes > MOST_NODES || leaves.len() + open.len() > 1 << 22 {
            return Err("a tree of the file is too large, or leads to itself".into());
        }
    }
    Ok(leaves)
}
