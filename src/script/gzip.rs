//! Files of gzip, which hold one compressed text after the other.

use flate2::bufread::GzDecoder;
use std::io::{self, BufRead, Read};

/// Reads the texts of all members as one. Zeros behind the last member are passed over, as gzip does it: blocks of tapes end
/// in them. Anything else there is an error.
pub struct Members<R>(Option<GzDecoder<R>>);

impl<R: BufRead> Members<R> {
    pub fn new(file: R) -> Self {
        Self(Some(GzDecoder::new(file)))
    }
}

impl<R: BufRead> Read for Members<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let Some(member) = &mut self.0 else { return Ok(0) };
            let read = member.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(mut file) = self.0.take().map(GzDecoder::into_inner) else { return Ok(0) };
            if has_other_member(&mut file)? {
                self.0 = Some(GzDecoder::new(file));
            }
        }
    }
}

/// Whether another member begins where one has ended.
fn has_other_member(file: &mut impl BufRead) -> io::Result<bool> {
    const FIRST_BYTE: u8 = 0x1f;
    if file.fill_buf()?.first() == Some(&FIRST_BYTE) {
        return Ok(true);
    }
    loop {
        let rest = file.fill_buf()?;
        let zeros = rest.iter().take_while(|byte| **byte == 0).count();
        if zeros < rest.len() {
            let message = "other data follows the compressed text";
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        if zeros == 0 {
            return Ok(false);
        }
        file.consume(zeros);
    }
}
