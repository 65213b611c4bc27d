use crate::error::{Result, malformed, too_large};
use crate::header::{self, Header};
use crate::memory::none_for;
use crate::source::{self, Source};
use crate::thrift::Fault;
use bytes::{Buf, Bytes};
use std::sync::Arc;

/// A header that lies across two windows is first looked for in so much of the second.
const HEADER_GUESS: usize = 64 << 10;

/// The bytes of a column chunk from one end to the other, read ahead a window at a time.
pub(crate) struct Window {
    source: Arc<dyn Source>,
    /// What was read and not yet taken.
    ahead: Bytes,
    /// Where that begins.
    offset: u64,
    end: u64,
    /// How much further pages may reach if they must.
    slack: u64,
    size: usize,
}

impl Window {
    pub fn new(source: Arc<dyn Source>, start: u64, length: u64, size: usize) -> Self {
        Window { source, ahead: Bytes::new(), offset: start, end: start + length, slack: 0, size: size.max(1) }
    }

    pub fn offset(&self) -> u64 {
        self.offset
    }

    pub fn remaining(&self) -> u64 {
        self.end - self.offset
    }

    /// Lets a page that does not fit reach so much further, within the source.
    pub fn allow_slack(&mut self, slack: u64) {
        self.slack = slack.min(self.source.length().saturating_sub(self.end));
    }

    pub fn remaining_with_slack(&self) -> u64 {
        self.remaining() + self.slack
    }

    /// Uses the slack up where that many bytes need it.
    fn reach(&mut self, count: u64) {
        if count > self.remaining() {
            self.end += std::mem::take(&mut self.slack);
        }
    }

    pub fn source(&self) -> &dyn Source {
        &*self.source
    }

    /// What follows the bytes that were read: a window, or more when more is needed.
    fn next(&self, needed: usize) -> Result<Bytes> {
        let start = self.offset + self.ahead.len() as u64;
        let length = (self.end - start).min(needed.max(self.size) as u64) as usize;
        source::read(&*self.source, start, length)
    }

    /// Passes bytes that need not be read.
    pub fn skip(&mut self, count: usize) {
        self.reach(count as u64);
        self.ahead.advance(count.min(self.ahead.len()));
        self.offset += count as u64;
    }

    /// The next bytes, as many of them as there are, which stay where they are.
    pub fn peek(&mut self, count: usize) -> Result<&[u8]> {
        if self.ahead.len() < count && (self.ahead.len() as u64) < self.remaining() {
            let next = self.next(count)?;
            self.ahead = if self.ahead.is_empty() { next } else { joined(&self.ahead, &next)? };
        }
        Ok(&self.ahead[..count.min(self.ahead.len())])
    }

    /// The next bytes, of which there must be so many.
    pub fn take(&mut self, count: usize) -> Result<Bytes> {
        self.reach(count as u64);
        if self.ahead.len() < count {
            let had = self.ahead.len();
            if count > self.size && had < count / 8 {
                // Rather read a little twice than hold two copies of a big page.
                self.ahead = Bytes::new();
            }
            let mut next = self.next(count - self.ahead.len())?;
            if self.ahead.is_empty() {
                self.ahead = next;
            } else {
                let first = next.split_to(count - had);
                let page = joined(&self.ahead, &first)?;
                self.ahead = next;
                self.offset += count as u64;
                return Ok(page);
            }
        }
        self.offset += count as u64;
        Ok(self.ahead.split_to(count))
    }

    /// The header of the page that begins here.
    pub fn header(&mut self, limit: usize) -> Result<Header> {
        loop {
            let known = self.ahead.len();
            let fault = match header::parse(&self.ahead) {
                Ok((header, length)) => {
                    self.skip(length);
                    return Ok(header);
                }
                Err(fault) => fault,
            };
            match fault {
                Fault::Bad(what) => return malformed(format!("its header holds {what}")),
                Fault::Short if known as u64 == self.remaining() && self.slack > 0 => self.reach(known as u64 + 1),
                Fault::Short if known as u64 == self.remaining() => {
                    return malformed("the column chunk ends inside its header");
                }
                Fault::Short if known >= limit => {
                    return too_large(format!("its header has more than {limit} bytes"));
                }
                Fault::Short => {}
            }
            let mut next = self.next(0)?;
            if known == 0 {
                self.ahead = next;
                continue;
            }
            let both = joined(&self.ahead, &next[..next.len().min(HEADER_GUESS)])?;
            if let Ok((header, length)) = header::parse(&both) {
                // All that was left of the window is part of the header, or it would have been found there.
                next.advance(length - known);
                self.ahead = next;
                self.offset += length as u64;
                return Ok(header);
            }
            self.ahead = joined(&self.ahead, &next)?;
        }
    }
}

fn joined(a: &[u8], b: &[u8]) -> Result<Bytes> {
    let mut both = Vec::new();
    if both.try_reserve_exact(a.len() + b.len()).is_err() {
        return Err(none_for(a.len() + b.len()));
    }
    both.extend_from_slice(a);
    both.extend_from_slice(b);
    Ok(both.into())
}
