//! Several classes at once, from models that tell one class from its background.
//!
//! Each way alone gives logits of background and foreground. How sure it is of its class is their
//! difference, the margin. All ways share one background, with the logit 0, and compete by their
//! margins: a pixel is background where no way alone sees its class, and else of the class with the
//! largest margin (of equal ones the first). With one way this is what the way alone predicts.

use burn::tensor::Tensor;

use crate::HeadError;

/// By how much foreground exceeds background, `[B, 1, H, W]`, in logits `[B, 2, H, W]`.
pub(crate) fn margin(logits: Tensor<4>) -> Tensor<4> {
    logits.clone().narrow(1, 1, 1) - logits.narrow(1, 0, 1)
}

/// Logits `[B, 1 + ways, H, W]`, background (0) first, from margins `[B, 1, H, W]` of each way.
pub(crate) fn compete(mut margins: Vec<Tensor<4>>) -> Result<Tensor<4>, HeadError> {
    let background = margins.first().ok_or(HeadError::NoSupport)?.zeros_like();
    margins.insert(0, background);
    Ok(Tensor::cat(margins, 1))
}

/// Brings logits of several ways, each of background and foreground, together: all share one
/// background, with the logit 0, and the logit of a class is by how much its foreground exceeds its
/// background.
///
/// # Shapes
/// - each of `per_way`: `[B, 2, H, W]`, background first
/// - output: `[B, 1 + ways, H, W]`
///
/// # Errors
/// [`HeadError::NoSupport`] without ways; [`HeadError::Shape`] for logits of other than two classes, or
/// of another size than those of the first way.
pub fn merge_ways(per_way: Vec<Tensor<4>>) -> Result<Tensor<4>, HeadError> {
    check(&per_way)?;
    compete(per_way.into_iter().map(margin).collect())
}

/// For each way, its class against all else among logits of several ways, by the rule of DENet's code: the
/// background is the largest background of all ways, and a way competes with it and with the foreground of
/// all others. Unlike [`merge_ways`], it compares logits of different ways as they are.
///
/// # Shapes
/// - each of `per_way`: `[B, 2, H, W]`, background first
/// - output: for each way, `[B, 2, H, W]`
///
/// # Errors
/// As [`merge_ways`].
pub fn rival_ways(per_way: Vec<Tensor<4>>) -> Result<Vec<Tensor<4>>, HeadError> {
    check(&per_way)?;
    let part = |channel: usize| per_way.iter().map(move |way| way.clone().narrow(1, channel, 1));
    let background = part(0).reduce(Tensor::max_pair).ok_or(HeadError::NoSupport)?;
    let foregrounds: Vec<Tensor<4>> = part(1).collect();
    let pairs = foregrounds.iter().enumerate().map(|(way, own)| {
        let others = foregrounds.iter().enumerate().filter(|(other, _)| *other != way);
        let rival = others.fold(background.clone(), |most, (_, one)| most.max_pair(one.clone()));
        Tensor::cat(vec![rival, own.clone()], 1)
    });
    Ok(pairs.collect())
}

fn check(per_way: &[Tensor<4>]) -> Result<(), HeadError> {
    let want = per_way.first().ok_or(HeadError::NoSupport)?.dims();
    for (way, logits) in per_way.iter().enumerate() {
        let got = logits.dims();
        if got[1] != 2 || got != want {
            return Err(HeadError::Shape {
                what: format!("the logits of way {}", way + 1),
                got: format!("{got:?}"),
                want: format!("[{}, 2, {}, {}]", want[0], want[2], want[3]),
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::{Device, TensorData};

    fn logits(values: [[f32; 3]; 2]) -> Tensor<4> {
        let values = values.into_iter().flatten().collect::<Vec<_>>();
        Tensor::from_data(TensorData::new(values, [1, 2, 1, 3]), &Device::flex())
    }

    #[test]
    fn the_surest_way_wins_where_one_sees_its_class() {
        // By pixel: none sees its class; only the second does; both do, the first more so.
        let cat = logits([[4.0, 9.0, 1.0], [3.0, 8.0, 6.0]]);
        let dog = logits([[0.5, 2.0, 7.0], [0.0, 3.0, 9.0]]);
        let merged = merge_ways(vec![cat, dog]).unwrap();
        assert_eq!(merged.dims(), [1, 3, 1, 3]);
        let winners =
            merged.argmax(1).into_data().convert::<i64>().try_to_vec::<i64>().expect("labels");
        assert_eq!(winners, [0, 2, 1]);
    }

    #[test]
    fn rivals_are_the_background_and_all_other_ways() {
        let cat = logits([[4.0, 9.0, 1.0], [3.0, 8.0, 6.0]]);
        let dog = logits([[0.5, 2.0, 7.0], [0.0, 9.5, 9.0]]);
        let values = |x: Tensor<4>| x.try_into_vec_as::<f32>().expect("float values");
        let pairs = rival_ways(vec![cat.clone(), dog.clone()]).unwrap();
        assert_eq!(values(pairs[0].clone()), [4.0, 9.5, 9.0, 3.0, 8.0, 6.0]);
        assert_eq!(values(pairs[1].clone()), [4.0, 9.0, 7.0, 0.0, 9.5, 9.0]);
        // One way has no rival but its background.
        assert_eq!(values(rival_ways(vec![cat.clone()]).unwrap().remove(0)), values(cat.clone()));
        assert_eq!(rival_ways(Vec::new()).unwrap_err(), HeadError::NoSupport);
        assert!(rival_ways(vec![cat, dog.narrow(3, 0, 2)]).is_err());
    }

    #[test]
    fn ways_that_do_not_fit_are_refused() {
        assert_eq!(merge_ways(Vec::new()).unwrap_err(), HeadError::NoSupport);
        let one = logits([[0.0; 3]; 2]);
        let other = one.clone().narrow(3, 0, 2);
        let message = merge_ways(vec![one, other]).unwrap_err().to_string();
        assert!(message.contains("way 2") && message.contains("[1, 2, 1, 3]"), "{message}");
    }
}
