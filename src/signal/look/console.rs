//! Whether what is on a black screen lies in the cells of a text console.

use super::{Rect, near};
use crate::signal::picture::{Picture, Rgb};

/// The cells of console fonts, in pixels: the kernel's VGA and Terminus fonts (`lib/fonts`), VGA text mode as QEMU
/// shows it, and the other sizes that Terminus has for `console.font`.
const CELLS: [(usize, usize); 10] =
    [(8, 16), (9, 16), (16, 32), (8, 8), (8, 14), (10, 18), (10, 20), (11, 22), (12, 24), (14, 28)];
/// Letters leave a column and a row of their cell nearly blank, so that they do not touch: it has no more than this
/// part of the mean.
const BLANK: f64 = 0.35;
/// A longer line of ink, in pixels, is no stroke of a letter but a frame or a reversed background.
const STROKE: usize = 16;

/// Rows of pixels that are looked at, from the first one with ink: twenty lines of the largest letters tell.
const ROWS: usize = 640;
/// How wide the shortest text is, in cells: a prompt. Less keeps off some column by chance.
const FEWEST: usize = 3;

/// Whether all but the background (`backdrop`) is letters in cells, or one cursor. `content` is what is not
/// background.
pub(super) fn has_cells(picture: &Picture, backdrop: Rgb, content: Option<Rect>) -> bool {
    let Some(content) = content else { return false };
    CELLS.iter().any(|cell| is_cursor(content, *cell)) || has_letters(picture, backdrop, content)
}

/// Whether it is as wide as a cell and lies in one: an underscore or a block.
fn is_cursor(content: Rect, (width, height): (usize, usize)) -> bool {
    let (width, height) = (width as u32, height as u32);
    content.width == width
        && content.x.is_multiple_of(width)
        && content.height <= height
        && content.y / height == (content.y + content.height - 1) / height
}

/// Whether the ink keeps off the same column and the same row of every cell.
fn has_letters(picture: &Picture, backdrop: Rgb, content: Rect) -> bool {
    let mut columns = vec![0u64; picture.width() as usize];
    let mut rows = vec![0u64; picture.height() as usize];
    for (sum, row) in rows.iter_mut().zip(picture.rows()).skip(content.y as usize).take(ROWS) {
        let mut x = 0;
        for run in row.chunk_by(|a, b| near(*a, backdrop) == near(*b, backdrop)) {
            if !near(run[0], backdrop) && run.len() <= STROKE {
                *sum += run.len() as u64;
                columns[x..x + run.len()].iter_mut().for_each(|column| *column += 1);
            }
            x += run.len();
        }
    }
    let fits = |(width, height): &(usize, usize)| keeps_off(&columns, *width) && keeps_off(&rows, *height);
    CELLS.iter().any(|cell| content.width as usize >= FEWEST * cell.0 && fits(cell))
}

/// Whether some phase of a period has nearly no ink.
fn keeps_off(ink: &[u64], period: usize) -> bool {
    let phase = |phase: usize| ink.iter().skip(phase).step_by(period).sum::<u64>() as f64;
    let phases: Vec<f64> = (0..period).map(phase).collect();
    let mean = phases.iter().sum::<f64>() / period as f64;
    mean > 0.0 && phases.iter().any(|phase| *phase <= BLANK * mean)
}
