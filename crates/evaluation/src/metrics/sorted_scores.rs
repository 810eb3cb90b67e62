//! Clips sorted by score, from which average precision and the area under the ROC curve are computed.
//!
//! Equal scores are one step of the curve, whatever their order. Scores must be finite; the models give no others.

/// The clips of one class (or all pairs of clip and class), the highest score first.
pub struct SortedScores {
    steps: Vec<Step>,
}

#[derive(Clone, Copy)]
struct Step {
    clip: u32,
    positive: bool,
    /// Whether the next score differs.
    last_of_equals: bool,
}

/// The counts at one distinct score.
#[derive(Clone, Copy)]
pub struct Counted {
    /// Positives and negatives with exactly this score.
    pub new: (u64, u64),
    /// Positives and negatives with this score or a higher one.
    pub so_far: (u64, u64),
}

impl SortedScores {
    /// From (clip, score, whether it is positive).
    pub fn new(items: impl Iterator<Item = (u32, f32, bool)>) -> SortedScores {
        let mut items: Vec<(u32, f32, bool)> = items.collect();
        items.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let differs = |i: usize| items.get(i + 1).is_none_or(|next| next.1 != items[i].1);
        let step =
            |(i, &(clip, _, positive)): (usize, &(u32, f32, bool))| Step { clip, positive, last_of_equals: differs(i) };
        SortedScores { steps: items.iter().enumerate().map(step).collect() }
    }

    /// Visits the distinct scores in descending order. Each clip counts as often as `times` says. Returns all positives and negatives.
    pub fn each_step(&self, times: impl Fn(usize) -> u32, mut on: impl FnMut(Counted)) -> (u64, u64) {
        let (mut new, mut so_far) = ((0, 0), (0, 0));
        for step in &self.steps {
            let weight = u64::from(times(step.clip as usize));
            if step.positive {
                new.0 += weight;
            } else {
                new.1 += weight;
            }
            if step.last_of_equals {
                so_far = (so_far.0 + new.0, so_far.1 + new.1);
                on(Counted { new, so_far });
                new = (0, 0);
            }
        }
        so_far
    }
}
