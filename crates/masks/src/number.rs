//! Masks of numbers that all have the same decimals: they are counted in their last one.

use crate::hash::natural;

/// Returns the hash of a number.
fn hash(key: &[u8], count: i64) -> i64 {
    natural(key, "number", &count.to_be_bytes())
}

/// Returns a number up or down by at most a fraction of it, and by one at least. It is not greater than `most`, nor less than its
/// negative; a positive one stays positive. `None` where these two leave no room.
#[inline]
pub fn near(key: &[u8], count: i64, fraction: f64, most: i64) -> Option<i64> {
    /// Keeps sums of these within 64 bits.
    const FARTHEST: f64 = (1_i64 << 61) as f64;
    if most < 2 {
        return None;
    }
    let size = count.max(-i64::MAX).abs().min(most);
    let far = ((size as f64 * fraction).min(FARTHEST).floor() as i64).max(1);
    // Those on both sides are counted round: from the number upwards, and on from the least one.
    let (below, above) = (far.min((size - 1).max(0)), far.min(most - size));
    let step = (below + 1 + hash(key, count) % (below + above)) % (below + above + 1);
    let masked = size - below + step;
    Some(if count < 0 { -masked } else { masked })
}

/// Returns any number between two.
#[inline]
pub fn between(key: &[u8], count: i64, first: i64, last: i64) -> i64 {
    let hash = hash(key, count);
    let numbers = i128::from(last) - i128::from(first) + 1;
    let offset = match i64::try_from(numbers) {
        Ok(numbers @ 1..) => hash % numbers,
        // There are none.
        Ok(_) => 0,
        // Half of them are as good as all.
        Err(_) => hash,
    };
    first.saturating_add(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: [u8; 32] = [3; 32];

    #[test]
    fn numbers_stay_near() {
        for most in [9, 99, 32_767, i64::from(i32::MAX), 999_999_999_999_999_999, i64::MAX] {
            for fraction in [1e-9, 0.1, 0.5, 1.0] {
                for count in [0, 1, 2, 3, 9, 10, 100, 12_345, most / 2, most - 1, most] {
                    for count in [count.min(most), -count.min(most)] {
                        let masked = near(&KEY, count, fraction, most).unwrap();
                        assert_ne!(masked, count, "{most} {fraction}");
                        assert!((count < 0) == (masked < 0) && masked != 0 && masked.abs() <= most, "{count} {masked}");
                        let far = (count.abs() as f64 * fraction).max(1.0);
                        assert!((masked as f64 - count as f64).abs() <= far * 1.000_001, "{count} {masked} {fraction}");
                    }
                }
            }
        }
        assert!(near(&KEY, i64::MIN, 1.0, i64::MAX).unwrap() < 0);
        for most in [1, 0, -1, i64::MIN] {
            assert_eq!(near(&KEY, 5, 0.1, most), None);
        }
        for fraction in [f64::NAN, f64::INFINITY, -1.0, 0.0] {
            assert!(near(&KEY, 5, fraction, 99).is_some());
        }
    }

    #[test]
    fn numbers_stay_between() {
        for (first, last) in
            [(0, 0), (-5, 5), (i64::MIN, i64::MAX), (-i64::MAX, i64::MAX), (i64::MAX, i64::MAX), (0, i64::MAX)]
        {
            for count in [0, 1, -1, i64::MIN, i64::MAX] {
                assert!((first..=last).contains(&between(&KEY, count, first, last)), "{first} {last} {count}");
            }
        }
        // Whatever somebody calls it with.
        assert_eq!(between(&KEY, 1, 5, 4), 5);
        between(&KEY, 1, i64::MAX, i64::MIN);
    }
}
