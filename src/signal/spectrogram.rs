//! The spectrogram of a sound: time from left to right, frequency from bottom to top, level as colour.

use super::picture::{Picture, Rgb};
use super::samples::{Samples, dbfs};
use super::spectrum::SpectrumAnalyser;

/// Width of the picture, in pixels.
const WIDTH: u32 = 800;
/// Height of the picture, in pixels: the left channel above the right one, and two rows between them.
const HEIGHT: u32 = 402;
/// The frequency at the top of each channel, in Hz (or half the sound's rate, if that is less).
const TOP_HERTZ: f64 = 6000.0;
/// The level that is drawn black, in dBFS; 0 is white.
const BOTTOM_DBFS: f64 = -96.0;

/// Number of colours, 3 dB each: with more of them, noise would not compress well enough.
const STEPS: usize = 32;
/// Colours of equally distant levels from the quietest to the loudest; between them they blend.
const SCALE: [Rgb; 6] = [[0, 0, 0], [40, 11, 84], [137, 34, 106], [227, 89, 51], [249, 201, 50], [252, 255, 240]];

/// Draws a spectrogram. Its PNG has less than 200 KiB, whatever the sound is. Silence, and no sound at all, is black.
pub(crate) fn draw(samples: &Samples) -> Picture {
    let rate = f64::from(samples.rate());
    // 40 to 80 ms: the tones show as lines, their gaps as gaps.
    let length = ((rate * 0.04) as usize).max(4).next_power_of_two();
    let mut spectrum = SpectrumAnalyser::new(length, length);
    let colours = colours();
    let rows = HEIGHT as usize / 2 - 1;
    let top = (TOP_HERTZ.min(rate / 2.0) * length as f64 / rate).max(1.0);

    let mut pixels = vec![[0; 3]; (WIDTH * HEIGHT) as usize];
    for x in 0..WIDTH as usize {
        // Centred on the column, with silence before and after the sound.
        let middle = (x as f64 + 0.5) / f64::from(WIDTH) * samples.frames() as f64;
        let begin = middle as isize - length as isize / 2;
        for (channel, values) in [samples.left(), samples.right()].into_iter().enumerate() {
            let value = |i: isize| usize::try_from(i).ok().and_then(|i| values.get(i)).copied().unwrap_or(0.0);
            let powers = spectrum.powers((begin..begin + length as isize).map(value));
            for row in 0..rows {
                // The loudest bin that falls into the row: a line must not vanish between two rows.
                let bin = |row: usize| (row as f64 / rows as f64 * top) as usize;
                let bins = bin(row)..(bin(row + 1)).max(bin(row) + 1);
                let power = powers.get(bins).map_or(0.0, |bins| bins.iter().fold(0.0, |a: f64, b| a.max(*b)));
                let level = 1.0 - dbfs(power.sqrt()) / BOTTOM_DBFS;
                let step = (level.clamp(0.0, 1.0) * (STEPS - 1) as f64).round() as usize;
                // Two black lines keep the channels apart.
                let y = channel * (rows + 2) + rows - 1 - row;
                pixels[y * WIDTH as usize + x] = colours[step];
            }
        }
    }
    Picture::from_rows(WIDTH, pixels)
}

/// The colours from the quietest to the loudest.
fn colours() -> [Rgb; STEPS] {
    std::array::from_fn(|step| {
        let at = step as f64 / (STEPS - 1) as f64 * (SCALE.len() - 1) as f64;
        let (from, to) = (SCALE[at as usize], SCALE[(at as usize + 1).min(SCALE.len() - 1)]);
        std::array::from_fn(|i| {
            (f64::from(from[i]) + (f64::from(to[i]) - f64::from(from[i])) * at.fract()).round() as u8
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::signal::tone::{Side, ToneSequence, render};

    /// How bright it is at a time of the sequence (in seconds), of a channel (0 left), at a frequency.
    fn brightness(picture: &Picture, seconds: f64, channel: u32, hertz: f64, top: f64) -> u32 {
        let x = (seconds / 3.02 * f64::from(WIDTH)) as u32;
        let y = 199 - (hertz / top * 200.0) as u32 + channel * 202;
        picture.pixels()[(y * WIDTH + x) as usize].iter().map(|value| u32::from(*value)).sum()
    }

    #[test]
    fn the_tones_show_as_bright_lines_in_their_channel() {
        let sequence = ToneSequence::default();
        let picture = draw(&render(&sequence, 8000));
        for tone in &sequence.tones {
            let middle = tone.start_s + tone.length_s / 2.0;
            for (channel, other) in [(0, Side::Right), (1, Side::Left)] {
                let bright = brightness(&picture, middle, channel, tone.hertz, 4000.0) > 300;
                assert_eq!(bright, tone.side != other, "{tone:?} {channel}");
                assert_eq!(brightness(&picture, middle, channel, 3000.0, 4000.0), 0);
            }
        }
        assert!(picture.to_png().unwrap().len() < 60 << 10);
    }

    #[test]
    fn even_of_noise_the_file_is_small() {
        let noise = |mut state: u64| {
            let next = move |_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 40) as f64 / 8_388_608.0 - 1.0
            };
            // Long: no two columns have anything in common.
            (0..400_000).map(next).collect::<Vec<f64>>()
        };
        let sound = Samples::new(8000, noise(1), noise(2));
        let bytes = draw(&sound).to_png().unwrap().len();
        assert!(bytes < 200 << 10, "{bytes}");
    }

    #[test]
    fn no_sound_is_black() {
        for frames in [0, 9999] {
            let picture = draw(&Samples::new(8000, vec![0.0; frames], vec![0.0; frames]));
            assert!(picture.pixels().iter().all(|pixel| *pixel == [0; 3]));
        }
        draw(&Samples::new(1, vec![f64::NAN; 99], vec![f64::INFINITY; 99]));
    }
}
