//! Principal components of a few rows, for maps of recordings.

use timbre_models::classic::eigen::symmetric_eigen;

/// The two principal components of centred rows, and their shares of the variance.
pub fn principal_components(rows: &[Vec<f64>]) -> (Vec<(f64, f64)>, [f64; 2]) {
    let columns = rows.first().map_or(0, Vec::len);
    let mut products = vec![0.0; columns * columns];
    for row in rows {
        for (i, a) in row.iter().enumerate() {
            row.iter().enumerate().for_each(|(k, b)| products[i * columns + k] += a * b);
        }
    }
    if columns < 2 {
        return (Vec::new(), [0.0; 2]);
    }
    let (values, vectors) = symmetric_eigen(products, columns);
    let component = |n: usize| {
        let vector = &vectors[n * columns..(n + 1) * columns];
        // The sign of an eigenvector is arbitrary: its largest element becomes positive.
        let largest = vector.iter().copied().fold(0.0, |most: f64, x| if x.abs() > most.abs() { x } else { most });
        vector.iter().map(|x| x * largest.signum()).collect::<Vec<f64>>()
    };
    let along = |row: &[f64], direction: &[f64]| row.iter().zip(direction).map(|(x, y)| x * y).sum::<f64>();
    let (first, second) = (component(0), component(1));
    let total: f64 = values.iter().map(|value| value.max(0.0)).sum();
    let share = |value: f64| if total > 0.0 { value / total } else { 0.0 };
    (rows.iter().map(|row| (along(row, &first), along(row, &second))).collect(), [share(values[0]), share(values[1])])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn principal_components_are_the_directions_of_most_variance() {
        // Points on a line in the direction (3, 4, 0), and a little across.
        let rows: Vec<Vec<f64>> = (-5..=5)
            .map(|n| {
                let (along, across) = (f64::from(n), if n % 2 == 0 { 0.1 } else { -0.1 });
                vec![0.6 * along - 0.8 * across, 0.8 * along + 0.6 * across, 0.0]
            })
            .collect();
        let (places, shares) = principal_components(&rows);
        assert!(shares[0] > 0.99 && (shares[0] + shares[1] - 1.0).abs() < 1e-9, "{shares:?}");
        assert!((places[0].0 + 5.0).abs() < 0.01 && (places[10].0 - 5.0).abs() < 0.01, "{places:?}");
        assert!((places[4].1.abs() - 0.1).abs() < 0.02);
    }
}
