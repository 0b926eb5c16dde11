//! Pictures of a screen: read, written and scaled here, analysed and compared in the modules below.

use std::collections::HashMap;
use std::fmt;
use std::io::Cursor;

mod analysis;
#[cfg(test)]
mod canvas;
mod console;
mod diff;
mod rect;

pub use analysis::{PictureAnalysis, analyse};
pub(crate) use diff::diff_within;
pub use diff::{PictureDiff, diff};
pub use rect::Rect;

/// Most pixels of a picture: a screen of 5120 by 2880 fits.
const MAX_PIXELS: u64 = 1 << 24;
/// A difference of a channel (0 to 255) up to this is noise.
const TOLERANCE: u8 = 8;

/// A colour: red, green, blue, 0 to 255.
pub type Rgb = [u8; 3];

/// A picture without transparency, at least one pixel wide and high, of at most 2^24 pixels.
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Row by row from the top left.
    pixels: Vec<Rgb>,
}

/// Why a picture cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// A side is 0, there are more than 2^24 pixels, or not as many as width and height say: width, height.
    #[error("unsupported picture size: {0}x{1} pixels")]
    Size(u32, u32),
    /// The decoder's error.
    #[error("not a readable PNG")]
    Decode(#[from] png::DecodingError),
    /// The encoder's error.
    #[error("cannot encode the picture as PNG")]
    Encode(#[from] png::EncodingError),
}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} by {})", self.width, self.height)
    }
}

impl Picture {
    /// From pixels row by row, top left first.
    pub fn new(width: u32, height: u32, pixels: Vec<Rgb>) -> Result<Self, PictureError> {
        let count = u64::from(width) * u64::from(height);
        if count == 0 || count > MAX_PIXELS || count != pixels.len() as u64 {
            return Err(PictureError::Size(width, height));
        }
        Ok(Self { width, height, pixels })
    }

    /// From pixels that we drew ourselves: whole rows, one at least.
    pub(super) fn from_rows(width: u32, pixels: Vec<Rgb>) -> Self {
        debug_assert!(width > 0 && !pixels.is_empty() && pixels.len().is_multiple_of(width as usize));
        Self { width, height: (pixels.len() / width as usize) as u32, pixels }
    }

    /// Reads a PNG of any colour type; transparency is ignored. A hostile file costs no more memory than the largest
    /// picture.
    pub fn from_png(bytes: &[u8]) -> Result<Self, PictureError> {
        // For what the decoder keeps besides the picture: a row, text, profiles.
        let limits = png::Limits { bytes: 16 << 20 };
        let mut decoder = png::Decoder::new_with_limits(Cursor::new(bytes), limits);
        decoder.set_ignore_text_chunk(true);
        decoder.set_transformations(png::Transformations::EXPAND | png::Transformations::STRIP_16);
        let (width, height) = decoder.read_header_info()?.size();
        if !(1..=MAX_PIXELS).contains(&(u64::from(width) * u64::from(height))) {
            return Err(PictureError::Size(width, height));
        }
        let mut reader = decoder.read_info()?;
        let size = reader.output_buffer_size().ok_or(PictureError::Size(width, height))?;
        let mut buffer = vec![0; size];
        let frame = reader.next_frame(&mut buffer)?;
        let channels = frame.color_type.samples();
        let pixels = buffer[..frame.buffer_size()].chunks_exact(channels);
        let pixels = match channels {
            1 | 2 => pixels.map(|pixel| [pixel[0]; 3]).collect(),
            _ => pixels.map(|pixel| [pixel[0], pixel[1], pixel[2]]).collect(),
        };
        Self::new(width, height, pixels)
    }

    /// Writes a PNG, with a palette if there are 256 colours at most.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, self.width, self.height);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.set_compression(png::Compression::Balanced);
        let bytes = match self.indexed() {
            Some((palette, indices)) => {
                encoder.set_color(png::ColorType::Indexed);
                encoder.set_palette(palette.concat());
                // Neighbours in a palette need not be alike: a filter, which takes differences, does not help.
                encoder.set_filter(png::Filter::NoFilter);
                indices
            }
            None => {
                encoder.set_color(png::ColorType::Rgb);
                encoder.set_filter(png::Filter::Adaptive);
                self.pixels.concat()
            }
        };
        let mut writer = encoder.write_header()?;
        writer.write_image_data(&bytes)?;
        writer.finish()?;
        Ok(out)
    }

    /// The palette and for each pixel its index, if there are 256 colours at most.
    fn indexed(&self) -> Option<(Vec<Rgb>, Vec<u8>)> {
        let mut palette = Vec::new();
        let mut known: HashMap<Rgb, u8> = HashMap::new();
        let mut indices = Vec::with_capacity(self.pixels.len());
        // Most pixels have the colour of the one before.
        let mut last: Option<(Rgb, u8)> = None;
        for pixel in &self.pixels {
            let index = match last {
                Some((colour, index)) if colour == *pixel => index,
                _ => match known.get(pixel) {
                    Some(index) => *index,
                    None => {
                        let index = u8::try_from(palette.len()).ok()?;
                        palette.push(*pixel);
                        known.insert(*pixel, index);
                        index
                    }
                },
            };
            last = Some((*pixel, index));
            indices.push(index);
        }
        Some((palette, indices))
    }

    /// This picture in the middle of a black one, which is no smaller.
    pub(super) fn centred_on(&self, width: u32, height: u32) -> Self {
        let (width, height) = (width.max(self.width), height.max(self.height));
        let (left, top) = ((width - self.width) / 2, (height - self.height) / 2);
        let mut pixels = vec![[0; 3]; (width * height) as usize];
        for (line, row) in pixels.chunks_exact_mut(width as usize).skip(top as usize).zip(self.rows()) {
            line[left as usize..left as usize + row.len()].copy_from_slice(row);
        }
        Self { width, height, pixels }
    }

    /// Scaled down to fit into a width and a height in pixels, never up; each pixel is the mean of those that it stands
    /// for. A side is 1 at least.
    pub(crate) fn scaled_into(&self, width: u32, height: u32) -> Self {
        let fits = |this: u32, most: u32| f64::from(most.max(1)) / f64::from(this);
        let factor = fits(self.width, width).min(fits(self.height, height));
        if factor >= 1.0 {
            return self.clone();
        }
        let side = |this: u32, most: u32| ((f64::from(this) * factor).round() as u32).clamp(1, most.max(1));
        let (columns, lines) = (side(self.width, width), side(self.height, height));
        // Where column (or line) `i` of the new picture begins in this one.
        let begin = |i: u32, of: u32, from: u32| (u64::from(i) * u64::from(from) / u64::from(of)) as usize;
        let mut pixels = Vec::with_capacity((columns * lines) as usize);
        let mut sums = vec![[0u32; 3]; columns as usize];
        for line in 0..lines {
            let (top, bottom) = (begin(line, lines, self.height), begin(line + 1, lines, self.height));
            sums.fill([0; 3]);
            for row in self.rows().skip(top).take(bottom - top) {
                for (i, sum) in (0..columns).zip(&mut sums) {
                    for pixel in &row[begin(i, columns, self.width)..begin(i + 1, columns, self.width)] {
                        for (sum, value) in sum.iter_mut().zip(pixel) {
                            *sum += u32::from(*value);
                        }
                    }
                }
            }
            for (i, sum) in (0..columns).zip(&sums) {
                let wide = begin(i + 1, columns, self.width) - begin(i, columns, self.width);
                let count = (wide * (bottom - top)).max(1) as u32;
                pixels.push(sum.map(|sum| ((sum + count / 2) / count) as u8));
            }
        }
        Self { width: columns, height: lines, pixels }
    }

    /// Width in pixels, 1 or more.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, 1 or more.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Width and height in pixels.
    pub fn size(&self) -> (u32, u32) {
        (self.width, self.height)
    }

    /// All pixels row by row, top left first.
    pub fn pixels(&self) -> &[Rgb] {
        &self.pixels
    }

    /// The rows from the top.
    pub(super) fn rows(&self) -> impl Iterator<Item = &[Rgb]> {
        self.pixels.chunks_exact(self.width as usize)
    }
}

/// Whether two colours are the same but for noise.
fn is_near(a: Rgb, b: Rgb) -> bool {
    // Without a branch for each channel: the compiler makes vectors of it.
    (a[0].abs_diff(b[0]) <= TOLERANCE) & (a[1].abs_diff(b[1]) <= TOLERANCE) & (a[2].abs_diff(b[2]) <= TOLERANCE)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// A picture with many colours (or few), the same each time.
    fn colourful(width: u32, height: u32, colours: u32) -> Picture {
        let pixel = |i: u32| i.wrapping_mul(2_654_435_761) % colours;
        let pixels = (0..width * height).map(pixel).map(|n| [n as u8, (n >> 8) as u8, (n >> 5) as u8]);
        Picture::new(width, height, pixels.collect()).unwrap()
    }

    fn encode(width: u32, height: u32, colour: png::ColorType, depth: png::BitDepth, data: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut encoder = png::Encoder::new(&mut out, width, height);
        encoder.set_color(colour);
        encoder.set_depth(depth);
        encoder.write_header().unwrap().write_image_data(data).unwrap();
        out
    }

    /// A PNG whose header declares a size.
    fn declaring(width: u32, height: u32) -> Vec<u8> {
        let mut bytes = b"\x89PNG\r\n\x1a\n\0\0\0\x0dIHDR".to_vec();
        bytes.extend(width.to_be_bytes());
        bytes.extend(height.to_be_bytes());
        bytes.extend([8, 2, 0, 0, 0]);
        // CRC-32 (the PNG specification, annex D).
        let crc = !bytes[12..].iter().fold(!0u32, |crc, byte| {
            (0..8).fold(crc ^ u32::from(*byte), |crc, _| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 })
        });
        bytes.extend(crc.to_be_bytes());
        bytes.extend(b"\0\0\0\0IDAT\x35\xaf\x06\x1e");
        bytes
    }

    #[test]
    fn what_is_written_is_read_again() {
        for (width, height, colours) in [(1, 1, 1), (3, 5, 2), (40, 30, 256), (40, 30, 257), (37, 1, 9999)] {
            let picture = colourful(width, height, colours);
            assert_eq!(Picture::from_png(&picture.to_png().unwrap()).unwrap(), picture);
        }
    }

    #[test]
    fn every_colour_type_is_read() {
        use png::{BitDepth, ColorType};
        let pixel =
            |colour, depth, data: &[u8]| Picture::from_png(&encode(1, 1, colour, depth, data)).unwrap().pixels()[0];
        assert_eq!(pixel(ColorType::Grayscale, BitDepth::One, &[0x80]), [255; 3]);
        assert_eq!(pixel(ColorType::Grayscale, BitDepth::Sixteen, &[7, 9]), [7; 3]);
        assert_eq!(pixel(ColorType::GrayscaleAlpha, BitDepth::Eight, &[7, 0]), [7; 3]);
        assert_eq!(pixel(ColorType::Rgb, BitDepth::Eight, &[1, 2, 3]), [1, 2, 3]);
        assert_eq!(pixel(ColorType::Rgba, BitDepth::Sixteen, &[1, 0, 2, 0, 3, 0, 0, 0]), [1, 2, 3]);
    }

    #[test]
    fn what_cannot_be_or_is_not_all_there_is_refused() {
        assert!(matches!(Picture::from_png(&declaring(0, 7)), Err(PictureError::Decode(_) | PictureError::Size(0, 7))));
        assert!(matches!(Picture::from_png(&declaring(65_535, 65_535)), Err(PictureError::Size(65_535, 65_535))));
        assert!(matches!(Picture::from_png(&declaring(4, 4)), Err(PictureError::Decode(_))));
        let whole = colourful(40, 30, 9999).to_png().unwrap();
        assert!(matches!(Picture::from_png(&whole[..whole.len() / 2]), Err(PictureError::Decode(_))));
        assert!(Picture::new(0, 0, vec![]).is_err());
        assert!(Picture::new(2, 2, vec![[0; 3]; 3]).is_err());
    }

    #[test]
    fn scaling_takes_the_mean_and_keeps_the_shape() {
        let picture = Picture::new(4, 2, [[[0; 3], [200; 3], [9; 3], [9; 3]], [[100; 3]; 4]].concat()).unwrap();
        let small = picture.scaled_into(2, 9);
        assert_eq!((small.width(), small.height()), (2, 1));
        assert_eq!(small.pixels(), [[100; 3], [55; 3]]);
        assert_eq!(picture.scaled_into(4, 2), picture);
        assert_eq!(picture.scaled_into(400, 200), picture);
        let line = colourful(1000, 1, 9).scaled_into(10, 10);
        assert_eq!((line.width(), line.height()), (10, 1));
        assert_eq!(picture.scaled_into(0, 0).pixels().len(), 1);
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn garbage_is_read_or_refused(bytes in prop::collection::vec(any::<u8>(), 0..300), header in any::<bool>()) {
            let bytes = if header { [b"\x89PNG\r\n\x1a\n", &bytes[..]].concat() } else { bytes };
            let _any = Picture::from_png(&bytes);
        }

        #[test]
        fn a_damaged_file_is_read_or_refused(width in 1u32..40, height in 1u32..40, at in any::<prop::sample::Index>(), to in any::<u8>(), cut in any::<prop::sample::Index>()) {
            let mut bytes = colourful(width, height, 999).to_png().unwrap();
            *at.get_mut(&mut bytes) = to;
            let _any = Picture::from_png(&bytes);
            bytes.truncate(cut.index(bytes.len()));
            let _any = Picture::from_png(&bytes);
        }

        #[test]
        fn any_size_comes_back_from_a_png_and_can_be_scaled(width in 1u32..90, height in 1u32..90, to in 1u32..50) {
            let picture = colourful(width, height, 5000);
            prop_assert_eq!(&Picture::from_png(&picture.to_png().unwrap()).unwrap(), &picture);
            let small = picture.scaled_into(to, 30);
            prop_assert!(small.width() <= to.max(1) && small.height() <= 30);
            prop_assert_eq!(small.pixels().len() as u32, small.width() * small.height());
        }
    }
}
