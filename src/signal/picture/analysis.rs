//! What a picture of a screen shows: numbers, no verdict and no reading of text.

use serde::{Deserialize, Serialize};

use super::rect::{BoundingBox, Rect};
use super::{Picture, Rgb, console, is_near};

/// Colours are counted up to this many.
const MAX_COLOURS: u32 = 4096;
/// The cells of [`PictureAnalysis::detail`]: columns, rows.
const GRID: (usize, usize) = (16, 9);
/// The share of pixels that may differ on a flat picture: a mouse pointer has 250 pixels, the smallest screen 300 000.
const MAX_FLAT_CONTENT: f64 = 0.001;
/// Most colours of a text console: the framebuffer console's 16, no smoothed edges.
const MAX_CONSOLE_COLOURS: u32 = 16;
/// The highest value of each channel that counts as black.
const MAX_BLACK: u8 = 8;
/// The least luminance of a console's text; its grey is 170.
const MIN_CONSOLE_INK: u8 = 96;
/// The largest step in luminance (of 255) that is no edge.
const MAX_SMOOTH_STEP: u8 = 16;

/// What a picture shows. Shares are 0 to 1 of all pixels.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct PictureAnalysis {
    /// Width in pixels.
    pub width: u32,
    /// Height in pixels.
    pub height: u32,
    /// Number of different colours, 4096 at most.
    pub distinct_colours: u32,
    /// The commonest colour; colours that differ by noise only (8 of 255) count as the same.
    pub dominant_colour: Rgb,
    /// The share of pixels that have it, but for noise.
    pub dominant_share: f64,
    /// Mean luminance (ITU-R BT.601), 0 black to 255 white.
    pub luminance: f64,
    /// One colour but for noise and a mouse pointer. A console with nothing but its cursor is a console and not flat.
    pub is_flat: bool,
    /// A text console: few colours, mostly black, what is not black lies in a grid of character cells as Linux's
    /// framebuffer console and VGA text mode draw them; a lone cursor counts too.
    pub is_console: bool,
    /// The smallest rectangle with all pixels that are not of the dominant colour; `None` if there are none.
    pub content: Option<Rect>,
    /// Height in pixels of the bar along the upper edge: rows that are mostly of one colour, which is not the dominant
    /// one. `None` if there is none, or it is higher than an eighth of the picture.
    pub top_bar: Option<u32>,
    /// The share of pixels that differ clearly from their left or upper neighbour, of each cell of a grid of 16 columns
    /// and 9 rows, row by row. A page with one message in its middle has nothing in the outer cells; a greeter has a
    /// clock in the first row.
    pub detail: Vec<f64>,
}

/// What a picture shows.
pub fn analyse(picture: &Picture) -> PictureAnalysis {
    let texture = Texture::of(picture);
    let colours = Colours::of(picture);
    let backdrop = Backdrop::of(picture, colours.dominant);
    let pixels = picture.pixels().len() as f64;
    let dominant_share = backdrop.pixels as f64 / pixels;
    let is_console = colours.distinct <= MAX_CONSOLE_COLOURS
        && colours.dominant.iter().all(|value| *value <= MAX_BLACK)
        && dominant_share >= 0.5
        && texture.brightest >= MIN_CONSOLE_INK
        && console::has_cells(picture, colours.dominant, backdrop.content);
    PictureAnalysis {
        width: picture.width(),
        height: picture.height(),
        distinct_colours: colours.distinct,
        dominant_colour: colours.dominant,
        dominant_share,
        luminance: texture.luminance as f64 / pixels,
        is_flat: !is_console && 1.0 - dominant_share <= MAX_FLAT_CONTENT,
        is_console,
        content: backdrop.content,
        top_bar: top_bar(picture, colours.dominant),
        detail: texture
            .edges
            .iter()
            .zip(cell_sizes(picture))
            .map(|(edges, size)| *edges as f64 / size.max(1.0))
            .collect(),
    }
}

/// Where a cell of [`GRID`] begins and ends along a side.
fn cell_range(cell: usize, cells: usize, side: u32) -> std::ops::Range<usize> {
    let at = |cell: usize| cell * side as usize / cells;
    at(cell)..at(cell + 1)
}

/// Number of pixels of each cell of [`GRID`].
fn cell_sizes(picture: &Picture) -> impl Iterator<Item = f64> {
    let (width, height) = (picture.width(), picture.height());
    (0..GRID.0 * GRID.1).map(move |cell| {
        (cell_range(cell % GRID.0, GRID.0, width).len() * cell_range(cell / GRID.0, GRID.1, height).len()) as f64
    })
}

/// Sums over all pixels: light, edges.
struct Texture {
    luminance: u64,
    brightest: u8,
    /// Number of pixels on an edge, for each cell of [`GRID`].
    edges: Vec<u64>,
}

impl Texture {
    fn of(picture: &Picture) -> Self {
        let mut this = Self { luminance: 0, brightest: 0, edges: vec![0; GRID.0 * GRID.1] };
        let width = picture.width() as usize;
        let (mut row, mut above, mut edge) = (vec![0u8; width], vec![0u8; width], vec![0u8; width]);
        let mut y = 0;
        for line in 0..GRID.1 {
            for pixels in picture.rows().skip(y).take(cell_range(line, GRID.1, picture.height()).len()) {
                for (luma, [r, g, b]) in row.iter_mut().zip(pixels) {
                    *luma = ((77 * u32::from(*r) + 150 * u32::from(*g) + 29 * u32::from(*b)) >> 8) as u8;
                }
                this.luminance += row.iter().map(|luma| u64::from(*luma)).sum::<u64>();
                this.brightest = row.iter().fold(this.brightest, |most, luma| most.max(*luma));
                if y == 0 {
                    above.copy_from_slice(&row);
                }
                edge[0] = u8::from(row[0].abs_diff(above[0]) > MAX_SMOOTH_STEP);
                for ((edge, pair), above) in edge[1..].iter_mut().zip(row.windows(2)).zip(&above[1..]) {
                    *edge = u8::from(
                        (pair[1].abs_diff(pair[0]) > MAX_SMOOTH_STEP) | (pair[1].abs_diff(*above) > MAX_SMOOTH_STEP),
                    );
                }
                for column in 0..GRID.0 {
                    let edges = &edge[cell_range(column, GRID.0, picture.width())];
                    this.edges[line * GRID.0 + column] += edges.iter().map(|edge| u64::from(*edge)).sum::<u64>();
                }
                std::mem::swap(&mut row, &mut above);
                y += 1;
            }
        }
        this
    }
}

/// Which colours there are.
struct Colours {
    distinct: u32,
    dominant: Rgb,
}

impl Colours {
    fn of(picture: &Picture) -> Self {
        // A bit for each of the 2^24 colours: 2 MiB.
        let mut seen = vec![0u64; 1 << 18];
        let mut distinct = 0;
        // Near colours together: the upper 5 bits of each channel.
        let bucket = |[r, g, b]: Rgb| usize::from(r >> 3) << 10 | usize::from(g >> 3) << 5 | usize::from(b >> 3);
        let mut buckets = vec![0u32; 1 << 15];
        for (y, row) in picture.rows().enumerate() {
            let all_seen = distinct >= MAX_COLOURS;
            // Of so many colours every fourth row shows which is common, in a fourth of the time.
            if all_seen && !y.is_multiple_of(4) {
                continue;
            }
            for run in row.chunk_by(|a, b| a == b) {
                buckets[bucket(run[0])] += run.len() as u32 * if all_seen { 4 } else { 1 };
                if distinct < MAX_COLOURS {
                    let colour = run[0].iter().fold(0, |colour, value| colour << 8 | usize::from(*value));
                    let bit = 1 << (colour % 64);
                    distinct += u32::from(seen[colour / 64] & bit == 0);
                    seen[colour / 64] |= bit;
                }
            }
        }
        let commonest = (0..buckets.len()).max_by_key(|bucket| buckets[*bucket]).unwrap_or(0);
        // The commonest colour of this bucket, by the lower 3 bits; a hundred thousand pixels are enough.
        let mut exact = [0u32; 512];
        for [r, g, b] in picture.pixels().iter().filter(|pixel| bucket(**pixel) == commonest).take(100_000) {
            exact[usize::from(r & 7) << 6 | usize::from(g & 7) << 3 | usize::from(b & 7)] += 1;
        }
        let lower = (0..exact.len()).max_by_key(|lower| exact[*lower]).unwrap_or(0);
        let channel = |shift: usize| ((commonest >> (5 * shift) & 31) << 3 | (lower >> (3 * shift) & 7)) as u8;
        Self { distinct, dominant: [channel(2), channel(1), channel(0)] }
    }
}

/// Where the dominant colour is, and where it is not.
struct Backdrop {
    /// Number of pixels that have it, but for noise.
    pixels: u64,
    /// The smallest rectangle around all others.
    content: Option<Rect>,
}

impl Backdrop {
    fn of(picture: &Picture, dominant: Rgb) -> Self {
        let mut pixels = 0;
        let mut content = BoundingBox::default();
        for (y, row) in (0..).zip(picture.rows()) {
            let count: u32 = row.iter().map(|pixel| u32::from(is_near(*pixel, dominant))).sum();
            pixels += u64::from(count);
            if count < picture.width() {
                let other = |pixel: &Rgb| !is_near(*pixel, dominant);
                let first = row.iter().position(other).unwrap_or(0) as u32;
                let last = row.iter().rposition(other).unwrap_or(0) as u32;
                content.add(first, y);
                content.add(last, y);
            }
        }
        Self { pixels, content: content.rect() }
    }
}

/// The height of the bar along the upper edge, if there is one.
fn top_bar(picture: &Picture, dominant: Rgb) -> Option<u32> {
    let first = picture.rows().next()?;
    // The majority's colour, if there is one (Boyer and Moore).
    let (colour, _) = first.iter().fold((first[0], 0u32), |(colour, votes), pixel| match votes {
        0 => (*pixel, 1),
        votes if is_near(*pixel, colour) => (colour, votes + 1),
        votes => (colour, votes - 1),
    });
    let is_bar = |row: &&[Rgb]| 2 * row.iter().filter(|pixel| is_near(**pixel, colour)).count() > row.len();
    let most = picture.height() / 8;
    let height = picture.rows().take(most as usize + 1).take_while(is_bar).count() as u32;
    (height > 0 && height <= most && !is_near(colour, dominant)).then_some(height)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::signal::picture::canvas::{Canvas, GREY, numbers};
    use crate::signal::picture::diff;

    #[test]
    fn one_colour_is_flat_and_no_console() {
        for colour in [[0; 3], [255; 3], [40, 40, 43]] {
            let shown = Canvas::of(640, 400, colour).analysis();
            assert!(shown.is_flat && !shown.is_console);
            assert_eq!((shown.distinct_colours, shown.dominant_colour, shown.dominant_share), (1, colour, 1.0));
            assert_eq!((shown.content, shown.top_bar), (None, None));
            assert_eq!(shown.detail, [0.0; 144]);
        }
    }

    #[test]
    fn noise_and_a_lone_pointer_leave_it_flat() {
        let mut next = numbers(7);
        let mut screen = Canvas::of(640, 400, [120, 60, 30]);
        screen.pixels.iter_mut().flatten().for_each(|value| *value += (next() % 5) as u8);
        let shown = screen.fill(300, 200, 12, 18, [255; 3]).analysis();
        assert!(shown.is_flat && shown.distinct_colours > 100, "{shown:?}");
        assert_eq!(shown.content, Some(Rect { x: 300, y: 200, width: 12, height: 18 }));
    }

    #[test]
    fn a_lone_cursor_is_a_console() {
        for (x, y, width, height) in [(0, 14, 8, 2), (0, 0, 8, 16), (16, 46, 8, 2), (0, 29, 16, 3), (9, 13, 9, 2)] {
            let shown = Canvas::black().fill(x, y, width, height, GREY).analysis();
            assert!(shown.is_console && !shown.is_flat, "{x} {y} {width} {height}");
        }
        for (x, y, width, height) in [(3, 14, 8, 2), (0, 14, 5, 2), (0, 14, 8, 20), (300, 200, 13, 18)] {
            assert!(!Canvas::black().fill(x, y, width, height, GREY).analysis().is_console, "{x} {y} {width} {height}");
        }
    }

    #[test]
    fn letters_in_cells_are_a_console() {
        for cell in [(8, 16), (9, 16), (16, 32), (12, 24)] {
            for (lines, columns) in [(1, 20), (4, 35), (12, 39)] {
                let shown = Canvas::black().letters(cell, lines, columns, 3).analysis();
                assert!(shown.is_console && !shown.is_flat, "{cell:?} {lines} {columns}");
            }
        }
        // With a coloured word and a reversed line.
        let screen = Canvas::black().letters((8, 16), 20, 60, 5).fill(8, 32, 30, 2, [0, 170, 0]);
        assert!(screen.fill(0, 384, 640, 16, GREY).analysis().is_console);
    }

    #[test]
    fn what_is_not_in_cells_is_no_console() {
        let mut next = numbers(9);
        let mut screen = Canvas::black();
        for _ in 0..3000 {
            screen = screen.fill((next() % 640) as u32, (next() % 400) as u32, 1 + (next() % 5) as u32, 2, GREY);
        }
        assert!(!screen.analysis().is_console);
        // A terminal on a desktop: smoothed letters have many greys.
        let mut screen = Canvas::black().letters((8, 16), 20, 60, 5);
        screen
            .pixels
            .iter_mut()
            .filter(|pixel| **pixel == GREY)
            .for_each(|pixel| *pixel = [100 + (next() % 120) as u8; 3]);
        assert!(!screen.analysis().is_console);
        // Letters on a light page.
        let mut screen = Canvas::black().letters((8, 16), 20, 60, 5);
        screen.pixels.iter_mut().flatten().for_each(|value| *value = 255 - *value);
        assert!(!screen.analysis().is_console);
    }

    #[test]
    fn a_shell_without_its_wallpaper_is_neither_flat_nor_a_console() {
        let shown =
            Canvas::of(640, 400, [40, 40, 43]).fill(0, 0, 640, 16, [0; 3]).fill(300, 4, 40, 8, [255; 3]).analysis();
        assert!(!shown.is_flat && !shown.is_console);
        assert_eq!((shown.dominant_colour, shown.top_bar), ([40, 40, 43], Some(16)));
        assert_eq!(shown.content, Some(Rect { x: 0, y: 0, width: 640, height: 16 }));
        assert!(shown.detail[7] > 0.0 && shown.detail[16..].iter().all(|cell| *cell == 0.0));
    }

    #[test]
    fn a_gradient_has_many_colours_and_no_edges() {
        let mut screen = Canvas::black();
        for (i, pixel) in screen.pixels.iter_mut().enumerate() {
            *pixel = [(i % 640 / 3) as u8, (i / 640 / 2) as u8, 99];
        }
        let shown = screen.analysis();
        assert!(!shown.is_flat && !shown.is_console);
        assert_eq!(shown.distinct_colours, MAX_COLOURS);
        assert_eq!(shown.detail, [0.0; 144]);
    }

    #[test]
    fn a_page_with_one_message_has_its_detail_in_the_middle() {
        let message = |screen: Canvas| screen.fill(280, 130, 80, 60, [120; 3]).fill(230, 220, 180, 12, [50; 3]);
        let whale = message(Canvas::of(640, 400, [250; 3])).analysis();
        assert!(!whale.is_flat && !whale.is_console);
        assert!(whale.luminance > 200.0 && whale.dominant_share > 0.95);
        assert_eq!((whale.top_bar, whale.content), (None, Some(Rect { x: 230, y: 130, width: 180, height: 102 })));
        assert!(whale.detail[..32].iter().all(|cell| *cell == 0.0));
        let greeter = message(Canvas::of(640, 400, [50; 3])).fill(300, 6, 40, 10, [255; 3]).analysis();
        assert!(greeter.detail[..16].iter().any(|cell| *cell > 0.0));
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn every_picture_can_be_analysed(width in 1u32..70, height in 1u32..70, seed in any::<u64>(), colours in 1u64..400) {
            let mut next = numbers(seed);
            let mut screen = Canvas::of(width, height, [0; 3]);
            screen.pixels.iter_mut().for_each(|pixel| *pixel = [(next() % colours) as u8, 7, (next() % colours) as u8]);
            let picture = screen.picture();
            let shown = analyse(&picture);
            prop_assert!(shown.detail.iter().all(|share| (0.0..=1.0).contains(share)), "{shown:?}");
            prop_assert!(shown.dominant_share > 0.0 && shown.dominant_share <= 1.0 && !(shown.is_flat && shown.is_console));
            prop_assert_eq!(shown.detail.len(), GRID.0 * GRID.1);
            prop_assert!((0.0..=255.0).contains(&shown.luminance));
            let mut all = picture.pixels().to_vec();
            all.sort_unstable();
            all.dedup();
            prop_assert_eq!(shown.distinct_colours as usize, all.len().min(MAX_COLOURS as usize));
            prop_assert!(all.contains(&shown.dominant_colour));
            prop_assert!(!diff(&picture, &picture).any());
        }
    }
}
