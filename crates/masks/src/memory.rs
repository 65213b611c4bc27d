//! What was computed before. Columns with few values have each of them masked once, and not once for each row.
//!
//! A result is taken from here only where all that it depends on is the same, so that it makes no difference but of time.

/// The places in queries that results are kept for, and the results that are kept for each.
const SITES: usize = 16;
const INTEGERS: usize = 4096;
const TEXTS: usize = 256;

/// The most bytes of a text, and of its mask, that are kept.
const LONGEST_TEXT: usize = 48;
const LONGEST_MASK: usize = 64;

/// After so many values it is seen whether it pays to keep them: where fewer than this share were found.
const TRIAL: u32 = 4096;
const LEAST_FOUND: u32 = TRIAL / 8;

/// Spreads what differs in few bits.
const SPREADER: u64 = 0x9e37_79b9_7f4a_7c15;

/// What is the same for all calls at one place in a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Constants<'a> {
    /// A number that tells the place from others. It may stand for another place later.
    pub place: usize,
    /// The number of the function.
    pub function: u8,
    pub key: &'a [u8],
    pub parameters: [i64; 3],
}

/// The places that functions were called at lately.
#[derive(Debug, Default)]
pub struct Calls {
    sites: Vec<Site>,
    /// The place that is forgotten next.
    oldest: usize,
}

impl Calls {
    pub const fn new() -> Self {
        Self { sites: Vec::new(), oldest: 0 }
    }

    /// Returns what is known of a place.
    pub fn site(&mut self, constants: &Constants) -> &mut Site {
        let position = match self.sites.iter().position(|site| site.is_of(constants)) {
            Some(position) => position,
            None => self.forget_for(constants),
        };
        &mut self.sites[position]
    }

    #[cold]
    fn forget_for(&mut self, constants: &Constants) -> usize {
        if self.sites.len() < SITES {
            self.sites.push(Site::of(constants));
            return self.sites.len() - 1;
        }
        let position = self.oldest;
        self.sites[position] = Site::of(constants);
        self.oldest = (position + 1) % SITES;
        position
    }
}

/// The results for one place.
#[derive(Debug)]
pub struct Site {
    place: usize,
    function: u8,
    key: Vec<u8>,
    parameters: [i64; 3],
    use_of_it: Use,
    integers: Vec<Option<(i64, i64)>>,
    texts: Vec<KnownText>,
}

#[derive(Debug, Clone, Copy)]
struct KnownText {
    /// The lengths; the first is that of no text that is kept where there is none.
    text_length: u8,
    mask_length: u8,
    text: [u8; LONGEST_TEXT],
    mask: [u8; LONGEST_MASK],
}

impl KnownText {
    const NONE: Self = Self { text_length: u8::MAX, mask_length: 0, text: [0; LONGEST_TEXT], mask: [0; LONGEST_MASK] };

    fn is_of(&self, text: &[u8]) -> bool {
        usize::from(self.text_length) == text.len() && self.text[..text.len()] == *text
    }

    fn mask(&self) -> &[u8] {
        &self.mask[..usize::from(self.mask_length)]
    }

    fn set(&mut self, text: &[u8], mask: &[u8]) {
        (self.text_length, self.mask_length) = (text.len() as u8, mask.len() as u8);
        self.text[..text.len()].copy_from_slice(text);
        self.mask[..mask.len()].copy_from_slice(mask);
    }
}

/// Whether it pays.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Use {
    pays: bool,
    tried: u32,
    found: u32,
}

impl Use {
    fn note(&mut self, is_found: bool) {
        self.tried += 1;
        self.found += u32::from(is_found);
        if self.tried == TRIAL {
            *self = Self { pays: self.found >= LEAST_FOUND, tried: 0, found: 0 };
        }
    }
}

impl Site {
    fn of(constants: &Constants) -> Self {
        Self {
            place: constants.place,
            function: constants.function,
            key: constants.key.to_vec(),
            parameters: constants.parameters,
            use_of_it: Use { pays: true, tried: 0, found: 0 },
            integers: Vec::new(),
            texts: Vec::new(),
        }
    }

    fn is_of(&self, constants: &Constants) -> bool {
        self.place == constants.place
            && self.function == constants.function
            && self.parameters == constants.parameters
            && self.key == constants.key
    }

    /// Returns the mask of a number.
    #[inline]
    pub fn integer<E>(&mut self, value: i64, compute: impl FnOnce() -> Result<i64, E>) -> Result<i64, E> {
        if !self.use_of_it.pays {
            return compute();
        }
        if self.integers.is_empty() {
            self.integers.resize(INTEGERS, None);
        }
        let slot = &mut self.integers[(value.cast_unsigned().wrapping_mul(SPREADER) >> 52) as usize % INTEGERS];
        if let Some((known, mask)) = *slot
            && known == value
        {
            self.use_of_it.note(true);
            return Ok(mask);
        }
        let mask = compute()?;
        *slot = Some((value, mask));
        self.use_of_it.note(false);
        Ok(mask)
    }

    /// Returns the mask of a text, which `compute` writes into an empty buffer.
    #[inline]
    pub fn text<'a>(
        &'a mut self,
        text: &[u8],
        buffer: &'a mut Vec<u8>,
        compute: impl FnOnce(&mut Vec<u8>),
    ) -> &'a [u8] {
        buffer.clear();
        if !self.use_of_it.pays || text.len() > LONGEST_TEXT {
            compute(buffer);
            return buffer;
        }
        if self.texts.is_empty() {
            self.texts.resize(TEXTS, KnownText::NONE);
        }
        let slot = &mut self.texts[place_of(text)];
        let is_found = slot.is_of(text);
        self.use_of_it.note(is_found);
        if is_found {
            return slot.mask();
        }
        compute(buffer);
        if buffer.len() <= LONGEST_MASK {
            slot.set(text, buffer);
        }
        buffer
    }
}

/// Returns the place of a text among those that are kept.
#[inline]
fn place_of(text: &[u8]) -> usize {
    let (words, rest) = text.as_chunks::<8>();
    let mut last = [0; 8];
    last[..rest.len()].copy_from_slice(rest);
    let mix = |hash: u64, word: &[u8; 8]| (hash ^ u64::from_le_bytes(*word)).wrapping_mul(SPREADER).rotate_left(29);
    let hash = mix(words.iter().fold(text.len() as u64, mix), &last);
    (hash.wrapping_mul(SPREADER) >> 52) as usize % TEXTS
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::convert::Infallible;

    const KEY: [u8; 32] = [7; 32];

    fn constants(place: usize, first: i64) -> Constants<'static> {
        Constants { place, function: 1, key: &KEY, parameters: [first, 0, 0] }
    }

    #[test]
    fn each_value_is_computed_once() {
        let mut calls = Calls::new();
        let (mut computed, mut buffer) = (0, Vec::new());
        for round in 0..100_i64 {
            for value in -5..5_i64 {
                let site = calls.site(&constants(1, 0));
                let mask = site.integer(value, || {
                    computed += 1;
                    Ok::<_, Infallible>(value * 2)
                });
                assert_eq!(mask, Ok(value * 2), "{round}");
            }
        }
        assert_eq!(computed, 10);
        computed = 0;
        for _ in 0..100 {
            for text in ["", "a", "b", "longer than eight bytes", "longer than nine bytes!"] {
                let site = calls.site(&constants(2, 0));
                let mask = site.text(text.as_bytes(), &mut buffer, |buffer| {
                    computed += 1;
                    buffer.extend(text.bytes().rev());
                });
                assert_eq!(mask, text.bytes().rev().collect::<Vec<_>>());
            }
        }
        assert_eq!(computed, 5);
    }

    #[test]
    fn what_a_result_depends_on_is_compared() {
        let mut calls = Calls::new();
        let other_key = [8; 32];
        for _ in 0..3 {
            for place in 0..2 * SITES {
                for first in 0..2 {
                    for key in [&KEY, &other_key] {
                        for function in 0..2 {
                            let constants = Constants { key, function, ..constants(place, first) };
                            let expected = first * 2 + i64::from(function) * 10 + i64::from(key[0]) * 100;
                            let mask = calls.site(&constants).integer(5, || Ok::<_, Infallible>(expected));
                            assert_eq!(mask, Ok(expected));
                        }
                    }
                }
            }
        }
        assert_eq!(calls.sites.len(), SITES);
    }

    #[test]
    fn values_that_differ_are_kept_no_longer() {
        let mut calls = Calls::new();
        let mut buffer = Vec::new();
        let long = "x".repeat(LONGEST_TEXT);
        for number in 0..3 * TRIAL {
            let site = calls.site(&constants(1, 0));
            let text = format!("{number} {long}");
            for text in [text.as_str(), &text[..9]] {
                let mask = site.text(text.as_bytes(), &mut buffer, |buffer| buffer.extend_from_slice(text.as_bytes()));
                assert_eq!(mask, text.as_bytes());
            }
        }
        assert!(!calls.site(&constants(1, 0)).use_of_it.pays);
        let mut found = 0;
        for number in 0..3 * TRIAL {
            let mask = calls.site(&constants(2, 0)).integer(i64::from(number % 5), || Err(number));
            found += u32::from(mask.is_err());
        }
        assert_eq!(found, 3 * TRIAL, "an error is not kept");
    }
}
