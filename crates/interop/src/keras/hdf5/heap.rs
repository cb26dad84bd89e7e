//! Heaps: texts of any length, and what does not fit into a header.

use super::Attribute;
use super::cursor::{Cursor, UNDEFINED};
use std::collections::HashMap;

/// The bytes of all texts that one list refers to: a text may be named often.
const MOST_TEXT: usize = 64 << 20;

/// Texts, of references to objects in the global heap.
pub(super) fn texts(bytes: &[u8], references: &[u8]) -> Result<Vec<String>, String> {
    let mut at = Cursor::new(references, 0)?;
    let mut total = 0usize;
    let mut texts = Vec::new();
    while at.left() > 0 {
        let length = at.u32()? as usize;
        let (address, index) = (at.u64()?, at.u32()?);
        total = total.saturating_add(length);
        if total > MOST_TEXT {
            return Err(format!("its texts have more than {MOST_TEXT} bytes"));
        }
        if length == 0 || index == 0 {
            texts.push(String::new());
            continue;
        }
        let mut object = object(bytes, address, index)?;
        let text = object.take(length).map_err(|_| "a text is longer than its heap")?;
        texts.push(String::from_utf8(text.to_vec()).map_err(|_| "a text is not in UTF-8")?);
    }
    Ok(texts)
}

/// An object of the global heap.
fn object(bytes: &[u8], address: u64, index: u32) -> Result<Cursor<'_>, String> {
    let mut heap = Cursor::signed(bytes, address, *b"GCOL")?;
    heap.skip(4)?;
    let size = heap.size()?;
    // The size counts the heap's header of 16 bytes.
    let body = heap.take(size.saturating_sub(16))?;
    let mut at = Cursor::new(body, 0)?;
    while at.left() >= 16 {
        let found = at.u16()?;
        at.skip(6)?;
        let size = at.size()?;
        if found == 0 {
            break;
        }
        let start = at.at;
        if u32::from(found) == index {
            at.skip(size)?;
            return Ok(Cursor { bytes: &body[..start + size], at: start });
        }
        let padded = size.checked_next_multiple_of(8).ok_or("a heap is damaged")?;
        at.skip(padded)?;
    }
    Err(format!("the heap at the address {address} has no object {index}"))
}

/// The links of a group that keeps them in a heap of their own.
pub(super) fn links(bytes: &[u8], at: &mut Cursor<'_>) -> Result<Vec<(String, u64)>, String> {
    // A record is a hash, then the object's place.
    let objects = dense(bytes, at, 8, 4)?;
    objects.into_iter().map(|mut object| super::message::link(&mut object)).collect()
}

/// The attributes of an object that keeps them in a heap of their own.
pub(super) fn attributes(bytes: &[u8], at: &mut Cursor<'_>) -> Result<Vec<Attribute>, String> {
    let objects = dense(bytes, at, 2, 0)?;
    objects.into_iter().map(|mut object| super::message::attribute(&mut object)).collect()
}

/// The objects of a heap that a message names, by the tree of their names: `counter` bytes of the
/// message count what was made, and the records hold a place behind `skip` bytes.
fn dense<'a>(
    bytes: &'a [u8],
    at: &mut Cursor<'_>,
    counter: usize,
    skip: usize,
) -> Result<Vec<Cursor<'a>>, String> {
    let _version = at.u8()?;
    let flags = at.u8()?;
    at.skip(if flags & 1 != 0 { counter } else { 0 })?;
    let (heap, names) = (at.u64()?, at.u64()?);
    if heap == UNDEFINED || names == UNDEFINED {
        return Ok(Vec::new());
    }
    let heap = Heap::parse(bytes, heap)?;
    let records = records(bytes, names)?;
    records
        .into_iter()
        .map(|mut record| {
            record.skip(skip)?;
            heap.object(&mut record)
        })
        .collect()
}

/// The records of a B-tree of version 2.
fn records(bytes: &[u8], address: u64) -> Result<Vec<Cursor<'_>>, String> {
    let mut at = Cursor::signed(bytes, address, *b"BTHD")?;
    at.skip(2)?;
    let (node, size, depth) = (at.u32()? as usize, usize::from(at.u16()?), at.u16()?);
    at.skip(2)?;
    let (root, n) = (at.u64()?, at.u16()?);
    if size == 0 || depth > 8 {
        return Err("a tree of the file is damaged".into());
    }
    // The bytes of a child's count of records, and of the count of all below it.
    let fit = |body: usize, one: usize| body.checked_div(one).unwrap_or(0);
    let most = fit(node.saturating_sub(10), size);
    let count = width_of(most as u64);
    let (mut below, mut totals) = (most as u64, vec![0]);
    for _ in 0..depth {
        let pointer = 8 + count + totals.last().copied().unwrap_or(0);
        let most = fit(node.saturating_sub(10 + pointer), size + pointer) as u64;
        below = (most + 1).saturating_mul(below).saturating_add(most);
        totals.push(width_of(below));
    }
    let mut all = Vec::new();
    let mut open = vec![(root, usize::from(n), usize::from(depth))];
    while let Some((address, n, depth)) = open.pop() {
        if address == UNDEFINED {
            continue;
        }
        let signature = if depth == 0 { *b"BTLF" } else { *b"BTIN" };
        let mut at = Cursor::signed(bytes, address, signature)?;
        at.skip(2)?;
        for _ in 0..n {
            let start = at.at;
            at.skip(size)?;
            all.push(Cursor { bytes: &bytes[..at.at], at: start });
        }
        if depth > 0 {
            for _ in 0..=n {
                let (address, n) = (at.u64()?, at.uint(count)?);
                at.skip(totals[depth - 1])?;
                open.push((address, n as usize, depth - 1));
            }
        }
        if all.len() + open.len() > super::MOST_OBJECTS {
            return Err("a tree of the file is too large, or leads to itself".into());
        }
    }
    Ok(all)
}

/// The bytes that hold numbers up to a limit.
fn width_of(limit: u64) -> usize {
    (limit.max(1).ilog2() / 8 + 1) as usize
}

/// A heap of objects in blocks that grow.
struct Heap<'a> {
    bytes: &'a [u8],
    /// Objects that lie outside of its blocks: address and length by key.
    huge: HashMap<u64, (u64, u64)>,
    /// The bytes of an id.
    id: usize,
    width: usize,
    start: u64,
    largest: u64,
    /// The bytes of an offset and of a length.
    sizes: [usize; 2],
    root: u64,
    rows: usize,
}

impl<'a> Heap<'a> {
    fn parse(bytes: &'a [u8], address: u64) -> Result<Self, String> {
        let mut at = Cursor::signed(bytes, address, *b"FRHP")?;
        at.skip(1)?;
        let id = usize::from(at.u16()?).clamp(1, 9);
        if at.u16()? != 0 {
            return Err("a heap passed filters, which are not read".into());
        }
        at.skip(1)?;
        let managed = u64::from(at.u32()?);
        at.skip(8)?;
        let tree = at.u64()?;
        let mut huge = HashMap::new();
        if tree != UNDEFINED {
            for mut record in records(bytes, tree)? {
                let (address, length, key) = (record.u64()?, record.u64()?, record.u64()?);
                huge.insert(key, (address, length));
            }
        }
        at.skip(80)?;
        let width = usize::from(at.u16()?);
        let (start, largest) = (at.u64()?, at.u64()?);
        let bits = usize::from(at.u16()?);
        at.skip(2)?;
        let (root, rows) = (at.u64()?, usize::from(at.u16()?));
        if !start.is_power_of_two() || !largest.is_power_of_two() || largest < start || bits > 64 {
            return Err("a heap of the file is damaged".into());
        }
        let sizes = [bits.div_ceil(8), width_of(largest.min(managed))];
        Ok(Self { bytes, huge, id, width, start, largest, sizes, root, rows })
    }

    /// The object that a record names.
    fn object(&self, id: &mut Cursor<'_>) -> Result<Cursor<'a>, String> {
        let place = |at: Cursor<'a>, length: u64| {
            let mut end = at.clone();
            end.skip(usize::try_from(length).unwrap_or(usize::MAX))?;
            Ok(Cursor { bytes: &at.bytes[..end.at], at: at.at })
        };
        match id.u8()? >> 4 {
            0 => {
                let (offset, length) = (id.uint(self.sizes[0])?, id.uint(self.sizes[1])?);
                let (block, start) = self.block(offset)?;
                let at = block.checked_add(offset - start).ok_or("a heap is damaged")?;
                place(Cursor::new(self.bytes, at)?, length)
            }
            1 => {
                let key = id.uint(self.id - 1)?;
                let found = self.huge.get(&key).ok_or("a heap lacks an object")?;
                place(Cursor::new(self.bytes, found.0)?, found.1)
            }
            kind => Err(format!("a heap has an object of the kind {kind}, which is not read")),
        }
    }

    /// The block that holds an offset: its address, and the offset at which it begins.
    fn block(&self, offset: u64) -> Result<(u64, u64), String> {
        if self.rows == 0 {
            return Ok((self.root, 0));
        }
        let mut at = Cursor::signed(self.bytes, self.root, *b"FHIB")?;
        at.skip(9 + self.sizes[0])?;
        // Blocks of the first two rows have the same size, then twice that of the row before.
        let (mut start, mut size) = (0u64, self.start);
        for row in 0..self.rows {
            if row > 1 {
                size = size.saturating_mul(2);
            }
            if size > self.largest {
                break;
            }
            for _ in 0..self.width {
                let address = at.u64()?;
                let end = start.saturating_add(size);
                if offset < end {
                    return Ok((address, start));
                }
                start = end;
            }
        }
        Err("a heap is larger than what is read; save the file again with the default of h5py"
            .into())
    }
}
