//! Gzip: members one behind the other, and zeros behind the last, as tapes and block devices add.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result};

use flate2::bufread::GzDecoder;

/// Bytes that can be moved to another thread.
pub type Bytes = Box<dyn Read + Send>;

/// Decompresses all members.
pub(super) struct Gzip {
    member: Option<GzDecoder<BufReader<Bytes>>>,
}

impl Gzip {
    pub(super) fn new(bytes: BufReader<Bytes>) -> Self {
        Self { member: Some(GzDecoder::new(bytes)) }
    }
}

impl Read for Gzip {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        while let Some(member) = &mut self.member {
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(ended) = self.member.take() else { break };
            let mut bytes = ended.into_inner();
            if bytes.fill_buf()?.first().is_some_and(|&byte| byte != 0) {
                self.member = Some(GzDecoder::new(bytes));
                continue;
            }
            loop {
                let rest = bytes.fill_buf()?;
                if rest.iter().any(|&byte| byte != 0) {
                    return Err(Error::new(ErrorKind::InvalidData, "zeros and then other bytes"));
                }
                let length = rest.len();
                if length == 0 {
                    break;
                }
                bytes.consume(length);
            }
        }
        Ok(0)
    }
}
