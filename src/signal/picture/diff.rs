//! What changed between two pictures.

use super::rect::{BoundingBox, Rect};
use super::{Picture, is_near};

/// Side of the tiles in which changes are collected, in pixels.
const TILE: u32 = 32;
/// Most areas of a [`PictureDiff`].
const MAX_AREAS: usize = 32;

/// What changed between two pictures.
#[derive(Debug, Clone, PartialEq)]
pub struct PictureDiff {
    /// The pictures are of different size: everything counts as changed.
    pub size_differs: bool,
    /// Share of pixels that changed by more than noise (8 of 255), 0 to 1.
    pub share: f64,
    /// The smallest rectangle with all that changed, in the later picture.
    pub bounds: Option<Rect>,
    /// Where it changed: rectangles around neighbouring tiles (of 32 pixels) with changes, largest first, at most 32.
    pub areas: Vec<Rect>,
}

impl PictureDiff {
    /// Whether anything changed.
    pub fn any(&self) -> bool {
        self.share > 0.0
    }
}

/// What changed from `before` to `after`.
pub fn diff(before: &Picture, after: &Picture) -> PictureDiff {
    diff_within(before, after, Rect { x: 0, y: 0, width: after.width(), height: after.height() })
}

/// What changed from `before` to `after` in a part of them (as far as it lies in the later one): the share is of that
/// part.
pub(crate) fn diff_within(before: &Picture, after: &Picture, part: Rect) -> PictureDiff {
    let right = part.x.saturating_add(part.width).min(after.width());
    let bottom = part.y.saturating_add(part.height).min(after.height());
    if part.x >= right || part.y >= bottom {
        return PictureDiff {
            size_differs: before.size() != after.size(),
            share: 0.0,
            bounds: None,
            areas: Vec::new(),
        };
    }
    if before.size() != after.size() {
        let all = Rect { x: part.x, y: part.y, width: right - part.x, height: bottom - part.y };
        return PictureDiff { size_differs: true, share: 1.0, bounds: Some(all), areas: vec![all] };
    }
    let columns = (right - part.x).div_ceil(TILE) as usize;
    // What changed within each tile.
    let mut tiles = vec![BoundingBox::default(); columns * (bottom - part.y).div_ceil(TILE) as usize];
    let mut changed = 0u64;
    let rows = before.rows().zip(after.rows()).enumerate().skip(part.y as usize).take((bottom - part.y) as usize);
    for (y, (old, new)) in rows {
        let line = (y as u32 - part.y) / TILE;
        let (old, new) = (&old[part.x as usize..right as usize], &new[part.x as usize..right as usize]);
        let spans = old.chunks(TILE as usize).zip(new.chunks(TILE as usize));
        for (column, (old, new)) in (0..).zip(spans) {
            let differs = |i: &usize| !is_near(old[*i], new[*i]);
            // Most tiles have not changed, and comparing them whole is quickest.
            if old != new
                && let Some(first) = (0..new.len()).find(differs)
            {
                let last = (0..new.len()).rfind(differs).unwrap_or(first);
                changed += (first..=last).filter(differs).count() as u64;
                let left = part.x + column * TILE;
                let tile = &mut tiles[(line as usize) * columns + column as usize];
                tile.add(left + first as u32, y as u32);
                tile.add(left + last as u32, y as u32);
            }
        }
    }
    let mut bounds = BoundingBox::default();
    tiles.iter().for_each(|tile| bounds.join(*tile));
    let size = f64::from(right - part.x) * f64::from(bottom - part.y);
    PictureDiff {
        size_differs: false,
        share: changed as f64 / size,
        bounds: bounds.rect(),
        areas: areas(&mut tiles, columns),
    }
}

/// Rectangles around neighbouring tiles with changes; empties `tiles`.
fn areas(tiles: &mut [BoundingBox], columns: usize) -> Vec<Rect> {
    let mut areas = Vec::new();
    for first in 0..tiles.len() {
        let mut area = BoundingBox::default();
        let mut next = vec![first];
        while let Some(at) = next.pop() {
            let tile = std::mem::take(&mut tiles[at]);
            if tile.rect().is_none() {
                continue;
            }
            area.join(tile);
            let (x, y) = (at % columns, at / columns);
            for y in y.saturating_sub(1)..=(y + 1).min(tiles.len() / columns - 1) {
                next.extend((x.saturating_sub(1)..=(x + 1).min(columns - 1)).map(|x| y * columns + x));
            }
        }
        areas.extend(area.rect());
    }
    areas.sort_by_key(|area| std::cmp::Reverse(u64::from(area.width) * u64::from(area.height)));
    areas.truncate(MAX_AREAS);
    areas
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::picture::canvas::{Canvas, GREY, numbers};

    #[test]
    fn changes_are_reported_with_their_place() {
        let before = Canvas::black().picture();
        assert!(!diff(&before, &before).any());
        let after = Canvas::black().fill(10, 20, 100, 30, GREY).fill(500, 300, 4, 2, [9; 3]).picture();
        let found = diff(&before, &after);
        assert_eq!(found.bounds, Some(Rect { x: 10, y: 20, width: 494, height: 282 }));
        assert_eq!(
            found.areas,
            [Rect { x: 10, y: 20, width: 100, height: 30 }, Rect { x: 500, y: 300, width: 4, height: 2 }]
        );
        assert!((found.share - 3008.0 / 256_000.0).abs() < 1e-12);
        let faint = Canvas::of(640, 400, [crate::signal::picture::TOLERANCE; 3]).picture();
        assert!(!diff(&before, &faint).any());
    }

    #[test]
    fn a_change_in_a_part_is_told_apart_from_one_elsewhere() {
        let before = Canvas::black().picture();
        let after = Canvas::black().fill(10, 20, 100, 30, GREY).picture();
        let part = |x, y, width, height| diff_within(&before, &after, Rect { x, y, width, height });
        assert_eq!(part(10, 20, 50, 10).share, 1.0);
        assert_eq!(part(100, 40, 20, 20).bounds, Some(Rect { x: 100, y: 40, width: 10, height: 10 }));
        assert!(!part(200, 200, 50, 50).any());
        assert!(!part(9999, 0, 5, 5).any() && !part(0, 0, 0, 9).any());
        assert!(part(0, 0, u32::MAX, u32::MAX).any());
    }

    #[test]
    fn another_size_is_a_change_of_everything() {
        let (small, large) = (Canvas::of(2, 3, [0; 3]).picture(), Canvas::of(3, 2, [0; 3]).picture());
        let all = diff(&small, &large);
        assert!(all.size_differs && all.share == 1.0);
        assert_eq!(all.bounds, Some(Rect { x: 0, y: 0, width: 3, height: 2 }));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_change_is_within_its_bounds(
            (x, y) in (0u32..90, 0u32..90), (width, height) in (1u32..50, 1u32..50), seed in any::<u64>(),
        ) {
            let mut next = numbers(seed);
            let mut screen = Canvas::of(90, 90, [0; 3]);
            screen.pixels.iter_mut().for_each(|pixel| *pixel = [(next() % 200) as u8; 3]);
            let before = Canvas { pixels: screen.pixels.clone(), ..screen }.picture();
            let after = screen.fill(x, y, width, height, [255; 3]).picture();
            let found = diff(&before, &after);
            let expected = Rect { x, y, width: width.min(90 - x), height: height.min(90 - y) };
            prop_assert_eq!(found.bounds, Some(expected));
            prop_assert_eq!(found.areas, [expected]);
            prop_assert!((found.share - f64::from(expected.width * expected.height) / 8100.0).abs() < 1e-12);
        }
    }
}
