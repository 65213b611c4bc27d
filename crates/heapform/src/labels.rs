//! The numbers that two servers have given to the labels of an enum.

use crate::Damage;
use serde::{Deserialize, Serialize};

/// What the stored values of an enum's column mean here.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Labels {
    /// The position of the column among those that travel.
    pub column: usize,
    /// Numbers of the source with those of this server, sorted by the former.
    numbers: Vec<(u32, u32)>,
}

impl Labels {
    /// Pairs the numbers of labels with those that the same labels have here. Returns the first label that is missing here instead.
    pub fn of<'a>(
        column: usize,
        there: impl IntoIterator<Item = (u32, &'a str)>,
        here: impl Fn(&str) -> Option<u32>,
    ) -> Result<Self, &'a str> {
        let paired = there.into_iter().map(|(number, label)| here(label).map(|here| (number, here)).ok_or(label));
        let mut numbers = paired.collect::<Result<Vec<_>, _>>()?;
        numbers.sort_unstable();
        Ok(Self { column, numbers })
    }

    /// Puts the number of this server into a stored value, which begins at `place`.
    ///
    /// # Errors
    /// The number is none of a label.
    #[inline]
    pub fn put(&self, data: &mut [u8], place: usize) -> Result<(), Damage> {
        let unknown = Damage { column: Some(self.column), reason: "there is no label of that number" };
        let value = data.get_mut(place..).and_then(|rest| rest.first_chunk_mut::<4>()).ok_or(unknown)?;
        let number = u32::from_le_bytes(*value);
        let found = self.numbers.binary_search_by_key(&number, |(there, _)| *there).map_err(|_| unknown)?;
        *value = self.numbers[found].1.to_le_bytes();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels() -> Labels {
        let here = |label: &str| ["happy", "ok", "sad"].iter().position(|known| *known == label).map(|at| at as u32);
        Labels::of(3, [(20, "sad"), (11, "ok")], here).unwrap()
    }

    #[test]
    fn numbers_are_those_of_the_same_labels() {
        let mut data = [9, 20, 0, 0, 0, 11, 0, 0, 0];
        labels().put(&mut data, 1).unwrap();
        labels().put(&mut data, 5).unwrap();
        assert_eq!(data, [9, 2, 0, 0, 0, 1, 0, 0, 0]);
    }

    #[test]
    fn other_numbers_and_places_are_refused() {
        let refused = Damage { column: Some(3), reason: "there is no label of that number" };
        for place in [0, 1, 4, 100] {
            assert_eq!(labels().put(&mut [12, 0, 0, 0], place), Err(refused));
        }
        assert_eq!(Labels::of(0, [(1, "sad"), (2, "odd")], |label| (label == "sad").then_some(1)), Err("odd"));
    }
}
