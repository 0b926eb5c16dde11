//! Whether the content of a black screen lies in the character cells of a text console.

use super::{Picture, Rect, Rgb, is_near};

/// The cells of console fonts, in pixels: the kernel's VGA and Terminus fonts (`lib/fonts`), VGA text mode as QEMU
/// shows it, and the other sizes that Terminus has for `console.font`.
const CELLS: [(usize, usize); 10] =
    [(8, 16), (9, 16), (16, 32), (8, 8), (8, 14), (10, 18), (10, 20), (11, 22), (12, 24), (14, 28)];
/// Letters leave a column and a row of their cell nearly blank, so that they do not touch: it has no more than this part
/// of the mean ink.
const MAX_BLANK: f64 = 0.35;
/// The longest stroke of a letter, in pixels: longer lines of ink are frames or reversed backgrounds.
const MAX_STROKE: usize = 16;

/// Rows of pixels that are read, from the first one with ink: twenty lines of the largest letters are enough.
const MAX_ROWS: usize = 640;
/// How wide the shortest text is, in cells: a prompt. A shorter one leaves some column blank by chance.
const MIN_TEXT: usize = 3;

/// Whether all that is not of the background's colour (and lies within `content`) is letters in cells, or one cursor.
pub(super) fn has_cells(picture: &Picture, background: Rgb, content: Option<Rect>) -> bool {
    let Some(content) = content else { return false };
    CELLS.iter().any(|cell| is_cursor(content, *cell)) || has_letters(picture, background, content)
}

/// Whether the content is as wide as a cell and lies in one: an underscore or a block.
fn is_cursor(content: Rect, (width, height): (usize, usize)) -> bool {
    let (width, height) = (width as u32, height as u32);
    content.width == width
        && content.x.is_multiple_of(width)
        && content.height <= height
        && content.y / height == (content.y + content.height - 1) / height
}

/// Whether the ink leaves the same column and the same row of every cell blank.
fn has_letters(picture: &Picture, background: Rgb, content: Rect) -> bool {
    let mut columns = vec![0u64; picture.width() as usize];
    let mut rows = vec![0u64; picture.height() as usize];
    for (sum, row) in rows.iter_mut().zip(picture.rows()).skip(content.y as usize).take(MAX_ROWS) {
        let mut x = 0;
        for run in row.chunk_by(|a, b| is_near(*a, background) == is_near(*b, background)) {
            if !is_near(run[0], background) && run.len() <= MAX_STROKE {
                *sum += run.len() as u64;
                columns[x..x + run.len()].iter_mut().for_each(|column| *column += 1);
            }
            x += run.len();
        }
    }
    let fits = |(width, height): &(usize, usize)| has_blank_phase(&columns, *width) && has_blank_phase(&rows, *height);
    CELLS.iter().any(|cell| content.width as usize >= MIN_TEXT * cell.0 && fits(cell))
}

/// Whether there is nearly no ink at some phase of a period.
fn has_blank_phase(ink: &[u64], period: usize) -> bool {
    let phase = |phase: usize| ink.iter().skip(phase).step_by(period).sum::<u64>() as f64;
    let phases: Vec<f64> = (0..period).map(phase).collect();
    let mean = phases.iter().sum::<f64>() / period as f64;
    mean > 0.0 && phases.iter().any(|phase| *phase <= MAX_BLANK * mean)
}
