//! The numbers of a column in ascending order.

use crate::table::{Decimals, Numbers, Values};

/// Fewer values are sorted by comparing them.
const FEW: usize = 2048;

/// All values that are there, ascending, -0 before 0.
pub(super) fn sorted(values: &Values) -> Vec<f64> {
    if let Values::Number(Numbers::Decimal(decimals)) = values
        && decimals.len() >= FEW
        && let Some(sorted) = sort_decimals(decimals)
    {
        return sorted;
    }
    let mut present: Vec<f64> = Vec::with_capacity(values.len());
    match values {
        Values::Number(numbers) => numbers.for_each(|x| {
            if !x.is_nan() {
                present.push(x);
            }
        }),
        _ => present.extend((0..values.len()).filter_map(|row| values.number(row))),
    }
    present.sort_unstable_by(f64::total_cmp);
    present
}

/// Sorts decimals as integers, byte by byte; `None` where they are none.
fn sort_decimals(decimals: &Decimals) -> Option<Vec<f64>> {
    let (integers, power) = decimals.integers()?;
    let (low, high) = (*integers.iter().min()?, *integers.iter().max()?);
    let keys = integers.into_iter().map(|integer| (integer - low) as u64).collect();
    let keys = sort_below(keys, (high - low) as u64);
    // A quotient of integers that a double holds is rounded once, as that of the digits it came
    // from.
    Some(keys.into_iter().map(|key| (key as i64 + low) as f64 / power).collect())
}

/// Sorts integers of at most `high`, the least significant byte first.
fn sort_below(mut keys: Vec<u64>, high: u64) -> Vec<u64> {
    let bytes = (u64::BITS - high.leading_zeros()).div_ceil(8) as usize;
    let digit = |key: u64, byte: usize| (key >> (8 * byte)) as usize & 0xff;
    let mut counts = [[0u32; 256]; 8];
    for &key in &keys {
        for (byte, counts) in counts.iter_mut().enumerate().take(bytes) {
            counts[digit(key, byte)] += 1;
        }
    }
    let mut other = vec![0; keys.len()];
    for (byte, counts) in counts.iter().enumerate().take(bytes) {
        let mut places = [0usize; 256];
        let mut next = 0;
        for (place, &count) in places.iter_mut().zip(counts) {
            *place = next;
            next += count as usize;
        }
        for &key in &keys {
            let place = &mut places[digit(key, byte)];
            other[*place] = key;
            *place += 1;
        }
        std::mem::swap(&mut keys, &mut other);
    }
    keys
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::number::POWERS;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]

        #[test]
        fn decimals_are_sorted_as_doubles_are(
            cells in proptest::collection::vec((-99_999i64..99_999, 0i32..9), FEW..FEW + 50), gap: bool,
        ) {
            let mut values: Vec<f64> =
                cells.iter().map(|&(digits, places)| digits as f64 / POWERS[places as usize]).collect();
            if gap {
                values[7] = f64::NAN;
            }
            let numbers = Numbers::Decimal(Decimals::of(&values).unwrap());
            let mut plain: Vec<f64> = values.into_iter().filter(|x| !x.is_nan()).collect();
            plain.sort_unstable_by(f64::total_cmp);
            let bits = |values: &[f64]| values.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(bits(&sorted(&Values::Number(numbers))), bits(&plain));
        }
    }

    #[test]
    fn what_is_no_integer_is_sorted_by_comparing() {
        let mut values = vec![1.5; FEW];
        (values[3], values[4], values[5]) = (-0.0, 0.0, f64::INFINITY);
        let decimals = Decimals::of(&values).unwrap();
        assert!(sort_decimals(&decimals).is_none());
        let sorted = sorted(&Values::Number(Numbers::Decimal(decimals)));
        assert_eq!(sorted[0].to_bits(), (-0.0f64).to_bits());
        assert_eq!(sorted[FEW - 1], f64::INFINITY);
    }
}
