//! The fast Fourier transform, of sizes that are powers of two: what the analysis needs of it is too little for a
//! dependency.

use std::f64::consts::TAU;
use std::ops::{Add, Mul, Sub};

/// A complex number.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Complex {
    pub(super) re: f64,
    pub(super) im: f64,
}

impl Complex {
    /// The square of its magnitude.
    pub(super) fn power(self) -> f64 {
        self.re * self.re + self.im * self.im
    }
}

impl Add for Complex {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { re: self.re + other.re, im: self.im + other.im }
    }
}

impl Sub for Complex {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { re: self.re - other.re, im: self.im - other.im }
    }
}

impl Mul for Complex {
    type Output = Self;

    fn mul(self, other: Self) -> Self {
        Self { re: self.re * other.re - self.im * other.im, im: self.re * other.im + self.im * other.re }
    }
}

/// A transform of one size, with a Hann window.
pub(super) struct Fft {
    /// Number of points, a power of two, 4 or more.
    pub(super) size: usize,
    /// The roots of unity for each pass, one pass after the other: the inner loop reads them in order.
    roots: Vec<Complex>,
}

/// The power of both channels in each bin.
#[derive(Debug, Default, Clone)]
pub(super) struct Powers {
    pub(super) left: Vec<f64>,
    pub(super) right: Vec<f64>,
}

impl Fft {
    /// For the power of two that is not below `size`.
    pub(super) fn new(size: usize) -> Self {
        let size = size.max(4).next_power_of_two();
        let mut roots = Vec::with_capacity(size);
        let mut half = 1;
        while half < size {
            let root = |k: usize| (-TAU * k as f64 / (2 * half) as f64).sin_cos();
            roots.extend((0..half).map(root).map(|(im, re)| Complex { re, im }));
            half *= 2;
        }
        Self { size, roots }
    }

    /// Transforms in place (Cooley and Tukey, decimation in time); `data` has `size` numbers.
    pub(super) fn run(&self, data: &mut [Complex]) {
        let size = data.len();
        let shift = usize::BITS - size.trailing_zeros();
        for i in 0..size {
            let j = i.reverse_bits() >> shift;
            if i < j {
                data.swap(i, j);
            }
        }
        let (mut half, mut roots) = (1, &self.roots[..]);
        while half < size {
            for block in data.chunks_exact_mut(2 * half) {
                let (lower, upper) = block.split_at_mut(half);
                for ((a, b), root) in lower.iter_mut().zip(upper).zip(roots) {
                    let turned = *b * *root;
                    (*a, *b) = (*a + turned, *a - turned);
                }
            }
            roots = &roots[half..];
            half *= 2;
        }
    }

    /// The spectra of two channels at once: the windowed left channel is the real part, the right one the imaginary
    /// part, and what is symmetric in the result tells them apart. Bins 0 to `size / 2`, scaled so that a sine of
    /// amplitude 1 in the middle of a bin has power 1 there. `window` is as long as the channels, which may be
    /// shorter than the transform (the rest counts as zeros).
    pub(super) fn powers(
        &self,
        window: &Window,
        left: &[f64],
        right: &[f64],
        out: &mut Powers,
        data: &mut Vec<Complex>,
    ) {
        data.clear();
        data.extend(
            window.weights.iter().zip(left.iter().zip(right)).map(|(w, (re, im))| Complex { re: w * re, im: w * im }),
        );
        data.resize(self.size, Complex::default());
        self.run(data);
        out.left.clear();
        out.right.clear();
        let scale = 1.0 / (window.sum * window.sum);
        for k in 0..=self.size / 2 {
            let (a, b) = (data[k], data[(self.size - k) % self.size]);
            let left = Complex { re: a.re + b.re, im: a.im - b.im };
            let right = Complex { re: a.im + b.im, im: b.re - a.re };
            out.left.push(left.power() * scale);
            out.right.push(right.power() * scale);
        }
    }
}

/// A Hann window.
pub(super) struct Window {
    pub(super) weights: Vec<f64>,
    sum: f64,
}

impl Window {
    /// Of so many points.
    pub(super) fn new(length: usize) -> Self {
        let weights: Vec<f64> =
            (0..length).map(|i| 0.5 - 0.5 * (TAU * (i as f64 + 0.5) / length as f64).cos()).collect();
        let sum = weights.iter().sum();
        Self { weights, sum }
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
    fn a_sine_is_found_in_its_channel_with_its_frequency_and_level() {
        let (rate, size) = (8000.0, 1024);
        let sine = |hertz: f64, peak: f64| {
            (0..size).map(|i| peak * (TAU * hertz * i as f64 / rate).sin()).collect::<Vec<f64>>()
        };
        let (fft, window) = (Fft::new(size), Window::new(size));
        let mut powers = Powers::default();
        fft.powers(&window, &sine(440.0, 0.5), &sine(1234.5, 0.25), &mut powers, &mut Vec::new());
        for (powers, hertz, peak) in [(&powers.left, 440.0, 0.5), (&powers.right, 1234.5, 0.25)] {
            let k = (0..powers.len()).max_by(|a, b| powers[*a].total_cmp(&powers[*b])).unwrap();
            assert!((peak_bin(powers, k) * rate / size as f64 - hertz).abs() < 0.3);
            assert!((powers[k].sqrt() / peak - 1.0).abs() < 0.16, "{}", powers[k].sqrt());
        }
    }

    #[test]
    fn it_is_the_discrete_fourier_transform() {
        let data: Vec<Complex> = (0..16).map(|i| Complex { re: f64::from(i * i % 7), im: f64::from(i % 3) }).collect();
        let mut fast = data.clone();
        Fft::new(16).run(&mut fast);
        for (k, fast) in fast.iter().enumerate() {
            let slow = data.iter().enumerate().fold(Complex::default(), |sum, (i, value)| {
                let (im, re) = (-TAU * (i * k) as f64 / 16.0).sin_cos();
                sum + *value * Complex { re, im }
            });
            assert!((*fast - slow).power() < 1e-20);
        }
    }
}
