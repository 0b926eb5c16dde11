//! What a picture of a screen shows, and what changed between two of them: numbers, no verdict and no reading of text.

use serde::{Deserialize, Serialize};

use super::picture::{Picture, Rgb};

/// Colours are counted up to this many.
pub const MOST_COLOURS: u32 = 4096;
/// A difference of a channel (0 to 255) up to this is noise.
pub const TOLERANCE: u8 = 8;
/// Side of the tiles in which changes are told, in pixels.
pub const TILE: u32 = 32;
/// The cells of [`Look::detail`]: columns, rows.
pub const GRID: (usize, usize) = (16, 9);

/// A part of a picture, in pixels from the top left.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Rect {
    /// Left edge.
    pub x: u32,
    /// Upper edge.
    pub y: u32,
    /// Width, 0 is empty.
    pub width: u32,
    /// Height, 0 is empty.
    pub height: u32,
}

/// What a picture shows. Shares are 0 to 1 of all pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Look {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Number of different colours, [`MOST_COLOURS`] at most.
    pub distinct_colours: u32,
    /// The commonest colour; near ones ([`TOLERANCE`]) count as the same.
    pub dominant_colour: Rgb,
    /// The share of pixels that have it, or nearly.
    pub dominant_share: f64,
    /// Mean luminance (ITU-R BT.601), 0 black to 255 white.
    pub luminance: f64,
    /// Share of pixels without colour: red, green and blue nearly the same.
    pub grey_share: f64,
    /// One colour but for noise: a lone mouse pointer makes it no less flat. A console with nothing but its cursor is
    /// a console and not flat.
    pub is_flat: bool,
    /// Looks like a text console: few colours, mostly black, what is not black lies in a grid of character cells as
    /// Linux's framebuffer console and VGA text mode draw them; a lone cursor counts too.
    pub is_console: bool,
    /// Share of pixels that differ clearly from their left or upper neighbour: 0 flat, 0.02 a plain dialogue, 0.1 a
    /// page of text.
    pub edge_share: f64,
    /// The smallest rectangle with all pixels that are not of the dominant colour; `None` if there are none.
    pub content: Option<Rect>,
    /// The bar along the upper edge: its height in pixels, where each row is of one colour for the most part, and that is not
    /// the dominant one. `None` if there is none, or it is higher than an eighth of the picture.
    pub top_bar: Option<u32>,
    /// `edge_share` of each cell of a [`GRID`] laid over the picture, row by row: where things are. A page with one
    /// message in its middle has nothing in the outer cells; a greeter has a clock in the first row.
    pub detail: Vec<f64>,
}

/// What changed between two pictures.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Change {
    /// The pictures are of different size: everything counts as changed.
    pub size_differs: bool,
    /// Share of pixels that changed by more than [`TOLERANCE`], 0 to 1.
    pub share: f64,
    /// The smallest rectangle with all that changed, in the later picture.
    pub bounds: Option<Rect>,
    /// Where it changed: rectangles around neighbouring [`TILE`]s with changes, largest first, at most 32.
    pub areas: Vec<Rect>,
}

impl Change {
    /// Whether anything changed.
    pub fn any(&self) -> bool {
        self.share > 0.0
    }
}

/// What a picture shows.
pub fn describe(picture: &Picture) -> Look {
    let _ = picture;
    unimplemented!()
}

/// What changed from `before` to `after`.
pub fn change(before: &Picture, after: &Picture) -> Change {
    change_within(before, after, Rect { x: 0, y: 0, width: after.width(), height: after.height() })
}

/// What changed from `before` to `after` in a part of them (as far as it lies in them): shares are of that part.
pub fn change_within(before: &Picture, after: &Picture, part: Rect) -> Change {
    let _ = (before, after, part);
    unimplemented!()
}
