//! Decimal numbers as people and programs write them, in four bytes and without loss.

use crate::number::POWERS;

/// Numbers of up to eight digits, each kept as it was written: an integer and the decimals it is
/// shifted by.
///
/// `174.477` is 174477 / 10³, and that quotient, rounded once, is the double nearest to the text:
/// so four bytes give back every bit of the eight of a double. Missing values are there too.
///
/// ```
/// let decimals = ff_table::Decimals::of(&[174.477, f64::NAN, -0.001]).unwrap();
/// assert_eq!(decimals.get(0), 174.477);
/// assert!(decimals.get(1).is_nan());
/// assert!(ff_table::Decimals::of(&[1.0 / 3.0]).is_none());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decimals {
    /// The integer in the upper 28 bits, the number of decimals in the lower four; below an integer
    /// of 0 they number the values that no integer gives.
    cells: Vec<Cell>,
}

/// One packed number.
pub(crate) type Cell = i32;

const SHIFT: u32 = 4;
const MASK: i32 = (1 << SHIFT) - 1;

/// Integers are below this.
const LIMIT: u64 = 1 << 27;

/// A missing value.
pub(crate) const MISSING: Cell = 15;
const NEGATIVE_ZERO: Cell = 14;
const INFINITY: Cell = 13;
const NEGATIVE_INFINITY: Cell = 12;

/// Packs ± digits / 10^decimals, if it fits.
#[inline]
pub(crate) fn pack(negative: bool, digits: u64, decimals: u32) -> Option<Cell> {
    if digits >= LIMIT || decimals > MASK as u32 {
        return None;
    }
    if digits == 0 {
        return Some(if negative { NEGATIVE_ZERO } else { 0 });
    }
    let digits = digits as i32;
    Some((if negative { -digits } else { digits }) << SHIFT | decimals as i32)
}

/// Packs a double, if it is a decimal number that fits.
pub(crate) fn pack_double(x: f64) -> Option<Cell> {
    if x.is_nan() {
        return Some(MISSING);
    }
    if x.is_infinite() {
        return Some(if x > 0.0 { INFINITY } else { NEGATIVE_INFINITY });
    }
    let magnitude = x.abs();
    (0..=MASK as usize).find_map(|decimals| {
        let digits = (magnitude * POWERS[decimals]).round();
        let fits = digits < LIMIT as f64 && digits / POWERS[decimals] == magnitude;
        fits.then(|| pack(x.is_sign_negative(), digits as u64, decimals as u32))?
    })
}

/// The double that a cell stands for.
#[inline]
pub(crate) fn unpack(cell: Cell) -> f64 {
    let digits = cell >> SHIFT;
    let decimals = cell & MASK;
    if digits != 0 {
        return f64::from(digits) / POWERS[decimals as usize];
    }
    match decimals {
        MISSING => f64::NAN,
        NEGATIVE_ZERO => -0.0,
        INFINITY => f64::INFINITY,
        NEGATIVE_INFINITY => f64::NEG_INFINITY,
        _ => 0.0,
    }
}

impl Decimals {
    /// Packs all values; `None` if one of them has too many digits.
    pub fn of(values: &[f64]) -> Option<Self> {
        let cells = values.iter().map(|&x| pack_double(x)).collect::<Option<_>>()?;
        Some(Self { cells })
    }

    /// The number of values.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// One value; NaN is missing.
    #[inline]
    pub fn get(&self, row: usize) -> f64 {
        unpack(self.cells[row])
    }

    /// All values.
    pub(crate) fn iter(&self) -> impl Iterator<Item = f64> + '_ {
        self.cells.iter().map(|&cell| unpack(cell))
    }

    /// The values that are there as integers over one power of ten, and that power; `None` where
    /// one of them is no such quotient (-0, infinite ones) or not one of integers that a double
    /// holds.
    pub(crate) fn integers(&self) -> Option<(Vec<i64>, f64)> {
        let mut most = 0;
        for &cell in &self.cells {
            match (cell >> SHIFT, cell & MASK) {
                (0, NEGATIVE_INFINITY..=NEGATIVE_ZERO) => return None,
                (0, _) => {}
                (_, decimals) => most = decimals.max(most),
            }
        }
        let scales: [i64; 16] = std::array::from_fn(|decimals| {
            10i64.pow(u32::try_from(most).unwrap_or(0).saturating_sub(decimals as u32))
        });
        let mut integers = Vec::with_capacity(self.cells.len());
        for &cell in &self.cells {
            if cell != MISSING {
                let digits = i64::from(cell >> SHIFT);
                let integer = digits.checked_mul(scales[(cell & MASK) as usize])?;
                integers
                    .push(Some(integer).filter(|x| x.unsigned_abs() < 1 << f64::MANTISSA_DIGITS)?);
            }
        }
        Some((integers, POWERS[most as usize]))
    }

    pub(crate) fn cells(&self) -> &[Cell] {
        &self.cells
    }

    pub(crate) fn extend(&mut self, cells: &[Cell]) {
        self.cells.extend_from_slice(cells);
    }

    pub(crate) fn truncate(&mut self, rows: usize) {
        self.cells.truncate(rows);
    }

    pub(crate) fn shrink_to_fit(&mut self) {
        self.cells.shrink_to_fit();
    }

    pub(crate) fn slice(&self, rows: std::ops::Range<usize>) -> Self {
        Self { cells: self.cells[rows].to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn what_no_integer_gives_survives() {
        for x in [0.0, -0.0, f64::INFINITY, f64::NEG_INFINITY, 1.0, -1.0, 134_217_727.0, 1e-15] {
            assert_eq!(unpack(pack_double(x).unwrap()).to_bits(), x.to_bits(), "{x}");
        }
        assert!(unpack(pack_double(f64::NAN).unwrap()).is_nan());
        for x in [134_217_728.0, 1e-16, 0.1 + 0.2, f64::MAX, f64::MIN_POSITIVE] {
            assert_eq!(pack_double(x), None, "{x}");
        }
    }

    proptest! {
        #[test]
        fn packed_decimals_are_what_their_text_reads_as(
            negative: bool, digits in 0u64..LIMIT, decimals in 0u32..16,
        ) {
            let text = format!("{}{digits}e-{decimals}", if negative { "-" } else { "" });
            let read: f64 = text.parse().unwrap();
            let packed = pack(negative, digits, decimals).unwrap();
            prop_assert_eq!(unpack(packed).to_bits(), read.to_bits());
            prop_assert_eq!(unpack(pack_double(read).unwrap()).to_bits(), read.to_bits());
        }
    }
}
