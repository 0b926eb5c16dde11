//! A canvas on which tests draw a screen.

use super::{Picture, PictureAnalysis, Rgb, analyse};

pub(super) const GREY: Rgb = [170; 3];

pub(super) struct Canvas {
    pub(super) width: u32,
    pub(super) height: u32,
    pub(super) pixels: Vec<Rgb>,
}

impl Canvas {
    pub(super) fn of(width: u32, height: u32, colour: Rgb) -> Self {
        Self { width, height, pixels: vec![colour; (width * height) as usize] }
    }

    /// Small, as the tests are not optimised.
    pub(super) fn black() -> Self {
        Self::of(640, 400, [0; 3])
    }

    pub(super) fn fill(mut self, x: u32, y: u32, width: u32, height: u32, colour: Rgb) -> Self {
        for y in y..(y + height).min(self.height) {
            for x in x..(x + width).min(self.width) {
                self.pixels[(y * self.width + x) as usize] = colour;
            }
        }
        self
    }

    /// Lines of letters as a font draws them: strokes here and there, the last column and the outer rows blank.
    pub(super) fn letters(mut self, cell: (u32, u32), lines: u32, columns: u32, seed: u64) -> Self {
        let mut next = numbers(seed);
        for line in 0..lines {
            for column in 0..columns {
                // Words have a space now and then.
                if next().is_multiple_of(6) {
                    continue;
                }
                for y in cell.1 / 8..cell.1 - cell.1 / 8 {
                    for x in 0..cell.0 - 1 {
                        if next().is_multiple_of(3) {
                            self = self.fill(column * cell.0 + x, line * cell.1 + y, 1, 1, GREY);
                        }
                    }
                }
            }
        }
        self
    }

    pub(super) fn picture(self) -> Picture {
        Picture::new(self.width, self.height, self.pixels).unwrap()
    }

    pub(super) fn analysis(self) -> PictureAnalysis {
        analyse(&self.picture())
    }
}

/// The same numbers each time (xorshift).
pub(super) fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 20
    }
}
