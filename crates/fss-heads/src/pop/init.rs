//! Starting values of prototypes.

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use fss_backbone::params;

/// A random matrix with orthonormal rows (columns, if there are more rows than columns), uniformly
/// distributed over all of these, from `seed` and `key` alone.
pub(super) fn orthogonal(
    key: &str,
    [rows, columns]: [usize; 2],
    seed: u64,
    device: &Device,
) -> Param<Tensor<2>> {
    let (count, length) = (rows.min(columns), rows.max(columns));
    let host = device.clone().inner();
    let drawn = params::normal(key, [count, length, 1, 1], 1.0, seed, &host);
    let values: Vec<f64> = drawn.val().to_data().iter::<f64>().collect();
    let mut vectors: Vec<Vec<f64>> = values.chunks(length.max(1)).map(<[f64]>::to_vec).collect();
    orthonormalise(&mut vectors);
    let at = |i: usize, j: usize| if rows <= columns { vectors[i][j] } else { vectors[j][i] };
    let values = (0..rows).flat_map(|i| (0..columns).map(move |j| (i, j)));
    let values: Vec<f32> = values.map(|(i, j)| at(i, j) as f32).collect();
    Param::from_data(TensorData::new(values, [rows, columns]), device)
}

/// Gram-Schmidt, each vector twice against rounding. Its factor R has a positive diagonal, which is
/// what makes the result uniform.
fn orthonormalise(vectors: &mut [Vec<f64>]) {
    let dot = |a: &[f64], b: &[f64]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f64>();
    for i in 0..vectors.len() {
        let (done, rest) = vectors.split_at_mut(i);
        let vector = &mut rest[0];
        for _ in 0..2 {
            for other in done.iter() {
                let along = dot(vector, other);
                vector.iter_mut().zip(other).for_each(|(value, other)| *value -= along * other);
            }
        }
        let norm = dot(vector, vector).sqrt();
        vector.iter_mut().for_each(|value| *value /= norm);
    }
}

#[cfg(test)]
mod tests {
    use super::orthogonal;
    use burn::tensor::Device;

    #[test]
    fn the_shorter_side_is_orthonormal() {
        for shape @ [rows, columns] in [[5, 40], [40, 5], [1, 3], [4, 4]] {
            let matrix = orthogonal("x", shape, 7, &Device::flex()).val();
            let product = match rows <= columns {
                true => matrix.clone().matmul(matrix.transpose()),
                false => matrix.clone().transpose().matmul(matrix),
            };
            let side = rows.min(columns);
            let values: Vec<f32> = product.into_data().try_into_vec().unwrap();
            for (i, value) in values.iter().enumerate() {
                let wanted = if i / side == i % side { 1.0 } else { 0.0 };
                assert!((value - wanted).abs() < 1e-6, "{shape:?}: {value} at {i}");
            }
        }
    }
}
