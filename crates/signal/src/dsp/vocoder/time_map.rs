//! Which place of the recording is heard at which place of the output.
//!
//! On the whole the map is a straight line. Around an onset (and around an end of the clip that is cut out of a sound: an onset of its own)
//! it runs at the pace of the frames themselves: there the frames that contain the onset all put it at the same place, so
//! it stays as sharp as it was. The time that is won or lost so is made up for between the onsets; where these lie so close together that
//! the pace between them would be more than three times (or less than a third of) the average, the zones are narrower.

use super::onsets::Onsets;

/// How many times faster or slower than on the average the recording may be read between two zones.
const HURRY: f64 = 3.0;

/// A piecewise linear map from output positions to recording positions.
#[derive(Clone, Debug, PartialEq)]
pub struct TimeMap {
    /// Output place, recording place, both rising.
    nodes: Vec<(f64, f64)>,
    /// Recording samples for each output sample in the zones and beyond the ends.
    pace: f64,
    /// Output place, half width of the zone, recording place.
    zones: Vec<(f64, f64, f64)>,
}

impl TimeMap {
    /// For `input` samples that become `output`. `onsets` are positions of the recording, rising; `pace` is that of the frames,
    /// and `reach` is how many output samples a frame reaches to either side.
    pub fn new(input: usize, output: usize, onsets: &Onsets, pace: f64, reach: usize) -> TimeMap {
        let average = input as f64 / output as f64;
        let mut positions: Vec<(f64, f64)> = vec![(0.0, 0.0)];
        positions.extend(onsets.positions.iter().map(|&at| (at as f64 / average, at as f64)));
        positions.push((output as f64, input as f64));
        // A quiet end next to an onset belongs to it: nothing there has to keep its place.
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
        // How wide the zones of two neighbours may be.
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
                    gap * (HURRY - 1.0) / (2.0 * (HURRY * average - pace))
                } else {
                    gap * (1.0 - 1.0 / HURRY) / (2.0 * (pace - average / HURRY))
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

    /// The positions of the recording for rising positions of the output, which may lie beyond its ends.
    pub fn positions(&self, outputs: impl Iterator<Item = isize>) -> Vec<FramePosition> {
        let (mut next, mut zone) = (0, 0);
        let (start, last) = (self.nodes[0], self.nodes[self.nodes.len() - 1]);
        outputs
            .map(|output| {
                let at = output as f64;
                while next < self.nodes.len() && self.nodes[next].0 <= at {
                    next += 1;
                }
                let place = if next == 0 {
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
                // Between nodes 3 i + 1 and 3 i + 2 lies the way from one zone to the next.
                let free = next % 3 == 2;
                FramePosition { sample: place.round() as isize, before_onset, free }
            })
            .collect()
    }
}

/// Where a frame has its middle.
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
        map.positions(outputs.iter().copied()).iter().map(|place| place.sample).collect()
    }

    #[test]
    fn without_attacks_it_is_a_straight_line() {
        assert_eq!(samples(&map(&[], false, 0.5), &[-100, 0, 1000, 120_000, 120_100]), [-100, 0, 500, 60_000, 60_100]);
    }

    #[test]
    fn an_attack_is_where_it_belongs_and_its_neighbourhood_is_not_stretched() {
        for rate in [0.5, 0.8, 1.25, 2.0] {
            let map = map(&[20_000, 40_000], true, rate);
            for (at, place) in
                [(0.0, 0), (20_000.0 / rate, 20_000), (40_000.0 / rate, 40_000), (60_000.0 / rate, 60_000)]
            {
                let at = at as isize;
                let around: Vec<isize> = (-900..=900).step_by(300).collect();
                let outputs: Vec<isize> = around.iter().map(|offset| at + offset).collect();
                let right: Vec<isize> = around.iter().map(|offset| place + offset).collect();
                assert_eq!(samples(&map, &outputs), right, "{rate}");
            }
        }
    }

    #[test]
    fn zones_of_attacks_that_lie_close_together_leave_a_way_between_them() {
        let onsets: Vec<usize> = (1..60).map(|n| n * 1000).collect();
        for rate in [0.25, 0.8, 1.25, 4.0] {
            let outputs: Vec<isize> = (0..(60_000.0 / rate) as isize).collect();
            let positions = samples(&map(&onsets, true, rate), &outputs);
            let most = (HURRY * rate).max(1.0).ceil() as isize;
            assert!(positions.windows(2).all(|two| (0..=most).contains(&(two[1] - two[0]))), "{rate}");
        }
    }

    #[test]
    fn a_quiet_beginning_goes_with_the_attack_after_it() {
        assert_eq!(samples(&map(&[700], false, 0.5), &[0, 400, 1400, 2300]), [-700, -300, 700, 1600]);
    }

    #[test]
    fn frames_that_lead_up_to_an_attack_know_it() {
        let positions = map(&[30_000], true, 0.5).positions([58_999, 59_001, 59_999, 60_000, 61_000].into_iter());
        let known: Vec<bool> = positions.iter().map(|place| place.before_onset).collect();
        assert_eq!(known, [false, true, true, false, false]);
        assert!(positions[0].free && !positions[1].free && !positions[3].free);
    }
}
