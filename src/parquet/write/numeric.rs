//! The server's `numeric` as Parquet's decimals: integers that are to be divided by ten to the power of the scale.

use arrow_buffer::i256;

/// The value of a `numeric`, as it is stored.
pub enum Number<'a> {
    Nan,
    Infinity,
    MinusInfinity,
    Finite(Finite<'a>),
}

pub struct Finite<'a> {
    negative: bool,
    /// The weight of the first group, to the base of 10,000.
    weight: i32,
    /// Groups of four decimal digits each.
    groups: &'a [u8],
}

impl<'a> Number<'a> {
    /// Reads a stored value; `None` for one that no server stores.
    pub fn read(content: &'a [u8]) -> Option<Self> {
        let (header, rest) = content.split_first_chunk()?;
        let header = u16::from_ne_bytes(*header);
        let (negative, weight, groups) = match header & 0xC000 {
            0xC000 => {
                return Some(match header & 0xF000 {
                    0xD000 => Self::Infinity,
                    0xF000 => Self::MinusInfinity,
                    _ => Self::Nan,
                });
            }
            // The short form has all in one word; the weight has a sign.
            0x8000 => {
                let weight = i32::from(header & 0x3F) - i32::from(header & 0x40);
                (header & 0x2000 != 0, weight, rest)
            }
            sign => {
                let (weight, rest) = rest.split_first_chunk()?;
                (sign == 0x4000, i16::from_ne_bytes(*weight).into(), rest)
            }
        };
        Some(Self::Finite(Finite { negative, weight, groups }))
    }
}

/// The integers that decimals are stored as.
pub trait Unscaled: Copy + PartialOrd {
    const ZERO: Self;
    fn times_plus(self, factor: u16, summand: u16) -> Option<Self>;
    fn negated(self) -> Self;
}

impl Unscaled for i128 {
    const ZERO: Self = 0;

    #[inline]
    fn times_plus(self, factor: u16, summand: u16) -> Option<Self> {
        self.checked_mul(factor.into())?.checked_add(summand.into())
    }

    fn negated(self) -> Self {
        -self
    }
}

impl Unscaled for i256 {
    const ZERO: Self = i256::ZERO;

    fn times_plus(self, factor: u16, summand: u16) -> Option<Self> {
        self.checked_mul(i256::from_i128(factor.into()))?.checked_add(i256::from_i128(summand.into()))
    }

    fn negated(self) -> Self {
        self.wrapping_neg()
    }
}

/// Returns ten to the number of digits: the first integer that a decimal of that precision cannot hold.
pub fn limit<T: Unscaled>(precision: u8) -> Option<T> {
    (0..precision).try_fold(T::ZERO.times_plus(1, 1)?, |limit, _| limit.times_plus(10, 0))
}

impl Finite<'_> {
    /// Returns the integer of a decimal; `None` for a value with more digits than fit, before or behind the point.
    pub fn unscaled<T: Unscaled>(&self, scale: u8, limit: T) -> Option<T> {
        let mut value = T::ZERO;
        // The power of ten that the last digit of the group is to be multiplied by.
        let mut power = self.weight * 4 + i32::from(scale);
        for group in self.groups.as_chunks::<2>().0 {
            let digits = u16::from_ne_bytes(*group);
            value = match power {
                0.. => value.times_plus(10_000, digits)?,
                -3..0 => {
                    let cut = 10u16.pow(power.unsigned_abs());
                    if digits % cut != 0 {
                        return None;
                    }
                    value.times_plus(10_000 / cut, digits / cut)?
                }
                _ if digits == 0 => value,
                _ => return None,
            };
            power -= 4;
        }
        // Zeros behind the last group that is stored; a value of zero has no group at all.
        if value > T::ZERO {
            while power >= 0 {
                value = value.times_plus(10_000, 0)?;
                power -= 4;
            }
            if power > -4 {
                value = value.times_plus(10u16.pow((power + 4) as u32), 0)?;
            }
        }
        (value < limit).then(|| if self.negative { value.negated() } else { value })
    }
}
