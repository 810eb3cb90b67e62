//! Maps positions of the output to positions of the recording.
//!
//! Overall the map is a straight line. Around an onset (and around an end of the clip that cuts a sound, which counts as an
//! onset) it runs at the speed of the frames: all frames that contain the onset put it at the same position, so it stays
//! sharp. The difference in time is made up between the onsets. Where onsets are so close that the speed between them would be
//! more than three times (or less than a third of) the average, the zones are narrower.

use super::onsets::Onsets;

/// Maximum ratio of the reading speed between two zones to the average.
const MAX_SPEED_RATIO: f64 = 3.0;

/// A piecewise linear map from output positions to recording positions.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeMap {
    /// Output position and recording position, both ascending.
    nodes: Vec<(f64, f64)>,
    /// Recording samples per output sample in the zones and beyond the ends.
    pace: f64,
    /// Output position, half width of the zone, recording position.
    zones: Vec<(f64, f64, f64)>,
}

impl TimeMap {
    /// For `input` samples that become `output`. `onsets` are ascending positions in the recording; `pace` is the speed of the
    /// frames, and `reach` the number of output samples that a frame covers on either side.
    pub fn new(input: usize, output: usize, onsets: &Onsets, pace: f64, reach: usize) -> TimeMap {
        let average = input as f64 / output as f64;
        let mut positions: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        positions.extend(onsets.positions.iter().map(|&at| (at as f64 / average, at as f64)));
        positions.push((output as f64, input as f64));
        // A quiet end next to an onset belongs to it and need not keep its position.
        let last = positions.len() - 1;
        let near = |a: (f64, f64), b: (f64, f64)| (a.0 - b.0).abs() < 2.0 * reach as f64;
        let quiet_start = last > 1 && !onsets.at_start && near(positions[0], positions[1]);
        let quiet_end = last > 1 && !onsets.at_end && near(positions[last - 1], positions[last]);
        if quiet_start {
            positions[0].1 = positions[1].1 - pace * (positions[1].0 - positions[0].0);
        }
        if quiet_end {
            positions[last].1 = positions[last - 1].1 + pace * (positions[last].0 - positions[last - 1].0);
        }
        // Maximum width of the zones of two neighbours.
        let gaps = positions.len() - 1;
        let widths: Vec<(f64, f64)> = positions
            .windows(2)
            .enumerate()
            .map(|(i, two)| {
                let gap = two[1].1 - two[0].1;
                let joined = (i == 0 && quiet_start) || (i + 1 == gaps && quiet_end);
                let most = if joined {
                    gap
                } else if pace <= average {
                    gap * (MAX_SPEED_RATIO - 1.0) / (2.0 * (MAX_SPEED_RATIO * average - pace))
                } else {
                    gap * (1.0 - 1.0 / MAX_SPEED_RATIO) / (2.0 * (pace - average / MAX_SPEED_RATIO))
                };
                let width = most.min((two[1].0 - two[0].0) / 2.0).min(reach as f64);
                let (starts, ends) = (i > 0 || onsets.at_start || joined, i + 1 < gaps || onsets.at_end || joined);
                (if starts { width } else { 0.0 }, if ends { width } else { 0.0 })
            })
            .collect();
        let mut nodes = vec![positions[0]];
        for (two, &(after, before)) in positions.windows(2).zip(&widths) {
            nodes.push((two[0].0 + after, two[0].1 + pace * after));
            nodes.push((two[1].0 - before, two[1].1 - pace * before));
            nodes.push(two[1]);
        }
        let zones =
            positions[1..positions.len() - 1].iter().zip(&widths).map(|(&(to, from), &(_, before))| (to, before, from));
        TimeMap { zones: zones.collect(), nodes, pace }
    }

    /// The positions in the recording of ascending positions of the output, which may lie beyond its ends.
    pub fn positions(&self, outputs: impl Iterator<Item = isize>) -> Vec<FramePosition> {
        let (mut next, mut zone) = (0, 0);
        let (start, last) = (self.nodes[0], self.nodes[self.nodes.len() - 1]);
        outputs
            .map(|output| {
                let at = output as f64;
                while next < self.nodes.len() && self.nodes[next].0 <= at {
                    next += 1;
                }
                let position = if next == 0 {
                    start.1 + self.pace * (at - start.0)
                } else if next == self.nodes.len() {
                    last.1 + self.pace * (at - last.0)
                } else {
                    let ((s0, t0), (s1, t1)) = (self.nodes[next - 1], self.nodes[next]);
                    t0 + (at - s0) * (t1 - t0) / (s1 - s0)
                };
                while zone < self.zones.len() && self.zones[zone].0 <= at {
                    zone += 1;
                }
                let before_onset = self.zones.get(zone).is_some_and(|&(to, width, _)| at >= to - width);
                // Between nodes 3 i + 1 and 3 i + 2 time is stretched.
                let free = next % 3 == 2;
                FramePosition { sample: position.round() as isize, before_onset, free }
            })
            .collect()
    }
}

/// The centre of a frame in the recording.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FramePosition {
    pub sample: isize,
    /// Whether an onset follows so soon that the frame belongs to it.
    pub before_onset: bool,
    /// Whether it lies between the zones, where time is stretched.
    pub free: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn map(onsets: &[usize], ends: bool, rate: f64) -> TimeMap {
        let onsets = Onsets { positions: onsets.to_vec(), at_start: ends, at_end: ends };
        TimeMap::new(60_000, (60_000.0 / rate) as usize, &onsets, 1.0, 1000)
    }

    fn samples(map: &TimeMap, outputs: &[isize]) -> Vec<isize> {
        map.positions(outputs.iter().copied()).iter().map(|position| position.sample).collect()
    }

    #[test]
    fn without_onsets_the_map_is_a_straight_line() {
        assert_eq!(samples(&map(&[], false, 0.5), &[-100, 0, 1000, 120_000, 120_100]), [-100, 0, 500, 60_000, 60_100]);
    }

    #[test]
    fn an_onset_keeps_its_position_and_its_surroundings_are_not_stretched() {
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let map = map(&[20_000, 40_000], true, rate);
            for (at, position) in
                [(0.0, 0), (20_000.0 / rate, 20_000), (40_000.0 / rate, 40_000), (60_000.0 / rate, 60_000)]
            {
                let at = at as isize;
                let around: Vec<isize> = (-900..=900).step_by(300).collect();
                let outputs: Vec<isize> = around.iter().map(|offset| at + offset).collect();
                let right: Vec<isize> = around.iter().map(|offset| position + offset).collect();
                assert_eq!(samples(&map, &outputs), right, "{rate}");
            }
        }
    }

    #[test]
    fn zones_of_close_onsets_leave_room_between_them() {
        let onsets: Vec<usize> = (1..60).map(|n| n * 1000).collect();
        for rate in [0.25, 0.8, 1.25, 4.0] {
            let outputs: Vec<isize> = (0..(60_000.0 / rate) as isize).collect();
            let positions = samples(&map(&onsets, true, rate), &outputs);
            let most = (MAX_SPEED_RATIO * rate).max(1.0).ceil() as isize;
            assert!(positions.windows(2).all(|two| (0..=most).contains(&(two[1] - two[0]))), "{rate}");
        }
    }

    #[test]
    fn a_quiet_start_moves_with_the_next_onset() {
        assert_eq!(samples(&map(&[700], false, 0.5), &[0, 400, 1400, 2300]), [-700, -300, 700, 1600]);
    }

    #[test]
    fn frames_before_an_onset_are_marked() {
        let positions = map(&[30_000], true, 0.5).positions([58_999, 59_001, 59_999, 60_000, 61_000].into_iter());
        let known: Vec<bool> = positions.iter().map(|position| position.before_onset).collect();
        assert_eq!(known, [false, true, true, false, false]);
        assert!(positions[0].free && !positions[1].free && !positions[3].free);
    }
}
