//! Stereo sound as samples, and levels.

/// The level that stands for silence, in dBFS: below what 16 bits can hold. It keeps levels finite, as JSON knows no
/// infinity.
pub(super) const FLOOR_DBFS: f64 = -120.0;

/// Stereo sound. Both channels are equally long.
#[derive(Debug, Clone, PartialEq)]
pub struct Samples {
    /// Frames a second, more than 0.
    rate: u32,
    left: Vec<f64>,
    right: Vec<f64>,
}

impl Samples {
    /// From two channels, -1 to 1 of full scale; the longer one is cut. A `rate` (frames a second) of 0 becomes 1.
    pub fn new(rate: u32, mut left: Vec<f64>, mut right: Vec<f64>) -> Self {
        let frames = left.len().min(right.len());
        left.truncate(frames);
        right.truncate(frames);
        Self { rate: rate.max(1), left, right }
    }

    /// Frames a second.
    pub fn rate(&self) -> u32 {
        self.rate
    }

    /// The left channel, -1 to 1 of full scale.
    pub fn left(&self) -> &[f64] {
        &self.left
    }

    /// The right channel, -1 to 1 of full scale.
    pub fn right(&self) -> &[f64] {
        &self.right
    }

    /// Number of frames: samples of each channel.
    pub fn frames(&self) -> usize {
        self.left.len()
    }

    /// How long it lasts, in seconds.
    pub fn seconds(&self) -> f64 {
        self.frames() as f64 / f64::from(self.rate)
    }

    /// The part between two times in seconds, as far as it is there.
    pub fn part(&self, from_s: f64, to_s: f64) -> Self {
        // A float that does not fit saturates, NaN is 0.
        let at = |seconds: f64| ((seconds * f64::from(self.rate)).round() as usize).min(self.frames());
        let (from, to) = (at(from_s), at(to_s).max(at(from_s)));
        Self { rate: self.rate, left: self.left[from..to].to_vec(), right: self.right[from..to].to_vec() }
    }
}

/// A level in dBFS of an amplitude (0 to 1 of full scale), not below [`FLOOR_DBFS`].
pub(super) fn dbfs(amplitude: f64) -> f64 {
    // Not a number becomes the floor, too.
    (20.0 * amplitude.log10()).max(FLOOR_DBFS)
}

/// The amplitude (of full scale) of a level in dBFS.
pub(super) fn amplitude(dbfs: f64) -> f64 {
    10f64.powf(dbfs / 20.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_finite() {
        assert_eq!(dbfs(1.0), 0.0);
        assert_eq!(dbfs(0.0), FLOOR_DBFS);
        assert_eq!(dbfs(f64::NAN), FLOOR_DBFS);
        assert!((amplitude(dbfs(0.25)) - 0.25).abs() < 1e-12);
    }

    #[test]
    fn a_part_is_what_is_there_of_it() {
        let sound = Samples::new(10, (0..20).map(f64::from).collect(), vec![0.0; 21]);
        assert_eq!(sound.seconds(), 2.0);
        assert_eq!(sound.part(0.5, 0.8).left(), [5.0, 6.0, 7.0]);
        assert_eq!(sound.part(1.9, 99.0).left(), [19.0]);
        assert_eq!(sound.part(9.0, 1.0).frames(), 0);
        assert_eq!(sound.part(f64::NAN, -1.0).frames(), 0);
    }
}
