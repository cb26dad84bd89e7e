//! Several arrays walked together in rows: dimensions that lie behind each other in all of them are
//! one.

/// A common shape, and the strides by which each of `K` arrays is walked through it.
#[derive(Debug)]
pub(crate) struct Rows<const K: usize> {
    /// The number of rows.
    pub(crate) count: usize,
    /// The elements of a row.
    pub(crate) len: usize,
    /// The stride of each array within a row.
    pub(crate) steps: [isize; K],
    /// The dimensions of the rows, the innermost first, and the strides of each array.
    outer: Vec<(usize, [isize; K])>,
}

impl<const K: usize> Rows<K> {
    /// Arrays with these strides in a shape.
    pub(crate) fn new(dims: &[usize], strides: [&[isize]; K]) -> Self {
        let empty = dims.contains(&0);
        let mut merged: Vec<(usize, [isize; K])> = Vec::with_capacity(dims.len());
        for (i, &d) in dims.iter().enumerate().rev().filter(|(_, d)| **d != 1) {
            let own = strides.map(|strides| strides[i]);
            match merged.last_mut() {
                Some((n, inner)) if (0..K).all(|k| own[k] == inner[k] * *n as isize) => *n *= d,
                _ => merged.push((d, own)),
            }
        }
        if merged.is_empty() {
            merged.push((1, [1; K]));
        }
        let (len, steps) = merged.remove(0);
        let count = if empty { 0 } else { merged.iter().map(|(n, _)| n).product() };
        Self { count, len, steps, outer: merged }
    }

    /// Arrays of these shapes, which broadcast to `to`.
    pub(crate) fn broadcast(to: &[usize], shapes: [&[usize]; K]) -> Self {
        let strides = shapes.map(|dims| {
            let mut own = vec![0; to.len()];
            let missing = to.len() - dims.len();
            let mut stride = 1;
            for (i, &d) in dims.iter().enumerate().rev() {
                if d != 1 {
                    own[missing + i] = stride;
                }
                stride *= d as isize;
            }
            own
        });
        Self::new(to, strides.each_ref().map(Vec::as_slice))
    }

    /// Where a row starts in each array.
    #[inline]
    pub(crate) fn starts(&self, mut row: usize) -> [isize; K] {
        let mut at = [0; K];
        for (n, strides) in &self.outer {
            let i = (row % n) as isize;
            row /= n;
            for k in 0..K {
                at[k] += i * strides[k];
            }
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::Rows;

    #[test]
    fn dimensions_that_lie_behind_each_other_are_one() {
        let rows = Rows::broadcast(&[2, 3, 4], [&[2, 3, 4], &[3, 4]]);
        assert_eq!((rows.count, rows.len, rows.steps), (2, 12, [1, 1]));
        assert_eq!(rows.starts(1), [12, 0]);
        let rows = Rows::broadcast(&[2, 3, 4], [&[2, 3, 4], &[1]]);
        assert_eq!((rows.count, rows.len, rows.steps), (1, 24, [1, 0]));
        let rows = Rows::broadcast(&[2, 3, 4], [&[2, 3, 4], &[2, 1, 1]]);
        assert_eq!((rows.count, rows.len, rows.steps), (2, 12, [1, 0]));
        assert_eq!(Rows::broadcast(&[0, 3], [&[0, 3]]).count, 0);
        assert_eq!(Rows::broadcast(&[], [&[]]).count, 1);
    }
}
