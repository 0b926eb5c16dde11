//! WAV files: written for the guest's player, read from QEMU's capture while it is still being written.

use super::samples::Samples;

/// Longest sound that is read, in frames (a minute and a half at 48 kHz): the rest is ignored.
const MAX_FRAMES: usize = 1 << 22;

/// Why a capture cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WavError {
    /// It is shorter than a header: nothing was played yet, as QEMU creates the file empty.
    #[error("the capture is empty")]
    Short,
    /// It is no RIFF/WAVE file.
    #[error("the capture is not a WAV file")]
    NotWav,
    /// No `fmt ` chunk comes before the samples.
    #[error("the capture has no fmt chunk")]
    NoFormat,
    /// It is compressed or of floating-point samples: its format tag (1 is PCM).
    #[error("the capture is not PCM (format tag {0})")]
    NotPcm(u16),
    /// Bits of a sample other than 8, 16, 24, 32.
    #[error("unsupported sample size: {0} bits")]
    Bits(u16),
    /// No channel, or more than 64.
    #[error("unsupported number of channels: {0}")]
    Channels(u16),
    /// Frames a second outside 1000 to 768 000.
    #[error("unsupported sample rate: {0} Hz")]
    Rate(u32),
}

/// A WAV file as far as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct WavCapture {
    /// The sound: mono is in both channels, of more than two channels the first two are kept.
    pub samples: Samples,
    /// Number of channels in the file.
    pub channels: u16,
    /// Bits of a sample in the file: 8, 16, 24 or 32.
    pub bits: u16,
    /// The header does not say yet how long it is: QEMU still writes, or was killed.
    pub open: bool,
    /// There were more than 2^22 frames; the rest was ignored.
    pub cut: bool,
}

/// The sound as a WAV file (PCM, 16 bits, stereo) that `pw-play`, `paplay` and `aplay` play. What exceeds full scale
/// is clipped.
pub fn write(samples: &Samples) -> Vec<u8> {
    const FRAME: u32 = 4;
    let bytes = u32::try_from(samples.frames()).unwrap_or(u32::MAX).saturating_mul(FRAME);
    let mut out = Vec::with_capacity(HEADER + bytes as usize);
    out.extend_from_slice(b"RIFF");
    out.extend_from_slice(&bytes.saturating_add(36).to_le_bytes());
    out.extend_from_slice(b"WAVEfmt ");
    out.extend_from_slice(&16u32.to_le_bytes());
    out.extend_from_slice(&PCM.to_le_bytes());
    out.extend_from_slice(&2u16.to_le_bytes());
    out.extend_from_slice(&samples.rate().to_le_bytes());
    out.extend_from_slice(&samples.rate().saturating_mul(FRAME).to_le_bytes());
    out.extend_from_slice(&4u16.to_le_bytes());
    out.extend_from_slice(&16u16.to_le_bytes());
    out.extend_from_slice(b"data");
    out.extend_from_slice(&bytes.to_le_bytes());
    for (left, right) in samples.left().iter().zip(samples.right()) {
        for value in [left, right] {
            // A float that does not fit saturates.
            out.extend_from_slice(&((value * 32767.0).round() as i16).to_le_bytes());
        }
    }
    out
}

/// Bytes of the header that QEMU and [`write()`] write.
const HEADER: usize = 44;
/// The format tag of plain samples (Multimedia Programming Interface and Data Specifications 1.0).
const PCM: u16 = 1;
/// The format tag of a header with the format tag at a later place (`WAVE_FORMAT_EXTENSIBLE`).
const EXTENSIBLE: u16 = 0xfffe;

/// Reads a WAV file that may still be being written: sizes that are 0 or too large are ignored, as is an incomplete last
/// frame. Allocates 16 bytes a frame, 64 MiB at most.
pub fn read(bytes: &[u8]) -> Result<WavCapture, WavError> {
    if bytes.len() < HEADER {
        return Err(if b"RIFF".starts_with(&bytes[..bytes.len().min(4)]) { WavError::Short } else { WavError::NotWav });
    }
    if &bytes[..4] != b"RIFF" || &bytes[8..12] != b"WAVE" {
        return Err(WavError::NotWav);
    }
    let mut format = None;
    let mut at = 12;
    while let Some(header) = bytes.get(at..at + 8) {
        let size = number(&header[4..]) as usize;
        let body = &bytes[at + 8..];
        match &header[..4] {
            b"data" => return format.ok_or(WavError::NoFormat).map(|format: WavFormat| format.read(body, size)),
            b"fmt " => format = Some(WavFormat::parse(&body[..size.min(body.len())])?),
            _ => {}
        }
        // Chunks begin at even places.
        at = at.saturating_add(8).saturating_add(size).saturating_add(size & 1);
        if at > bytes.len() {
            break;
        }
    }
    Err(if format.is_some() { WavError::Short } else { WavError::NoFormat })
}

/// A little-endian number of up to four bytes.
fn number(bytes: &[u8]) -> u32 {
    bytes.iter().take(4).rev().fold(0, |number, byte| number << 8 | u32::from(*byte))
}

/// The `fmt ` chunk.
struct WavFormat {
    channels: u16,
    rate: u32,
    bits: u16,
}

impl WavFormat {
    /// Reads the chunk, and refuses what no sound card writes.
    fn parse(chunk: &[u8]) -> Result<Self, WavError> {
        if chunk.len() < 16 {
            return Err(WavError::NoFormat);
        }
        let short = |at: usize| u16::from_le_bytes([chunk[at], chunk[at + 1]]);
        let tag = match short(0) {
            EXTENSIBLE if chunk.len() >= 26 => short(24),
            tag => tag,
        };
        let (channels, rate, bits) = (short(2), number(&chunk[4..8]), short(14));
        if tag != PCM {
            return Err(WavError::NotPcm(tag));
        }
        if !(1..=64).contains(&channels) {
            return Err(WavError::Channels(channels));
        }
        if !(1000..=768_000).contains(&rate) {
            return Err(WavError::Rate(rate));
        }
        if !matches!(bits, 8 | 16 | 24 | 32) {
            return Err(WavError::Bits(bits));
        }
        Ok(Self { channels, rate, bits })
    }

    /// Reads the samples, `size` bytes according to the header.
    fn read(&self, body: &[u8], size: usize) -> WavCapture {
        // QEMU writes the size when it ends; others write the largest when they do not know it.
        let open = size == 0 || size > body.len();
        let body = if open { body } else { &body[..size] };
        let width = usize::from(self.bits / 8);
        let frame = width * usize::from(self.channels);
        let frames = (body.len() / frame).min(MAX_FRAMES);
        let (mut left, mut right) = (Vec::with_capacity(frames), Vec::with_capacity(frames));
        for frame in body.chunks_exact(frame).take(frames) {
            let first = sample(&frame[..width]);
            left.push(first);
            right.push(if self.channels > 1 { sample(&frame[width..2 * width]) } else { first });
        }
        WavCapture {
            samples: Samples::new(self.rate, left, right),
            channels: self.channels,
            bits: self.bits,
            open,
            cut: body.len() / frame > MAX_FRAMES,
        }
    }
}

/// A sample of 1 to 4 bytes, -1 to 1.
fn sample(bytes: &[u8]) -> f64 {
    match bytes {
        // Only samples of 8 bits are unsigned.
        [byte] => (f64::from(*byte) - 128.0) / 128.0,
        // Shifted to the top of 32 bits: the sign bit is in its place, whatever the width.
        _ => f64::from((number(bytes) << (32 - 8 * bytes.len() as u32)) as i32) / 2_147_483_648.0,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::tone::{RATE, ToneSequence, render};

    /// A header as QEMU writes it when the first sound comes, with what it says replaced.
    fn header(tag: u16, channels: u16, rate: u32, bits: u16, size: u32) -> Vec<u8> {
        let mut out = b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0".to_vec();
        out.extend(tag.to_le_bytes());
        out.extend(channels.to_le_bytes());
        out.extend(rate.to_le_bytes());
        out.extend([0; 6]);
        out.extend(bits.to_le_bytes());
        out.extend(b"data");
        out.extend(size.to_le_bytes());
        out
    }

    #[test]
    fn what_is_written_is_read_again() {
        let sound = render(&ToneSequence::default(), RATE);
        let bytes = write(&sound);
        assert_eq!(bytes.len(), 44 + 4 * sound.frames());
        let read = read(&bytes).unwrap();
        assert_eq!((read.channels, read.bits, read.open, read.cut), (2, 16, false, false));
        assert_eq!((read.samples.rate(), read.samples.frames()), (RATE, sound.frames()));
        let differ = |a: &[f64], b: &[f64]| a.iter().zip(b).any(|(a, b)| (a - b).abs() > 1.0 / 30000.0);
        assert!(!differ(read.samples.left(), sound.left()) && !differ(read.samples.right(), sound.right()));
    }

    #[test]
    fn too_loud_is_clipped() {
        let read = read(&write(&Samples::new(8000, vec![7.0, -7.0], vec![f64::NAN, 0.5]))).unwrap();
        assert_eq!(read.samples.left(), [32767.0 / 32768.0, -1.0]);
        assert_eq!(read.samples.right()[0], 0.0);
    }

    #[test]
    fn a_capture_that_is_still_being_written_is_read_as_far_as_it_goes() {
        let mut bytes = header(1, 2, 44_100, 16, 0);
        bytes.extend([0, 64, 0, 192, 0, 32, 1]);
        let read = read(&bytes).unwrap();
        assert!(read.open);
        assert_eq!((read.samples.left(), read.samples.right()), (&[0.5][..], &[-0.5][..]));
        assert_eq!(super::read(b""), Err(WavError::Short));
        assert_eq!(super::read(&bytes[..43]), Err(WavError::Short));
        assert_eq!(super::read(&bytes[..44]).unwrap().samples.frames(), 0);
    }

    #[test]
    fn every_width_and_mono_are_read() {
        for (bits, bytes) in [(8, &[192][..]), (16, &[0, 64]), (24, &[0, 0, 64]), (32, &[0, 0, 0, 64])] {
            let read = read(&[&header(1, 1, 8000, bits, 0)[..], bytes].concat()).unwrap();
            assert_eq!((read.samples.left(), read.samples.right()), (&[0.5][..], &[0.5][..]), "{bits}");
        }
        let three = read(&[&header(1, 3, 8000, 8, 6)[..], &[128, 192, 0, 0, 128, 0]].concat()).unwrap();
        assert_eq!((three.samples.left(), three.samples.right()), (&[0.0, -1.0][..], &[0.5, 0.0][..]));
        assert!(!three.open);
    }

    #[test]
    fn impossible_headers_are_refused() {
        assert_eq!(read(&header(3, 2, 44_100, 32, 0)), Err(WavError::NotPcm(3)));
        assert_eq!(read(&header(1, 0, 44_100, 16, 0)), Err(WavError::Channels(0)));
        assert_eq!(read(&header(1, 9999, 44_100, 16, 0)), Err(WavError::Channels(9999)));
        assert_eq!(read(&header(1, 2, 0, 16, 0)), Err(WavError::Rate(0)));
        assert_eq!(read(&header(1, 2, u32::MAX, 16, 0)), Err(WavError::Rate(u32::MAX)));
        assert_eq!(read(&header(1, 2, 44_100, 12, 0)), Err(WavError::Bits(12)));
        assert_eq!(read(&[b'x'; 99]), Err(WavError::NotWav));
        assert_eq!(read(b"<html>"), Err(WavError::NotWav));
        let mut odd = header(1, 2, 44_100, 16, 0);
        odd[12..16].copy_from_slice(b"junk");
        assert_eq!(read(&odd), Err(WavError::NoFormat));
    }

    #[test]
    fn unknown_chunks_are_skipped() {
        let plain = header(1, 1, 8000, 8, 1);
        let mut bytes = plain[..12].to_vec();
        bytes.extend(b"LIST\x03\0\0\0abc\0");
        bytes.extend(&plain[12..]);
        bytes.extend([255, 0, 0]);
        assert_eq!(read(&bytes).unwrap().samples.frames(), 1);
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..200), header in any::<bool>()) {
            let bytes = if header { [b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\x01\0\x02\0\x44\xac\0\0", &bytes[..]].concat() } else { bytes };
            if let Ok(capture) = read(&bytes) {
                prop_assert!(capture.samples.frames() <= bytes.len());
            }
        }

        #[test]
        fn hostile_headers_are_read_or_refused(
            (tag, channels, rate, bits, size) in (0u16..3, any::<u16>(), any::<u32>(), 0u16..40, any::<u32>()),
            channels_fit in any::<bool>(), rate_fits in any::<bool>(), body in prop::collection::vec(any::<u8>(), 0..99),
        ) {
            let channels = if channels_fit { channels % 4 } else { channels };
            let rate = if rate_fits { rate % 100_000 } else { rate };
            let bytes = [header(tag, channels, rate, bits / 8 * 8, size), body].concat();
            if let Ok(capture) = read(&bytes) {
                prop_assert!(capture.samples.frames() * usize::from(channels) * usize::from(bits / 8) <= bytes.len());
                prop_assert!(capture.samples.left().iter().all(|value| value.abs() <= 1.0));
            }
        }
    }
}
