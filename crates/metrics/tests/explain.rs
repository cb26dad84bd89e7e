//! Permutation importance and partial dependence against theory, for models known exactly.

#![allow(clippy::unwrap_used, clippy::expect_used, missing_docs)]

use ff_metrics::Direction;
use ff_metrics::explain::*;

type Answer<T> = Result<T, ExplainError>;

/// Pseudo-random numbers in [0, 1), from another generator than the one under test.
fn noise(n: usize) -> Vec<f32> {
    let mut state = 1_u64;
    let mut next = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1_u64 << 24) as f32
    };
    (0..n).map(|_| next()).collect()
}

#[expect(clippy::unnecessary_wraps, reason = "the signature of `predict`")]
fn linear(numeric: &[f32], _: &[i32]) -> Answer<Vec<f32>> {
    Ok(numeric.chunks_exact(3).map(|x| 2.0 * x[0] - x[1]).collect())
}

#[test]
fn a_linear_model_loses_twice_the_variance_it_explains() {
    let rows = 400;
    let numeric = noise(rows * 3);
    let table = EncodedRows::new(&numeric, 3, &[], 0).unwrap();
    let groups = [
        FeatureGroup::new("a").numeric(0..1),
        FeatureGroup::new("b").numeric(1..2),
        FeatureGroup::new("unused").numeric(2..3),
    ];
    let options = ExplainOptions { repeats: 40, ..ExplainOptions::default() };
    let target = linear(&numeric, &[]).unwrap();
    let mse = |scores: &[f32], rows: &[usize]| -> Answer<f64> {
        let square = |(score, row): (&f32, &usize)| f64::from(score - target[*row]).powi(2);
        Ok(scores.iter().zip(rows).map(square).sum::<f64>() / rows.len() as f64)
    };
    let importances =
        permutation_importance(&table, &groups, Direction::LowerIsBetter, &options, linear, mse)
            .unwrap();
    assert_eq!((importances.reference, importances.rows), (0.0, rows));
    for (column, slope) in [(0, 2.0_f64), (1, -1.0), (2, 0.0)] {
        let x: Vec<f64> = numeric.iter().skip(column).step_by(3).map(|x| f64::from(*x)).collect();
        let mean = x.iter().sum::<f64>() / rows as f64;
        let variance = x.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / rows as f64;
        // E (w (x − x'))² = 2 w² var. The mean over 400 rows has a standard error of about 1/√400
        // of that, the mean of 40 repeats one of 0.8 %: five of those.
        let expected = 2.0 * slope * slope * variance;
        let found = importances.columns[column].mean;
        assert!(
            (found - expected).abs() <= 0.04 * expected,
            "{column}: {found}, expected {expected}"
        );
    }
    let order: Vec<&str> = importances.ranked().iter().map(|i| i.name.as_str()).collect();
    assert_eq!(order, ["a", "b", "unused"]);
    assert!(importances.columns[0].std > 0.0 && importances.columns[2].std == 0.0);
}

#[test]
fn the_features_of_a_column_stay_together() {
    // Features 0 and 3 and the category all hold the same number; features 1 and 2 never change.
    let rows = 50_i16;
    let numeric: Vec<f32> =
        (0..rows).flat_map(|i| [f32::from(i), -1.0, -2.0, f32::from(i)]).collect();
    let categorical: Vec<i32> = (0..rows).map(i32::from).collect();
    let table = EncodedRows::new(&numeric, 4, &categorical, 1).unwrap();
    let split = FeatureGroup::new("split").numeric(0..1).numeric(3..4).categorical(0..1);
    let other = FeatureGroup::new("other").numeric(1..3);
    let mut seen = 0;
    let mut changed = 0;
    let predict = |numeric: &[f32], categorical: &[i32]| -> Answer<Vec<f32>> {
        seen += 1;
        for (row, category) in numeric.chunks_exact(4).zip(categorical) {
            assert_eq!(
                (row[0], row[1], row[2], row[3]),
                (*category as f32, -1.0, -2.0, *category as f32)
            );
        }
        let mut sorted = categorical.to_vec();
        changed += usize::from(!sorted.is_sorted());
        sorted.sort_unstable();
        assert!(
            sorted.iter().enumerate().all(|(i, c)| i as i32 == *c),
            "a permutation loses no value"
        );
        Ok(categorical.iter().map(|c| *c as f32).collect())
    };
    let metric = |scores: &[f32], rows: &[usize]| -> Answer<f64> {
        Ok(scores.iter().zip(rows).filter(|(s, r)| **s == **r as f32).count() as f64)
    };
    let options = ExplainOptions { repeats: 3, ..ExplainOptions::default() };
    let importances = permutation_importance(
        &table,
        &[split, other],
        Direction::HigherIsBetter,
        &options,
        predict,
        metric,
    )
    .unwrap();
    // One prediction of the unchanged rows and three per column; afterwards each column is
    // restored.
    assert_eq!((seen, changed), (7, 3));
    assert_eq!(importances.reference, 50.0);
    assert!(importances.columns[0].mean > 40.0);
    assert_eq!(importances.columns[1].mean, 0.0);
}

#[test]
fn cost_is_bounded_and_the_seed_decides() {
    let numeric = noise(3 * 20_000);
    let table = EncodedRows::new(&numeric, 3, &[], 0).unwrap();
    let groups = [FeatureGroup::new("a").numeric(0..1), FeatureGroup::new("b").numeric(1..2)];
    let run = |seed: u64, max_predictions: usize, groups: &[FeatureGroup]| {
        let mut asked = 0;
        let options = ExplainOptions { seed, max_predictions, ..ExplainOptions::default() };
        let predict = |numeric: &[f32], categorical: &[i32]| -> Answer<Vec<f32>> {
            asked += numeric.len() / 3;
            linear(numeric, categorical)
        };
        let mean = |scores: &[f32], rows: &[usize]| -> Answer<f64> {
            assert!(rows.is_sorted_by(|a, b| a < b), "each row once, in order");
            Ok(scores.iter().zip(rows).map(|(s, r)| f64::from(*s) * *r as f64).sum())
        };
        let result = permutation_importance(
            &table,
            groups,
            Direction::HigherIsBetter,
            &options,
            predict,
            mean,
        )
        .unwrap();
        (result, asked)
    };
    let (first, asked) = run(1, 5_000_000, &groups);
    assert_eq!((first.rows, asked), (5000, 11 * 5000));
    assert_eq!(run(1, 5_000_000, &groups).0, first);
    assert_ne!(run(2, 5_000_000, &groups).0.columns, first.columns);
    // The result of a column does not depend on the other columns.
    assert_eq!(run(1, 5_000_000, &groups[1..]).0.columns[0], first.columns[1]);
    assert_eq!(run(1, 11_000, &groups).1, 11_000);
    assert_eq!(run(1, 1, &groups).0.rows, 100);
}

#[test]
fn partial_dependence_of_an_additive_model_is_its_own_term() {
    let rows = 90;
    let numeric = noise(rows * 3);
    let table = EncodedRows::new(&numeric, 3, &[], 0).unwrap();
    let x: Vec<f64> = numeric.iter().step_by(3).map(|x| f64::from(*x)).collect();
    let donors = quantile_rows(&x, 9);
    assert_eq!(donors.len(), 9);
    // Two scores per row: x₀² + x₁ and x₁.
    let predict = |numeric: &[f32], _: &[i32]| -> Answer<Vec<f32>> {
        Ok(numeric.chunks_exact(3).flat_map(|x| [x[0] * x[0] + x[1], x[1]]).collect())
    };
    let points = partial_dependence(
        &table,
        &FeatureGroup::new("x").numeric(0..1),
        &donors,
        &ExplainOptions::default(),
        predict,
    )
    .unwrap();
    let rest = numeric.iter().skip(1).step_by(3).map(|x| f64::from(*x)).sum::<f64>() / rows as f64;
    for (point, donor) in points.iter().zip(donors) {
        assert_eq!(point.donor, donor);
        // Each f32 prediction has two roundings of 2⁻²⁴.
        assert!((point.mean[0] - x[donor] * x[donor] - rest).abs() < 2e-7, "{point:?}");
        assert!((point.mean[1] - rest).abs() < 1e-12, "{point:?}");
    }
}

#[test]
fn grids_cover_what_is_there() {
    let values: Vec<f64> = (0..101).rev().map(f64::from).collect();
    let grid: Vec<f64> = quantile_rows(&values, 5).into_iter().map(|row| values[row]).collect();
    assert_eq!(grid, [0.0, 25.0, 50.0, 75.0, 100.0]);
    assert_eq!(quantile_rows(&[1.0; 9], 5).len(), 1);
    assert_eq!(quantile_rows(&[f64::NAN; 3], 5), Vec::<usize>::new());
    assert_eq!(quantile_rows(&values, 0), Vec::<usize>::new());
    assert_eq!(quantile_rows(&values, 1), [100]);
    assert_eq!(frequent_rows(&[7, 7, 5, 5, 9], 10), [0, 2, 4]);
    assert_eq!(frequent_rows::<i32>(&[], 3), Vec::<usize>::new());
}

#[test]
fn what_does_not_fit_is_said() {
    assert_eq!(EncodedRows::new(&[], 2, &[], 0).unwrap_err(), ExplainError::Empty);
    assert!(
        EncodedRows::new(&[1.0; 4], 2, &[1; 3], 1)
            .unwrap_err()
            .to_string()
            .contains("4 numeric values")
    );
    assert!(EncodedRows::new(&[1.0], 0, &[1], 1).is_err());
    assert_eq!(EncodedRows::new(&[], 0, &[1, 2, 3], 1).unwrap().len(), 3);

    let numeric = [0.0; 6];
    let table = EncodedRows::new(&numeric, 3, &[], 0).unwrap();
    let options = ExplainOptions::default();
    let with = |group: FeatureGroup, donors: &[usize]| {
        partial_dependence(&table, &group, donors, &options, linear).unwrap_err().to_string()
    };
    assert_eq!(with(FeatureGroup::new("a"), &[0]), "column `a`: it has no encoded feature");
    assert!(
        with(FeatureGroup::new("b").numeric(2..4), &[0])
            .contains("numeric features 2..4 exceed the 3")
    );
    assert!(
        with(FeatureGroup::new("c").categorical(0..1), &[0]).contains("categorical features 0..1")
    );
    assert!(with(FeatureGroup::new("d").numeric(0..1), &[2]).contains("grid point 2"));
    let silent = |_: &[f32], _: &[i32]| -> Answer<Vec<f32>> { Ok(vec![1.0; 3]) };
    let torn =
        partial_dependence(&table, &FeatureGroup::new("e").numeric(0..1), &[0], &options, silent);
    assert_eq!(torn.unwrap_err(), ExplainError::Scores { rows: 2, found: 3 });
}
