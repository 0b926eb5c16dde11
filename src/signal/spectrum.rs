//! The power spectrum of a stretch of sound, and the level of one frequency in it, both through a Hann window.

use std::f64::consts::TAU;
use std::sync::Arc;

use realfft::num_complex::Complex;
use realfft::{RealFftPlanner, RealToComplex};

/// Analyses stretches of one length; keeps the window, the transform and its buffers from one to the next.
pub(super) struct SpectrumAnalyser {
    transform: Arc<dyn RealToComplex<f64>>,
    /// A Hann window, as long as the stretches.
    window: Vec<f64>,
    window_sum: f64,
    input: Vec<f64>,
    output: Vec<Complex<f64>>,
}

impl SpectrumAnalyser {
    /// For stretches of `length` frames, with `size` points for the transform (`length` or more; the rest is zeros).
    pub(super) fn new(length: usize, size: usize) -> Self {
        let transform = RealFftPlanner::new().plan_fft_forward(size);
        let window: Vec<f64> =
            (0..length).map(|i| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / length as f64).cos()).collect();
        let (input, output) = (transform.make_input_vec(), transform.make_output_vec());
        Self { transform, window_sum: window.iter().sum(), window, input, output }
    }

    /// Frames of a stretch.
    pub(super) fn length(&self) -> usize {
        self.window.len()
    }

    /// The power in each bin, from 0 to half the transform's size: 1 for a sine of amplitude 1 in the middle of the
    /// bin. What is missing of `values` counts as silence.
    pub(super) fn powers(&mut self, values: impl IntoIterator<Item = f64>) -> Vec<f64> {
        self.input.fill(0.0);
        for ((input, weight), value) in self.input.iter_mut().zip(&self.window).zip(values) {
            *input = weight * value;
        }
        let transformed = self.transform.process(&mut self.input, &mut self.output);
        debug_assert!(transformed.is_ok(), "the buffers have the transform's size");
        let scale = 4.0 / self.window_sum.powi(2);
        self.output.iter().map(|bin| bin.norm_sqr() * scale).collect()
    }

    /// The sum of both channels' powers.
    pub(super) fn stereo_powers(&mut self, left: &[f64], right: &[f64]) -> Vec<f64> {
        let right = self.powers(right.iter().copied());
        self.powers(left.iter().copied()).into_iter().zip(right).map(|(left, right)| left + right).collect()
    }

    /// The amplitude of a sine in a stretch by Goertzel's algorithm; `frequency` in turns a frame, of any fraction of a
    /// bin.
    pub(super) fn amplitude(&self, values: &[f64], frequency: f64) -> f64 {
        let factor = 2.0 * (TAU * frequency).cos();
        let (last, before) = values
            .iter()
            .zip(&self.window)
            .fold((0.0, 0.0), |(last, before), (value, weight)| (weight * value + factor * last - before, last));
        // Rounding may make a power below 0 of silence.
        2.0 * (last * last + before * before - factor * last * before).max(0.0).sqrt() / self.window_sum
    }
}

/// The bin (with its fraction) where a peak around bin `k` is highest: a parabola through the logarithms, which for a
/// Hann window is right to about a fiftieth of a bin.
pub(super) fn peak_bin(powers: &[f64], k: usize) -> f64 {
    let log = |k: usize| powers.get(k).copied().unwrap_or(0.0).max(1e-30).ln();
    if k == 0 {
        return 0.0;
    }
    let (a, b, c) = (log(k - 1), log(k), log(k + 1));
    let bend = a - 2.0 * b + c;
    if bend < 0.0 { k as f64 + (0.5 * (a - c) / bend).clamp(-0.5, 0.5) } else { k as f64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sine_is_found_with_its_frequency_and_level() {
        let (rate, size) = (8000.0, 1024);
        let mut spectrum = SpectrumAnalyser::new(size, size);
        for (hertz, peak) in [(440.0, 0.5), (1234.5, 0.25)] {
            let sine: Vec<f64> = (0..size).map(|i| peak * (TAU * hertz * i as f64 / rate).sin()).collect();
            let powers = spectrum.powers(sine.iter().copied());
            let k = (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b])).unwrap();
            assert!((peak_bin(&powers, k) * rate / size as f64 - hertz).abs() < 0.3);
            assert!((powers[k].sqrt() / peak - 1.0).abs() < 0.16, "{}", powers[k].sqrt());
            assert!((spectrum.amplitude(&sine, hertz / rate) / peak - 1.0).abs() < 1e-4);
            let stereo = spectrum.stereo_powers(&sine, &vec![0.0; size]);
            assert_eq!(stereo, powers);
        }
    }

    #[test]
    fn it_is_the_discrete_fourier_transform_of_the_windowed_stretch_and_zeros() {
        let values: Vec<f64> = (0..16).map(|i| f64::from(i * i % 7)).collect();
        let mut spectrum = SpectrumAnalyser::new(16, 32);
        let powers = spectrum.powers(values.iter().copied());
        assert_eq!(powers.len(), 17);
        for (k, power) in powers.iter().enumerate() {
            let slow = values.iter().enumerate().fold(Complex::default(), |sum, (i, value)| {
                let weight = 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / 16.0).cos();
                sum + Complex::from_polar(weight * value, -TAU * (i * k) as f64 / 32.0)
            });
            // The weights of a Hann window add up to half its length.
            assert!((power - (slow / 4.0).norm_sqr()).abs() < 1e-12, "{k}");
            assert!((spectrum.amplitude(&values, k as f64 / 32.0) - power.sqrt()).abs() < 1e-9, "{k}");
        }
        assert_eq!(spectrum.powers([]), [0.0; 17]);
    }
}
