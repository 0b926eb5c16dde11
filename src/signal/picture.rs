//! Pictures: what a screendump holds, pixel by pixel.

use std::fmt;

/// Most pixels of a picture that is read: a screen of 5120 by 2880 fits.
pub const MOST_PIXELS: u64 = 1 << 24;

/// A colour: red, green, blue, 0 to 255.
pub type Rgb = [u8; 3];

/// A picture without transparency, at least one pixel wide and high, of at most [`MOST_PIXELS`].
#[derive(Clone, PartialEq, Eq)]
pub struct Picture {
    width: u32,
    height: u32,
    /// Row by row from the top left.
    pixels: Vec<Rgb>,
}

/// Why there is no picture.
#[derive(Debug)]
pub enum PictureError {
    /// A side is 0, or it has more than [`MOST_PIXELS`], or other than width by height pixels: width, height.
    Size(u32, u32),
    /// It is no PNG, or a broken one: what the decoder says.
    NotPng(String),
    /// The encoder failed: what it says.
    Encode(String),
}

impl fmt::Display for PictureError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PictureError::Size(width, height) => write!(f, "a picture of {width} by {height} pixels"),
            PictureError::NotPng(why) => write!(f, "no PNG that can be read: {why}"),
            PictureError::Encode(why) => write!(f, "the picture cannot be written: {why}"),
        }
    }
}

impl std::error::Error for PictureError {}

impl fmt::Debug for Picture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Picture({} by {})", self.width, self.height)
    }
}

impl Picture {
    /// From pixels row by row, top left first.
    pub fn new(width: u32, height: u32, pixels: Vec<Rgb>) -> Result<Self, PictureError> {
        let count = u64::from(width) * u64::from(height);
        if count == 0 || count > MOST_PIXELS || count != pixels.len() as u64 {
            return Err(PictureError::Size(width, height));
        }
        Ok(Self { width, height, pixels })
    }

    /// Reads a PNG of any colour type; transparency is ignored. What is hostile costs no more memory than a picture
    /// of [`MOST_PIXELS`].
    pub fn from_png(bytes: &[u8]) -> Result<Self, PictureError> {
        let _ = bytes;
        unimplemented!()
    }

    /// Writes a PNG; with a palette if there are few colours.
    pub fn to_png(&self) -> Result<Vec<u8>, PictureError> {
        unimplemented!()
    }

    /// Width in pixels, 1 or more.
    pub fn width(&self) -> u32 {
        self.width
    }

    /// Height in pixels, 1 or more.
    pub fn height(&self) -> u32 {
        self.height
    }

    /// All pixels row by row, top left first.
    pub fn pixels(&self) -> &[Rgb] {
        &self.pixels
    }

    /// The rows from the top.
    pub fn rows(&self) -> impl Iterator<Item = &[Rgb]> {
        self.pixels.chunks_exact(self.width as usize)
    }
}
