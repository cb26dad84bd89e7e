//! Successive halving: many trials for a few epochs, the best third of them for three times as
//! many, and so on (Jamieson and Talwalkar, 2016).

/// How many times fewer trials, and more epochs, each rung has than the one before.
const ETA: usize = 3;

/// A rung: so many trials train to this epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rung {
    pub(super) trials: usize,
    pub(super) epochs: usize,
}

/// The rungs of so many trials, the last one with the epochs of a whole training.
pub(super) fn rungs(trials: usize, epochs: usize) -> Vec<Rung> {
    let mut sizes = vec![trials.max(1)];
    while sizes[sizes.len() - 1] > 1 {
        sizes.push(sizes[sizes.len() - 1].div_ceil(ETA));
    }
    // Too few epochs for a rung of their own: the first rungs would all have one epoch.
    let most = 1 + epochs.max(1).ilog(ETA) as usize;
    let first = sizes.len().saturating_sub(most);
    let rungs = sizes.len();
    let rung = |(i, &trials): (usize, &usize)| {
        let divisor = ETA.pow((rungs - 1 - i) as u32);
        Rung { trials, epochs: epochs.div_ceil(divisor).max(1) }
    };
    let mut all: Vec<Rung> = sizes.iter().enumerate().skip(first).map(rung).collect();
    if let Some(rung) = all.first_mut() {
        rung.trials = trials.max(1);
    }
    all
}

/// The trials that go on, best first: those of the highest values. Ties go to the earlier trial; a
/// value that is no number comes last.
pub(super) fn best(trials: &[usize], value: impl Fn(usize) -> f64, keep: usize) -> Vec<usize> {
    let key =
        |trial: usize| Some(value(trial)).filter(|v| !v.is_nan()).unwrap_or(f64::NEG_INFINITY);
    let mut sorted = trials.to_vec();
    sorted.sort_by(|&a, &b| key(b).total_cmp(&key(a)).then(a.cmp(&b)));
    sorted.truncate(keep);
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_fall_to_one_while_epochs_rise_to_all() {
        let shape = |trials, epochs| -> Vec<(usize, usize)> {
            rungs(trials, epochs).iter().map(|rung| (rung.trials, rung.epochs)).collect()
        };
        assert_eq!(shape(27, 200), [(27, 8), (9, 23), (3, 67), (1, 200)]);
        assert_eq!(shape(10, 200), [(10, 8), (4, 23), (2, 67), (1, 200)]);
        assert_eq!(shape(1, 200), [(1, 200)]);
        assert_eq!(shape(2, 5), [(2, 2), (1, 5)]);
        // Few epochs: all trials start at one of the first rungs that differ.
        assert_eq!(shape(81, 9), [(81, 1), (3, 3), (1, 9)]);
        assert_eq!(shape(5, 1), [(5, 1)]);
    }

    #[test]
    fn the_best_go_on_and_ties_are_settled() {
        let values = [0.1, f64::NAN, 0.5, 0.5, f64::NEG_INFINITY];
        assert_eq!(best(&[0, 1, 2, 3, 4], |t| values[t], 3), [2, 3, 0]);
        assert_eq!(best(&[4, 1], |t| values[t], 2), [1, 4]);
    }
}
