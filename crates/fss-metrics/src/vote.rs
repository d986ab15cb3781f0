//! The vote of several predictions for one query.

use ndarray::{Array2, Zip};

use crate::error::{MapRole, MetricError};

/// What K predictions `[H, W]` of 0/1, one of each support, agree on: the K-shot rule of HSNet.
///
/// Foreground is where the votes for foreground are at least half of the most that any pixel of the
/// image got (and at least one): of a best pixel with 3 of 5 votes, pixels with 2 are foreground; of
/// two predictions, a single vote is enough. One prediction is its own result.
///
/// # Errors
/// [`MetricError::NoVotes`] without predictions, [`MetricError::Shape`] for predictions of several
/// sizes, [`MetricError::Value`] for values other than 0 and 1.
pub fn vote(predictions: &[Array2<u8>]) -> Result<Array2<u8>, MetricError> {
    let Some(first) = predictions.first() else { return Err(MetricError::NoVotes) };
    let mut votes = Array2::<u32>::zeros(first.dim());
    for prediction in predictions {
        if prediction.dim() != first.dim() {
            return Err(MetricError::Shape {
                role: MapRole::Prediction,
                got: prediction.shape().to_vec(),
                prediction: first.shape().to_vec(),
            });
        }
        if let Some((position, &value)) = prediction.iter().enumerate().find(|(_, v)| **v > 1) {
            return Err(MetricError::Value { role: MapRole::Prediction, value, position });
        }
        Zip::from(&mut votes).and(prediction).for_each(|sum, &vote| *sum += u32::from(vote));
    }
    let most = votes.iter().copied().max().unwrap_or(0).max(1);
    Ok(votes.mapv(|sum| u8::from(2 * sum >= most)))
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn half_of_the_most_votes_is_enough() {
        let maps = [array![[1, 1, 0, 0]], array![[1, 1, 0, 1]], array![[1, 0, 0, 0]]];
        assert_eq!(vote(&maps).unwrap(), array![[1, 1, 0, 0]]);
        assert_eq!(vote(&maps[..2]).unwrap(), array![[1, 1, 0, 1]], "1 of 2 is half");
        assert_eq!(vote(&maps[..1]).unwrap(), maps[0]);
        let five = [array![[1, 1, 1]], array![[1, 1, 0]], array![[1, 0, 0]]];
        let five: Vec<_> = five.into_iter().chain([array![[0, 0, 0]], array![[0, 0, 0]]]).collect();
        assert_eq!(vote(&five).unwrap(), array![[1, 1, 0]], "2 of a most of 3, and 1 of it");
    }

    #[test]
    fn where_nobody_votes_there_is_no_foreground() {
        assert_eq!(vote(&[array![[0, 0]], array![[0, 0]]]).unwrap(), array![[0, 0]]);
    }

    #[test]
    fn bad_predictions_are_refused() {
        assert_eq!(vote(&[]), Err(MetricError::NoVotes));
        let sizes = vote(&[array![[0, 1]], array![[0], [1]]]).unwrap_err().to_string();
        assert!(sizes.contains("[2, 1]"), "{sizes}");
        let value = vote(&[array![[0, 255]]]).unwrap_err().to_string();
        assert!(value.contains("255"), "{value}");
    }
}
