//! What a picture of a screen shows, and what changed between two of them: numbers, no verdict and no reading of text.

use serde::{Deserialize, Serialize};

use super::picture::{Picture, Rgb};

mod console;
#[cfg(test)]
mod tests;

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
    /// Observations like a text console: few colours, mostly black, what is not black lies in a grid of character cells as
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
    let texture = Texture::of(picture);
    let colours = Colours::of(picture);
    let backdrop = Backdrop::of(picture, colours.dominant);
    let pixels = picture.pixels().len() as f64;
    let dominant_share = backdrop.pixels as f64 / pixels;
    let is_console = colours.distinct <= CONSOLE_COLOURS
        && colours.dominant.iter().all(|value| *value <= BLACK)
        && dominant_share >= 0.5
        && texture.brightest >= CONSOLE_INK
        && console::has_cells(picture, colours.dominant, backdrop.content);
    Look {
        width: picture.width(),
        height: picture.height(),
        distinct_colours: colours.distinct,
        dominant_colour: colours.dominant,
        dominant_share,
        luminance: texture.luminance as f64 / pixels,
        grey_share: texture.grey as f64 / pixels,
        is_flat: !is_console && 1.0 - dominant_share <= FLAT,
        is_console,
        edge_share: texture.edges.iter().sum::<u64>() as f64 / pixels,
        content: backdrop.content,
        top_bar: top_bar(picture, colours.dominant),
        detail: texture.edges.iter().zip(cells(picture)).map(|(edges, size)| *edges as f64 / size.max(1.0)).collect(),
    }
}

/// The share of pixels that may differ on a flat picture: a mouse pointer has 250 pixels, the smallest screen 300 000.
const FLAT: f64 = 0.001;
/// Colours that a text console can have: the framebuffer console's 16, no smoothed edges.
const CONSOLE_COLOURS: u32 = 16;
/// What counts as black, of each channel.
const BLACK: u8 = 8;
/// How bright a console's text is at least; its grey is 170.
const CONSOLE_INK: u8 = 96;
/// A step in luminance that is an edge, of 255.
const EDGE: u8 = 16;

/// Whether two colours are the same but for noise.
fn near(a: Rgb, b: Rgb) -> bool {
    // Without a branch for each channel: the compiler makes vectors of it.
    (a[0].abs_diff(b[0]) <= TOLERANCE) & (a[1].abs_diff(b[1]) <= TOLERANCE) & (a[2].abs_diff(b[2]) <= TOLERANCE)
}

/// Where the cells of [`GRID`] begin and end along a side.
fn bounds(cell: usize, cells: usize, side: u32) -> std::ops::Range<usize> {
    let at = |cell: usize| cell * side as usize / cells;
    at(cell)..at(cell + 1)
}

/// Number of pixels of each cell of [`GRID`].
fn cells(picture: &Picture) -> impl Iterator<Item = f64> {
    let (width, height) = (picture.width(), picture.height());
    (0..GRID.0 * GRID.1).map(move |cell| {
        (bounds(cell % GRID.0, GRID.0, width).len() * bounds(cell / GRID.0, GRID.1, height).len()) as f64
    })
}

/// Light, colourfulness and edges.
struct Texture {
    luminance: u64,
    brightest: u8,
    grey: u64,
    /// Number of pixels on an edge, for each cell of [`GRID`].
    edges: Vec<u64>,
}

impl Texture {
    fn of(picture: &Picture) -> Self {
        let mut this = Self { luminance: 0, brightest: 0, grey: 0, edges: vec![0; GRID.0 * GRID.1] };
        let width = picture.width() as usize;
        let (mut row, mut above, mut edge) = (vec![0u8; width], vec![0u8; width], vec![0u8; width]);
        let mut y = 0;
        for line in 0..GRID.1 {
            for pixels in picture.rows().skip(y).take(bounds(line, GRID.1, picture.height()).len()) {
                let mut grey = 0;
                for (luma, [r, g, b]) in row.iter_mut().zip(pixels) {
                    *luma = ((77 * u32::from(*r) + 150 * u32::from(*g) + 29 * u32::from(*b)) >> 8) as u8;
                    grey += u32::from((*r).max(*g).max(*b) - (*r).min(*g).min(*b) <= TOLERANCE);
                }
                this.grey += u64::from(grey);
                this.luminance += row.iter().map(|luma| u64::from(*luma)).sum::<u64>();
                this.brightest = row.iter().fold(this.brightest, |most, luma| most.max(*luma));
                if y == 0 {
                    above.copy_from_slice(&row);
                }
                edge[0] = u8::from(row[0].abs_diff(above[0]) > EDGE);
                for ((edge, pair), above) in edge[1..].iter_mut().zip(row.windows(2)).zip(&above[1..]) {
                    *edge = u8::from((pair[1].abs_diff(pair[0]) > EDGE) | (pair[1].abs_diff(*above) > EDGE));
                }
                for column in 0..GRID.0 {
                    let edges = &edge[bounds(column, GRID.0, picture.width())];
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
        // A bit for each colour there is: 2 MiB.
        let mut seen = vec![0u64; 1 << 18];
        let mut distinct = 0;
        // Near colours together: the upper 5 bits of each channel.
        let bucket = |[r, g, b]: Rgb| usize::from(r >> 3) << 10 | usize::from(g >> 3) << 5 | usize::from(b >> 3);
        let mut buckets = vec![0u32; 1 << 15];
        for (y, row) in picture.rows().enumerate() {
            let all_seen = distinct >= MOST_COLOURS;
            // Where there are so many, every fourth row tells which are common, in a fourth of the time.
            if all_seen && !y.is_multiple_of(4) {
                continue;
            }
            for run in row.chunk_by(|a, b| a == b) {
                buckets[bucket(run[0])] += run.len() as u32 * if all_seen { 4 } else { 1 };
                if distinct < MOST_COLOURS {
                    let colour = run[0].iter().fold(0, |colour, value| colour << 8 | usize::from(*value));
                    let bit = 1 << (colour % 64);
                    distinct += u32::from(seen[colour / 64] & bit == 0);
                    seen[colour / 64] |= bit;
                }
            }
        }
        let commonest = (0..buckets.len()).max_by_key(|bucket| buckets[*bucket]).unwrap_or(0);
        // Of these, the one that is commonest exactly, by the lower 3 bits; the first hundred thousand tell.
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
    /// Number of pixels that have it, or nearly.
    pixels: u64,
    /// Around all others.
    content: Option<Rect>,
}

impl Backdrop {
    fn of(picture: &Picture, dominant: Rgb) -> Self {
        let mut pixels = 0;
        let mut content = Extent::default();
        for (y, row) in (0..).zip(picture.rows()) {
            let count: u32 = row.iter().map(|pixel| u32::from(near(*pixel, dominant))).sum();
            pixels += u64::from(count);
            if count < picture.width() {
                let other = |pixel: &Rgb| !near(*pixel, dominant);
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
    // The majority's colour, if there is a majority (Boyer and Moore).
    let (colour, _) = first.iter().fold((first[0], 0u32), |(colour, votes), pixel| match votes {
        0 => (*pixel, 1),
        votes if near(*pixel, colour) => (colour, votes + 1),
        votes => (colour, votes - 1),
    });
    let is_bar = |row: &&[Rgb]| 2 * row.iter().filter(|pixel| near(**pixel, colour)).count() > row.len();
    let most = picture.height() / 8;
    let height = picture.rows().take(most as usize + 1).take_while(is_bar).count() as u32;
    (height > 0 && height <= most && !near(colour, dominant)).then_some(height)
}

/// The smallest rectangle around what was added.
#[derive(Debug, Clone, Copy, Default)]
struct Extent(Option<[u32; 4]>);

impl Extent {
    fn add(&mut self, x: u32, y: u32) {
        let [left, top, right, bottom] = self.0.unwrap_or([x, y, x, y]);
        self.0 = Some([left.min(x), top.min(y), right.max(x), bottom.max(y)]);
    }

    fn join(&mut self, other: Self) {
        if let Some([left, top, right, bottom]) = other.0 {
            self.add(left, top);
            self.add(right, bottom);
        }
    }

    fn rect(self) -> Option<Rect> {
        self.0.map(|[left, top, right, bottom]| Rect {
            x: left,
            y: top,
            width: right - left + 1,
            height: bottom - top + 1,
        })
    }
}

/// What changed from `before` to `after`.
pub fn change(before: &Picture, after: &Picture) -> Change {
    change_within(before, after, Rect { x: 0, y: 0, width: after.width(), height: after.height() })
}

/// What changed from `before` to `after` in a part of them (as far as it lies in the later one): the share is of that
/// part.
pub fn change_within(before: &Picture, after: &Picture, part: Rect) -> Change {
    let right = part.x.saturating_add(part.width).min(after.width());
    let bottom = part.y.saturating_add(part.height).min(after.height());
    if part.x >= right || part.y >= bottom {
        return Change { size_differs: before.size() != after.size(), share: 0.0, bounds: None, areas: Vec::new() };
    }
    if before.size() != after.size() {
        let all = Rect { x: part.x, y: part.y, width: right - part.x, height: bottom - part.y };
        return Change { size_differs: true, share: 1.0, bounds: Some(all), areas: vec![all] };
    }
    let columns = (right - part.x).div_ceil(TILE) as usize;
    let mut tiles = vec![Extent::default(); columns * (bottom - part.y).div_ceil(TILE) as usize];
    let mut changed = 0u64;
    let rows = before.rows().zip(after.rows()).enumerate().skip(part.y as usize).take((bottom - part.y) as usize);
    for (y, (old, new)) in rows {
        let line = (y as u32 - part.y) / TILE;
        let (old, new) = (&old[part.x as usize..right as usize], &new[part.x as usize..right as usize]);
        let spans = old.chunks(TILE as usize).zip(new.chunks(TILE as usize));
        for (column, (old, new)) in (0..).zip(spans) {
            let differs = |i: &usize| !near(old[*i], new[*i]);
            // Mostly nothing has changed, and that is told quickest.
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
    let mut bounds = Extent::default();
    tiles.iter().for_each(|tile| bounds.join(*tile));
    let size = f64::from(right - part.x) * f64::from(bottom - part.y);
    Change {
        size_differs: false,
        share: changed as f64 / size,
        bounds: bounds.rect(),
        areas: areas(&mut tiles, columns),
    }
}

/// Joins neighbouring tiles with changes; takes them out of `tiles`.
fn areas(tiles: &mut [Extent], columns: usize) -> Vec<Rect> {
    let mut areas = Vec::new();
    for first in 0..tiles.len() {
        let mut area = Extent::default();
        let mut next = vec![first];
        while let Some(at) = next.pop() {
            let tile = std::mem::take(&mut tiles[at]);
            if tile.0.is_none() {
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
    areas.truncate(MOST_AREAS);
    areas
}

/// Most areas of a [`Change`].
const MOST_AREAS: usize = 32;
