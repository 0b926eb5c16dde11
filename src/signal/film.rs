//! A recording of the screen, as an animated GIF that fits into a report.

use std::time::Duration;

use super::picture::{Picture, Rect, diff};

/// Largest width of a frame, in pixels.
const MAX_WIDTH: u32 = 320;
/// Largest height of a frame, in pixels.
const MAX_HEIGHT: u32 = 240;
/// Largest GIF, in bytes.
const MAX_BYTES: usize = 2 << 20;
/// Most frames that are kept (14 MB): when there are more, every second one is dropped.
const MAX_FRAMES: usize = 60;

/// The least share of changed pixels that makes a new frame: a blinking cursor is less.
const MIN_CHANGE: f64 = 0.0002;
/// The shortest time of a frame in 1/100 s, GIF's unit: viewers slow down shorter ones.
const MIN_DELAY: u128 = 2;
/// How long the last frame is shown at least.
const MIN_LAST: Duration = Duration::from_secs(2);
/// How coarsely the palette of a frame is learned, 1 (fine) to 30: a tenth of the pixels, some milliseconds.
const SPEED: i32 = 10;

/// A film that is being recorded: frames of at most 320 by 240 pixels, 60 at most.
#[derive(Debug, Default)]
pub struct Film {
    frames: Vec<Frame>,
    /// The least time between two frames: it grows with the film, so that its beginning is no coarser than its end.
    spacing: Duration,
}

/// A frame and when it was taken first.
#[derive(Debug, Clone)]
struct Frame {
    at: Duration,
    picture: Picture,
}

/// The encoder's error.
#[derive(Debug, thiserror::Error)]
#[error("cannot encode the GIF")]
pub struct FilmError(#[from] gif::EncodingError);

impl Film {
    /// Adds a picture of the screen, taken `elapsed` after the beginning, unless it is like the last one. A time before
    /// the last one's counts as the last one's.
    pub fn push(&mut self, elapsed: Duration, picture: &Picture) {
        let picture = picture.scaled_into(MAX_WIDTH, MAX_HEIGHT);
        if let Some(last) = self.frames.last_mut() {
            if diff(&last.picture, &picture).share < MIN_CHANGE {
                return;
            }
            if elapsed < last.at + self.spacing.max(Duration::from_millis(20)) {
                // The newer one stays: how a burst of changes ends matters more than how it begins.
                last.picture = picture;
                return;
            }
        }
        self.frames.push(Frame { at: elapsed, picture });
        if self.frames.len() > MAX_FRAMES {
            self.spacing = (self.spacing * 2).max(elapsed / MAX_FRAMES as u32);
            thin(&mut self.frames);
        }
    }

    /// The GIF, of 2 MiB at most, in real time and repeated for ever; the last frame stays until `end` (since the
    /// beginning), two seconds at least. `None` without a frame.
    pub fn gif(&self, end: Duration) -> Result<Option<Vec<u8>>, FilmError> {
        self.gif_within(end, MAX_BYTES)
    }

    /// The GIF, with fewer frames if it has more than so many bytes.
    fn gif_within(&self, end: Duration, most: usize) -> Result<Option<Vec<u8>>, FilmError> {
        if self.frames.is_empty() {
            return Ok(None);
        }
        let mut frames = self.frames.clone();
        loop {
            let bytes = encode(&frames, end)?;
            // One frame always fits into MAX_BYTES: at worst it has half as many bytes again as pixels.
            if bytes.len() <= most || frames.len() == 1 {
                return Ok(Some(bytes));
            }
            thin(&mut frames);
        }
    }
}

/// Drops every second frame, never the first nor the last.
fn thin(frames: &mut Vec<Frame>) {
    let last = frames.len().saturating_sub(1);
    let mut i = 0;
    frames.retain(|_| {
        i += 1;
        (i - 1) % 2 == 0 || (i - 1 == last && last > 1)
    });
}

/// Writes frames, one or more, as a GIF. Each has only what changed since the one before.
fn encode(frames: &[Frame], end: Duration) -> Result<Vec<u8>, gif::EncodingError> {
    // Screens change their size while they boot: the largest one counts.
    let side = |of: fn(&Picture) -> u32| frames.iter().map(|frame| of(&frame.picture)).max().unwrap_or(1);
    let (width, height) = (side(Picture::width), side(Picture::height));
    let mut out = Vec::new();
    // Neither is more than MAX_WIDTH, MAX_HEIGHT: both fit.
    let mut encoder = gif::Encoder::new(&mut out, width as u16, height as u16, &[])?;
    encoder.set_repeat(gif::Repeat::Infinite)?;
    let mut shown: Option<Picture> = None;
    for (i, frame) in frames.iter().enumerate() {
        let until = frames.get(i + 1).map_or(end.max(frame.at + MIN_LAST), |next| next.at);
        let picture = frame.picture.centred_on(width, height);
        let part = match &shown {
            Some(shown) => diff(shown, &picture).bounds.unwrap_or(Rect { x: 0, y: 0, width: 1, height: 1 }),
            None => Rect { x: 0, y: 0, width, height },
        };
        let rows = picture.rows().skip(part.y as usize).take(part.height as usize);
        let pixels: Vec<u8> =
            rows.flat_map(|row| &row[part.x as usize..(part.x + part.width) as usize]).flatten().copied().collect();
        let mut image = gif::Frame::from_rgb_speed(part.width as u16, part.height as u16, &pixels, SPEED);
        (image.left, image.top) = (part.x as u16, part.y as u16);
        image.dispose = gif::DisposalMethod::Keep;
        image.delay = hundredths(until).saturating_sub(hundredths(frame.at)).clamp(MIN_DELAY, u16::MAX.into()) as u16;
        encoder.write_frame(&image)?;
        shown = Some(picture);
    }
    drop(encoder);
    Ok(out)
}

/// A time in GIF's unit. Of the times, not of their differences, so that rounding does not add up.
fn hundredths(time: Duration) -> u128 {
    (time.as_millis() + 5) / 10
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn picture(width: u32, height: u32, colour: impl Fn(u32) -> [u8; 3]) -> Picture {
        Picture::new(width, height, (0..width * height).map(colour).collect()).unwrap()
    }

    fn flat(value: u8) -> Picture {
        picture(64, 40, |_| [value; 3])
    }

    fn noise(width: u32, height: u32, seed: u32) -> Picture {
        picture(width, height, |i| {
            let mut value = (i ^ seed.wrapping_mul(0x9e37_79b9)).wrapping_mul(0x85eb_ca6b);
            value ^= value >> 13;
            let [a, b, c, _] = value.wrapping_mul(0xc2b2_ae35).to_be_bytes();
            [a, b, c]
        })
    }

    fn seconds(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    /// How long, in 1/100 s, and the pixels.
    type PlayedFrame = (u16, Vec<[u8; 3]>);

    /// What a viewer sees: size, and for each frame the picture so far.
    fn play(bytes: &[u8]) -> ((u16, u16), Vec<PlayedFrame>) {
        let mut options = gif::DecodeOptions::new();
        options.set_color_output(gif::ColorOutput::RGBA);
        let mut decoder = options.read_info(bytes).unwrap();
        let (width, height) = (decoder.width(), decoder.height());
        let mut screen = vec![[0; 3]; usize::from(width) * usize::from(height)];
        let mut frames = Vec::new();
        while let Some(frame) = decoder.read_next_frame().unwrap() {
            for (i, pixel) in frame.buffer.chunks(4).enumerate() {
                let (x, y) = (i % usize::from(frame.width), i / usize::from(frame.width));
                let at = (y + usize::from(frame.top)) * usize::from(width) + x + usize::from(frame.left);
                screen[at] = [pixel[0], pixel[1], pixel[2]];
            }
            frames.push((frame.delay, screen.clone()));
        }
        ((width, height), frames)
    }

    #[test]
    fn each_frame_stays_as_long_as_it_was_seen() {
        let mut film = Film::default();
        assert!(film.gif(seconds(9.0)).unwrap().is_none());
        for (at, value) in [(1.0, 0), (1.5, 0), (3.0, 100), (3.4, 103), (4.25, 200)] {
            film.push(seconds(at), &flat(value));
        }
        assert_eq!(film.frames.len(), 3);
        let ((width, height), frames) = play(&film.gif(seconds(10.0)).unwrap().unwrap());
        assert_eq!((width, height), (64, 40));
        assert_eq!(frames.iter().map(|(delay, _)| *delay).collect::<Vec<_>>(), [200, 125, 575]);
        assert_eq!(frames.iter().map(|(_, screen)| screen[99]).collect::<Vec<_>>(), [[0; 3], [100; 3], [200; 3]]);
        let (_, frames) = play(&film.gif(seconds(0.0)).unwrap().unwrap());
        assert_eq!(frames[2].0, 200);
    }

    #[test]
    fn what_changed_in_part_is_seen_on_what_was_there() {
        let before = noise(64, 40, 1);
        let mut pixels = before.pixels().to_vec();
        pixels[5 * 64 + 7] = before.pixels()[5 * 64 + 7].map(|value| value ^ 128);
        let after = Picture::new(64, 40, pixels).unwrap();
        let mut film = Film::default();
        film.push(seconds(0.0), &before);
        film.push(seconds(1.0), &after);
        let (_, frames) = play(&film.gif(seconds(2.0)).unwrap().unwrap());
        assert_eq!(frames[1].1[5 * 64 + 7], after.pixels()[5 * 64 + 7]);
        assert_eq!(frames[0].1[..5 * 64], frames[1].1[..5 * 64]);
    }

    #[test]
    fn a_screen_that_changes_its_size_is_centred() {
        let mut film = Film::default();
        film.push(seconds(0.0), &picture(100, 50, |_| [9, 90, 9]));
        film.push(seconds(1.0), &picture(60, 80, |_| [90, 9, 9]));
        let ((width, height), frames) = play(&film.gif(seconds(2.0)).unwrap().unwrap());
        assert_eq!((width, height), (100, 80));
        assert_eq!((frames[0].1[0], frames[0].1[40 * 100 + 50]), ([0; 3], [9, 90, 9]));
        assert_eq!((frames[1].1[0], frames[1].1[40 * 100 + 50]), ([0; 3], [90, 9, 9]));
    }

    #[test]
    fn a_long_film_keeps_its_beginning_and_its_end() {
        let mut film = Film::default();
        for i in 0..1000u32 {
            film.push(seconds(f64::from(i) / 10.0), &picture(8, 8, |_| [(i * 37) as u8; 3]));
        }
        assert!((MAX_FRAMES / 3..=MAX_FRAMES).contains(&film.frames.len()), "{}", film.frames.len());
        let (_, frames) = play(&film.gif(seconds(100.0)).unwrap().unwrap());
        assert_eq!(frames[0].1[0], [0; 3]);
        assert_eq!(frames.last().unwrap().1[0], [(999u32 * 37) as u8; 3]);
        let sum: u32 = frames.iter().map(|(delay, _)| u32::from(*delay)).sum();
        assert!((10_000..=10_200).contains(&sum), "{sum}");
        let longest = frames.iter().rev().skip(1).map(|(delay, _)| *delay).max().unwrap();
        assert!(longest <= 1000, "{longest}");
    }

    #[test]
    fn a_film_that_is_too_large_loses_frames_and_no_time() {
        let mut film = Film::default();
        for i in 0..20 {
            film.push(seconds(f64::from(i)), &noise(64, 40, i));
        }
        let whole = film.gif(seconds(30.0)).unwrap().unwrap().len();
        for most in [whole, whole / 2, whole / 9] {
            let bytes = film.gif_within(seconds(30.0), most).unwrap().unwrap();
            assert!(bytes.len() <= most && bytes.len() > most / 4, "{} of {most}", bytes.len());
            let (_, frames) = play(&bytes);
            assert_eq!(frames.iter().map(|(delay, _)| u32::from(*delay)).sum::<u32>(), 3000);
        }
    }

    #[test]
    fn one_frame_of_noise_fits() {
        let mut film = Film::default();
        film.push(seconds(0.0), &noise(MAX_WIDTH, MAX_HEIGHT, 1));
        assert!(film.gif(seconds(0.0)).unwrap().unwrap().len() < MAX_BYTES / 8);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn any_pictures_make_a_film(
            pictures in prop::collection::vec((1u32..50, 1u32..50, 0u64..1_000_000_000), 1..12), end in 0u64..1 << 40,
        ) {
            let mut film = Film::default();
            for (i, (width, height, millis)) in (0..).zip(&pictures) {
                film.push(Duration::from_millis(*millis), &noise(*width, *height, i));
            }
            let bytes = film.gif(Duration::from_millis(end)).unwrap().unwrap();
            let ((width, height), frames) = play(&bytes);
            prop_assert!(u32::from(width) <= MAX_WIDTH && u32::from(height) <= MAX_HEIGHT);
            prop_assert_eq!(frames.len(), film.frames.len());
        }
    }
}
