//! A sound as a picture: time from left to right, frequency from bottom to top, level as colour.

use super::fft::{Fft, Powers, Window};
use super::picture::{Picture, Rgb};
use super::samples::{Samples, dbfs};

/// Size of the picture, in pixels.
pub const WIDTH: u32 = 800;
/// Size of the picture, in pixels: the left channel above the right one.
pub const HEIGHT: u32 = 402;
/// The frequency at the top of each channel, in Hz (or half the sound's rate, if that is less).
pub const TOP_HERTZ: f64 = 6000.0;
/// The level that is drawn black, in dBFS; 0 is white.
pub const BOTTOM_DBFS: f64 = -96.0;

/// Number of colours. So few that noise, too, compresses well enough; a step is 3 dB.
const STEPS: usize = 32;
/// Colours of equally distant levels from the quietest to the loudest; between them they blend.
const SCALE: [Rgb; 6] = [[0, 0, 0], [40, 11, 84], [137, 34, 106], [227, 89, 51], [249, 201, 50], [252, 255, 240]];

/// Draws a sound. Its PNG has less than 200 KiB, whatever the sound is. Silence, and no sound at all, is black.
pub fn draw(samples: &Samples) -> Picture {
    let rate = f64::from(samples.rate());
    // 40 to 80 ms: the tones show as lines, their gaps as gaps.
    let fft = Fft::new((rate * 0.04) as usize);
    let window = Window::new(fft.size);
    let colours = colours();
    let rows = HEIGHT as usize / 2 - 1;
    let top = (TOP_HERTZ.min(rate / 2.0) * fft.size as f64 / rate).max(1.0);

    let mut pixels = vec![[0; 3]; (WIDTH * HEIGHT) as usize];
    let (mut powers, mut data) = (Powers::default(), Vec::new());
    for x in 0..WIDTH as usize {
        // Centred on the column, with silence before and after the sound.
        let middle = (x as f64 + 0.5) / f64::from(WIDTH) * samples.frames() as f64;
        let begin = middle as isize - fft.size as isize / 2;
        let around = |values: &[f64]| -> Vec<f64> {
            let value = |i: isize| usize::try_from(i).ok().and_then(|i| values.get(i)).copied().unwrap_or(0.0);
            (begin..begin + fft.size as isize).map(value).collect()
        };
        let (left, right) = (around(samples.left()), around(samples.right()));
        fft.powers(&window, &left, &right, &mut powers, &mut data);
        for (channel, powers) in [&powers.left, &powers.right].into_iter().enumerate() {
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
    Picture::of(WIDTH, pixels)
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
    use crate::signal::tone::{GAP_S, Sequence, TONE_S, TONES, render};

    /// How bright it is at a time of the sequence (in seconds), of a channel (0 left), at a frequency.
    fn brightness(picture: &Picture, seconds: f64, channel: u32, hertz: f64, top: f64) -> u32 {
        let x = (seconds / 3.02 * f64::from(WIDTH)) as u32;
        let y = 199 - (hertz / top * 200.0) as u32 + channel * 202;
        picture.pixels()[(y * WIDTH + x) as usize].iter().map(|value| u32::from(*value)).sum()
    }

    #[test]
    fn the_tones_show_as_bright_lines_in_their_channel() {
        let picture = draw(&render(&Sequence::default(), 8000));
        for (i, (hertz, _)) in TONES.into_iter().enumerate() {
            let tone = Sequence::default().tones[i];
            let middle = i as f64 * (TONE_S + GAP_S) + TONE_S / 2.0;
            for channel in [0, 1] {
                let there =
                    tone.side != [crate::signal::tone::Side::Right, crate::signal::tone::Side::Left][channel as usize];
                assert_eq!(brightness(&picture, middle, channel, hertz, 4000.0) > 300, there, "{hertz} {channel}");
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
