//! Rectangles of pixels.

use serde::{Deserialize, Serialize};

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

/// The smallest rectangle around the pixels that were added: left, top, right, bottom.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct BoundingBox(Option<[u32; 4]>);

impl BoundingBox {
    pub(super) fn add(&mut self, x: u32, y: u32) {
        let [left, top, right, bottom] = self.0.unwrap_or([x, y, x, y]);
        self.0 = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }

    pub(super) fn join(&mut self, other: Self) {
        if let Some([left, top, right, bottom]) = other.0 {
            self.add(left, top);
            self.add(right, bottom);
        }
    }

    pub(super) fn rect(self) -> Option<Rect> {
        self.0.map(|[left, top, right, bottom]| Rect {
            x: left,
            y: top,
            width: right - left + 1,
            height: bottom - top + 1,
        })
    }
}
