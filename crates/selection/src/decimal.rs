//! Decimal numbers of any length, as JSON writes them, and numbers that are counted in their last decimal.

/// A number as JSON writes it, without an exponent: its integer digits without zeros before them, and its decimals without those
/// behind.
pub(crate) struct Decimal<'a> {
    is_negative: bool,
    integer: &'a str,
    decimals: &'a str,
}

impl<'a> Decimal<'a> {
    pub(crate) fn of(text: &'a str) -> Self {
        let (is_negative, digits) = text.strip_prefix('-').map_or((false, text), |digits| (true, digits));
        let (integer, decimals) = digits.split_once('.').unwrap_or((digits, ""));
        let (integer, decimals) = (integer.trim_start_matches('0'), decimals.trim_end_matches('0'));
        Self { is_negative: is_negative && !(integer.is_empty() && decimals.is_empty()), integer, decimals }
    }

    pub(crate) fn places(text: &str) -> usize {
        Decimal::of(text).decimals.len()
    }

    fn is_zero(&self) -> bool {
        self.integer.is_empty() && self.decimals.is_empty()
    }

    pub(crate) fn cmp(&self, other: &Decimal) -> std::cmp::Ordering {
        let sizes = |one: &Decimal, other: &Decimal| {
            let length = one.integer.len().cmp(&other.integer.len());
            length.then_with(|| (one.integer, one.decimals).cmp(&(other.integer, other.decimals)))
        };
        match (self.is_negative, other.is_negative) {
            (false, false) => sizes(self, other),
            (true, true) => sizes(other, self),
            (true, false) => std::cmp::Ordering::Less,
            (false, true) => std::cmp::Ordering::Greater,
        }
    }

    /// Returns the digits up to so many decimals, without zeros before them, and whether others but zeros follow.
    fn cut(&self, decimals: i32) -> (String, bool) {
        let size = usize::try_from(decimals.unsigned_abs()).unwrap_or(usize::MAX);
        let (kept, rest) = if decimals >= 0 {
            let kept = size.min(self.decimals.len());
            let zeros = "0".repeat(size - kept);
            (format!("{}{}{zeros}", self.integer, &self.decimals[..kept]), self.decimals[kept..].to_owned())
        } else {
            let kept = self.integer.len().saturating_sub(size);
            (self.integer[..kept].to_owned(), format!("{}{}", &self.integer[kept..], self.decimals))
        };
        (kept.trim_start_matches('0').to_owned(), rest.bytes().any(|digit| digit != b'0'))
    }

    /// The reason why no number will do.
    pub(crate) fn none_between(least: &str, most: &str, decimals: i32) -> String {
        let what = match decimals {
            0 => "whole number".to_owned(),
            _ => format!("number with {decimals} decimals"),
        };
        format!("no {what} is from {least} to {most}")
    }

    /// Returns whether a number with so many decimals is between two in order.
    pub(crate) fn any_between(least: &str, most: &str, decimals: i32) -> bool {
        let (least, most) = (Decimal::of(least), Decimal::of(most));
        if least.is_zero() || most.is_zero() || least.is_negative != most.is_negative {
            return true;
        }
        let (near, far) = if least.is_negative { (most, least) } else { (least, most) };
        let ((near, goes_on), (far, _)) = (near.cut(decimals), far.cut(decimals));
        !goes_on || (far.len(), far) > (near.len(), near)
    }
}

/// Numbers that all have the same decimals: fewer than none, where the digits before the point end in zeros.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Units {
    pub(crate) decimals: i32,
    /// The least and the greatest number, counted in their last decimal.
    pub(crate) least: i64,
    pub(crate) most: i64,
}

impl Units {
    /// The most digits of which all numbers are within 64 bits.
    pub(crate) const MOST_DIGITS: u32 = 18;

    /// Returns a constant in SQL.
    pub(crate) fn power_of_ten(exponent: i32) -> String {
        format!("1e{exponent}::pg_catalog.numeric")
    }

    /// Returns the first and the last number between two in order, counted in their last decimal, and within what the type holds.
    ///
    /// # Errors
    /// The reason why there is none.
    pub(crate) fn between(&self, least: &str, most: &str) -> Result<(i64, i64), String> {
        if !Decimal::any_between(least, most, self.decimals) {
            return Err(Decimal::none_between(least, most, self.decimals));
        }
        let end = |bound: &str, is_least: bool| {
            let decimal = Decimal::of(bound);
            let (digits, goes_on) = decimal.cut(self.decimals);
            let size = match digits.as_str() {
                "" => 0,
                digits => digits.parse::<i64>().unwrap_or(i64::MAX),
            };
            // Towards the inside: a positive least one and a negative greatest one grow.
            let size = size.saturating_add(i64::from(goes_on && decimal.is_negative != is_least));
            if decimal.is_negative { -size } else { size }.clamp(self.least, self.most)
        };
        Ok((end(least, true), end(most, false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_counted_in_the_last_decimal() {
        let between = |decimals: i32, least: &str, most: &str| {
            Units { decimals, least: -99_999, most: 99_999 }.between(least, most)
        };
        for (decimals, least, most, ends) in [
            (0, "0", "99", (0, 99)),
            (0, "-0.5", "0.5", (0, 0)),
            (0, "0.1", "1", (1, 1)),
            (0, "-1.5", "-0.9", (-1, -1)),
            (2, "0.001", "0.999", (1, 99)),
            (2, "-12.345", "-12.34", (-1234, -1234)),
            (2, "-12.346", "12.346", (-1234, 1234)),
            (2, "9", "10", (900, 1000)),
            (-2, "1", "100", (1, 1)),
            (-2, "-250", "250", (-2, 2)),
            (0, "0", "18446744073709551615", (0, 99_999)),
        ] {
            assert_eq!(between(decimals, least, most), Ok(ends), "{decimals} {least} {most}");
        }
        assert_eq!(between(0, "0.1", "0.4").unwrap_err(), "no whole number is from 0.1 to 0.4");
        assert_eq!(between(2, "1.001", "1.009").unwrap_err(), "no number with 2 decimals is from 1.001 to 1.009");
    }
}
