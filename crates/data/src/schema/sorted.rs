//! The numbers of a column in ascending order.

use crate::number::POWERS;
use crate::table::{Decimals, Numbers, Values};

/// Fewer values are sorted by comparing them.
const FEW: usize = 2048;

/// Integers below this are exact in a double.
const EXACT: i64 = 1 << 53;

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

/// Brings decimals to the same number of decimals, so that they are sorted as integers, byte by byte; `None` where that
/// loses something.
fn sort_decimals(decimals: &Decimals) -> Option<Vec<f64>> {
    let most = decimals.parts().map(|part| part.map_or(0, |(_, places)| places)).max()?;
    let mut keys: Vec<u64> = Vec::with_capacity(decimals.len());
    let (mut low, mut high) = (i64::MAX, i64::MIN);
    for part in decimals.parts() {
        let Some((digits, places)) = part else { continue };
        let key = i64::from(digits?).checked_mul(10i64.pow(most - places))?;
        (low, high) = (low.min(key), high.max(key));
        keys.push(key as u64);
    }
    if keys.is_empty() || low <= -EXACT || high >= EXACT {
        return None;
    }
    keys.iter_mut().for_each(|key| *key = key.wrapping_sub(low as u64));
    sort_below(&mut keys, (high - low) as u64);
    // A quotient of integers that a double holds is rounded once, as that of the digits it came from.
    let power = POWERS[most as usize];
    Some(keys.into_iter().map(|key| (key.wrapping_add(low as u64) as i64) as f64 / power).collect())
}

/// Sorts integers of at most `high`, the least significant byte first.
fn sort_below(keys: &mut Vec<u64>, high: u64) {
    let bytes = (u64::BITS - high.leading_zeros()).div_ceil(8);
    let mut other = vec![0; keys.len()];
    for byte in 0..bytes {
        let digit = |key: u64| (key >> (8 * byte)) as usize & 0xff;
        let mut places = [0usize; 256];
        keys.iter().for_each(|&key| places[digit(key)] += 1);
        let mut next = 0;
        for place in &mut places {
            (*place, next) = (next, next + *place);
        }
        for &key in &*keys {
            let place = &mut places[digit(key)];
            other[*place] = key;
            *place += 1;
        }
        std::mem::swap(keys, &mut other);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
