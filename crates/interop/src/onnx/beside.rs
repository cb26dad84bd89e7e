//! Tensors of a model in a file beside it: a message of protobuf holds no more than 2 GB.

use super::data;
use super::proto::{Entry, TensorProto};
use super::tensor::Tensor;
use super::{Error, Result};
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};

/// Tensors start at multiples of this, the size of a page, so that runtimes can map them.
const PAGE: u64 = 1 << 12;
/// Smaller tensors stay in the graph.
const LEAST: usize = 1 << 10;
/// So many floats are written at a time.
const PIECE: usize = 1 << 16;

/// The tensors of a graph under construction: in the graph up to a limit, and once it is passed in
/// a file, to which they are written as they are made.
#[derive(Debug)]
pub(super) struct Beside {
    path: PathBuf,
    /// The bytes that the graph may hold.
    limit: u64,
    held: u64,
    file: Option<Data>,
    /// What went wrong first; a graph under construction has no other place for it.
    failed: Option<ff_formats::Error>,
}

#[derive(Debug)]
struct Data {
    file: BufWriter<File>,
    name: String,
    end: u64,
}

impl Beside {
    pub(super) fn new(path: &Path, limit: u64) -> Self {
        Self { path: path.to_owned(), limit, held: 0, file: None, failed: None }
    }

    /// Adds a tensor to those of the graph, which may all go to the file.
    pub(super) fn add(&mut self, name: &str, tensor: &Tensor, stored: &mut Vec<TensorProto>) {
        self.held += tensor.data().bytes() as u64;
        let first = self.file.is_none() && self.held > self.limit;
        let done = if first { self.begin(stored) } else { Ok(()) };
        let done = done.and_then(|()| match (&mut self.file, tensor.data()) {
            // Without a copy of what may be large.
            (Some(file), data::Data::F32(values)) if 4 * values.len() >= LEAST => {
                let proto = file.put(tensor.header(name), 4 * values.len(), |file| {
                    values.chunks(PIECE).try_for_each(|values| {
                        let bytes: Vec<u8> = values.iter().flat_map(|x| x.to_le_bytes()).collect();
                        file.write_all(&bytes)
                    })
                })?;
                stored.push(proto);
                Ok(())
            }
            (Some(file), _) => file.take(tensor.to_proto(name)).map(|proto| stored.push(proto)),
            (None, _) => {
                stored.push(tensor.to_proto(name));
                Ok(())
            }
        });
        if let Err(error) = done {
            let _ = self.failed.get_or_insert(ff_formats::Error::io(&self.path, "writing")(error));
        }
    }

    fn begin(&mut self, stored: &mut [TensorProto]) -> std::io::Result<()> {
        let name = self.path.file_name().map(|name| name.to_string_lossy().into_owned());
        let name = name.ok_or_else(|| std::io::Error::other("it has no name"))?;
        let file = BufWriter::with_capacity(1 << 20, File::create_new(&self.path)?);
        let mut file = Data { file, name, end: 0 };
        for tensor in stored {
            *tensor = file.take(std::mem::take(tensor))?;
        }
        self.file = Some(file);
        Ok(())
    }

    /// Everything is on the disk; whether there is a file.
    pub(super) fn finish(self) -> Result<bool> {
        if let Some(error) = self.failed {
            return Err(Error::File(error));
        }
        let Some(Data { mut file, .. }) = self.file else { return Ok(false) };
        let io = ff_formats::Error::io(&self.path, "writing");
        file.flush().and_then(|()| file.get_ref().sync_all()).map_err(io)?;
        Ok(true)
    }
}

impl Data {
    /// Moves the bytes of a tensor to the file, if they are many.
    fn take(&mut self, mut tensor: TensorProto) -> std::io::Result<TensorProto> {
        match tensor.raw_data.take_if(|bytes| bytes.len() >= LEAST) {
            Some(bytes) => self.put(tensor, bytes.len(), |file| file.write_all(&bytes)),
            None => Ok(tensor),
        }
    }

    /// Writes so many bytes of a tensor from the next page on.
    fn put(
        &mut self,
        mut tensor: TensorProto,
        length: usize,
        write: impl FnOnce(&mut BufWriter<File>) -> std::io::Result<()>,
    ) -> std::io::Result<TensorProto> {
        let start = self.end.next_multiple_of(PAGE);
        self.file.write_all(&vec![0; (start - self.end) as usize])?;
        write(&mut self.file)?;
        self.end = start + length as u64;
        let entry = |key: &str, value: String| Entry { key: key.into(), value };
        tensor.data_location = 1;
        tensor.external_data = vec![
            entry("location", self.name.clone()),
            entry("offset", start.to_string()),
            entry("length", length.to_string()),
        ];
        Ok(tensor)
    }
}
