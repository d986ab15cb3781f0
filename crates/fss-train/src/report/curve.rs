//! The course of a training run as a drawing (SVG).

use crate::log::LogEntry;

const WIDTH: f64 = 760.0;
const HEIGHT: f64 = 260.0;
/// Left, right, top and bottom of the plot within the drawing.
const PLOT: [f64; 4] = [56.0, 704.0, 16.0, 222.0];
/// More points than this are averaged in groups.
const POINTS: usize = 300;

/// Loss (left axis) and validation mIoU (right axis, per cent) over the iterations; `None` if the
/// log has no iteration with a loss.
pub(super) fn training_curve(log: &[LogEntry]) -> Option<String> {
    let losses: Vec<(f64, f64)> = log
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Iteration { iteration, loss: Some(loss), .. } => {
                Some((*iteration as f64, *loss))
            }
            _ => None,
        })
        .collect();
    let scores: Vec<(f64, f64)> = log
        .iter()
        .filter_map(|entry| match entry {
            LogEntry::Validation { iteration, miou: Some(miou), .. }
            | LogEntry::WaysValidation { iteration, b_iou: Some(miou), .. } => {
                Some((*iteration as f64, miou * 100.0))
            }
            _ => None,
        })
        .collect();
    let end = losses.iter().chain(&scores).map(|p| p.0).fold(1.0, f64::max);
    let smooth = averaged(&losses);
    let loss_top = nice_ceiling(smooth.iter().map(|p| p.1).fold(f64::NAN, f64::max))?;
    let score_top = nice_ceiling(scores.iter().map(|p| p.1).fold(1.0, f64::max)).unwrap_or(100.0);

    let [left, right, top, bottom] = PLOT;
    let place = |(x, y): (f64, f64), y_top: f64| {
        (left + (right - left) * x / end, bottom - (bottom - top) * (y / y_top).min(1.0))
    };
    let mut svg = format!(
        "<svg class=\"curve\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"training loss and validation mIoU\">\n"
    );
    for step in 0..=4 {
        let part = f64::from(step) / 4.0;
        let y = bottom - (bottom - top) * part;
        svg.push_str(&format!(
            "<line class=\"grid\" x1=\"{left}\" x2=\"{right}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/>\
             <text class=\"loss\" x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>",
            left - 8.0,
            y + 4.0,
            number(loss_top * part),
        ));
        if !scores.is_empty() {
            svg.push_str(&format!(
                "<text class=\"score\" x=\"{:.1}\" y=\"{:.1}\">{}</text>",
                right + 8.0,
                y + 4.0,
                number(score_top * part),
            ));
        }
        let x = left + (right - left) * part;
        svg.push_str(&format!(
            "<text x=\"{x:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{:.0}</text>\n",
            bottom + 18.0,
            end * part,
        ));
    }
    let line = |points: &[(f64, f64)], y_top: f64| {
        let places: Vec<String> = points
            .iter()
            .map(|&point| {
                let (x, y) = place(point, y_top);
                format!("{x:.1},{y:.1}")
            })
            .collect();
        places.join(" ")
    };
    svg.push_str(&format!("<polyline class=\"loss\" points=\"{}\"/>\n", line(&smooth, loss_top)));
    if !scores.is_empty() {
        svg.push_str(&format!(
            "<polyline class=\"score\" points=\"{}\"/>\n",
            line(&scores, score_top)
        ));
        for &point in &scores {
            let (x, y) = place(point, score_top);
            svg.push_str(&format!(
                "<circle class=\"score\" cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"3.5\"/>"
            ));
        }
    }
    svg.push_str("\n</svg>\n");
    Some(svg)
}

fn averaged(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS).max(1);
    points
        .chunks(group)
        .map(|chunk| {
            let n = chunk.len() as f64;
            (chunk.iter().map(|p| p.0).sum::<f64>() / n, chunk.iter().map(|p| p.1).sum::<f64>() / n)
        })
        .collect()
}

/// The smallest 1, 2, 2.5 or 5 times a power of ten that is not below `value`; `None` for NaN.
fn nice_ceiling(value: f64) -> Option<f64> {
    if value.is_nan() {
        return None;
    }
    let power = 10f64.powf(value.max(1e-6).log10().floor());
    [1.0, 2.0, 2.5, 5.0, 10.0].into_iter().map(|step| step * power).find(|&top| top >= value)
}

fn number(value: f64) -> String {
    let text = format!("{value:.3}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn iteration(iteration: u64, loss: Option<f64>) -> LogEntry {
        LogEntry::Iteration { iteration, rate: 0.1, loss, terms: serde_json::Map::new() }
    }

    #[test]
    fn both_lines_are_drawn() {
        let log = [
            iteration(1, Some(2.0)),
            iteration(2, None),
            iteration(4, Some(1.0)),
            LogEntry::Validation {
                iteration: 4,
                protocol: crate::evaluate::Protocol::Official,
                miou: Some(0.25),
                fb_iou: None,
                best: true,
            },
        ];
        let svg = training_curve(&log).unwrap();
        assert_eq!(svg.matches("<polyline").count(), 2);
        // Iteration 4 is the end, a loss of 1 lies half way up to 2.
        assert!(svg.contains("704.0,119.0"), "{svg}");
        assert!(!svg.contains("NaN"));
    }

    #[test]
    fn nothing_to_draw() {
        assert_eq!(training_curve(&[]), None);
        assert_eq!(training_curve(&[iteration(1, None)]), None);
    }

    #[test]
    fn axes_end_at_round_numbers() {
        let tops: Vec<f64> =
            [0.9, 1.0, 1.2, 3.0, 41.0].iter().filter_map(|&v| nice_ceiling(v)).collect();
        assert_eq!(tops, [1.0, 1.0, 2.0, 5.0, 50.0]);
    }

    #[test]
    fn long_runs_are_averaged() {
        let points: Vec<(f64, f64)> = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        assert!(averaged(&points).len() <= POINTS);
    }
}
