use proptest::prelude::*;

use super::*;

const GREY: Rgb = [170; 3];

/// A screen to draw on.
struct Screen {
    width: u32,
    height: u32,
    pixels: Vec<Rgb>,
}

impl Screen {
    fn of(width: u32, height: u32, colour: Rgb) -> Self {
        Self { width, height, pixels: vec![colour; (width * height) as usize] }
    }

    /// Small, as the tests are not optimised.
    fn black() -> Self {
        Self::of(640, 400, [0; 3])
    }

    fn fill(mut self, x: u32, y: u32, width: u32, height: u32, colour: Rgb) -> Self {
        for y in y..(y + height).min(self.height) {
            for x in x..(x + width).min(self.width) {
                self.pixels[(y * self.width + x) as usize] = colour;
            }
        }
        self
    }

    /// Lines of letters as a font draws them: strokes here and there, the last column and the outer rows blank.
    fn letters(mut self, cell: (u32, u32), lines: u32, columns: u32, seed: u64) -> Self {
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

    fn picture(self) -> Picture {
        Picture::new(self.width, self.height, self.pixels).unwrap()
    }

    fn look(self) -> Look {
        describe(&self.picture())
    }
}

/// The same numbers each time (xorshift).
fn numbers(seed: u64) -> impl FnMut() -> u64 {
    let mut state = seed | 1;
    move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 20
    }
}

#[test]
fn one_colour_is_flat_and_no_console() {
    for colour in [[0; 3], [255; 3], [40, 40, 43]] {
        let look = Screen::of(640, 400, colour).look();
        assert!(look.is_flat && !look.is_console);
        assert_eq!((look.distinct_colours, look.dominant_colour, look.dominant_share), (1, colour, 1.0));
        assert_eq!((look.edge_share, look.content, look.top_bar), (0.0, None, None));
        assert_eq!(look.detail, [0.0; 144]);
    }
}

#[test]
fn noise_and_a_lone_pointer_leave_it_flat() {
    let mut next = numbers(7);
    let mut screen = Screen::of(640, 400, [120, 60, 30]);
    screen.pixels.iter_mut().flatten().for_each(|value| *value += (next() % 5) as u8);
    let look = screen.fill(300, 200, 12, 18, [255; 3]).look();
    assert!(look.is_flat && look.distinct_colours > 100, "{look:?}");
    assert_eq!(look.content, Some(Rect { x: 300, y: 200, width: 12, height: 18 }));
}

#[test]
fn a_lone_cursor_is_a_console() {
    for (x, y, width, height) in [(0, 14, 8, 2), (0, 0, 8, 16), (16, 46, 8, 2), (0, 29, 16, 3), (9, 13, 9, 2)] {
        let look = Screen::black().fill(x, y, width, height, GREY).look();
        assert!(look.is_console && !look.is_flat, "{x} {y} {width} {height}");
    }
    for (x, y, width, height) in [(3, 14, 8, 2), (0, 14, 5, 2), (0, 14, 8, 20), (300, 200, 13, 18)] {
        assert!(!Screen::black().fill(x, y, width, height, GREY).look().is_console, "{x} {y} {width} {height}");
    }
}

#[test]
fn letters_in_cells_are_a_console() {
    for cell in [(8, 16), (9, 16), (16, 32), (12, 24)] {
        for (lines, columns) in [(1, 20), (4, 35), (12, 39)] {
            let look = Screen::black().letters(cell, lines, columns, 3).look();
            assert!(look.is_console && !look.is_flat, "{cell:?} {lines} {columns}");
        }
    }
    // With a coloured word and a reversed line.
    let screen = Screen::black().letters((8, 16), 20, 60, 5).fill(8, 32, 30, 2, [0, 170, 0]);
    assert!(screen.fill(0, 384, 640, 16, GREY).look().is_console);
}

#[test]
fn what_is_not_in_cells_is_no_console() {
    let mut next = numbers(9);
    let mut screen = Screen::black();
    for _ in 0..3000 {
        screen = screen.fill((next() % 640) as u32, (next() % 400) as u32, 1 + (next() % 5) as u32, 2, GREY);
    }
    assert!(!screen.look().is_console);
    // A terminal on a desktop: smoothed letters have many greys.
    let mut screen = Screen::black().letters((8, 16), 20, 60, 5);
    screen.pixels.iter_mut().filter(|pixel| **pixel == GREY).for_each(|pixel| *pixel = [100 + (next() % 120) as u8; 3]);
    assert!(!screen.look().is_console);
    // Letters on a light page.
    let mut screen = Screen::black().letters((8, 16), 20, 60, 5);
    screen.pixels.iter_mut().flatten().for_each(|value| *value = 255 - *value);
    assert!(!screen.look().is_console);
}

#[test]
fn a_shell_without_its_wallpaper_is_neither_flat_nor_a_console() {
    let look = Screen::of(640, 400, [40, 40, 43]).fill(0, 0, 640, 16, [0; 3]).fill(300, 4, 40, 8, [255; 3]).look();
    assert!(!look.is_flat && !look.is_console);
    assert_eq!((look.dominant_colour, look.top_bar), ([40, 40, 43], Some(16)));
    assert_eq!(look.content, Some(Rect { x: 0, y: 0, width: 640, height: 16 }));
    assert!(look.detail[7] > 0.0 && look.detail[16..].iter().all(|cell| *cell == 0.0));
}

#[test]
fn a_gradient_has_many_colours_and_no_edges() {
    let mut screen = Screen::black();
    for (i, pixel) in screen.pixels.iter_mut().enumerate() {
        *pixel = [(i % 640 / 3) as u8, (i / 640 / 2) as u8, 99];
    }
    let look = screen.look();
    assert!(!look.is_flat && !look.is_console);
    assert_eq!((look.distinct_colours, look.edge_share), (MOST_COLOURS, 0.0));
    assert!(look.grey_share < 0.01);
}

#[test]
fn a_page_with_one_message_has_its_detail_in_the_middle() {
    let message = |screen: Screen| screen.fill(280, 130, 80, 60, [120; 3]).fill(230, 220, 180, 12, [50; 3]);
    let whale = message(Screen::of(640, 400, [250; 3])).look();
    assert!(!whale.is_flat && !whale.is_console);
    assert!(whale.luminance > 200.0 && whale.grey_share == 1.0 && whale.dominant_share > 0.95);
    assert_eq!((whale.top_bar, whale.content), (None, Some(Rect { x: 230, y: 130, width: 180, height: 102 })));
    assert!(whale.detail[..32].iter().all(|cell| *cell == 0.0));
    let greeter = message(Screen::of(640, 400, [50; 3])).fill(300, 6, 40, 10, [255; 3]).look();
    assert!(greeter.detail[..16].iter().any(|cell| *cell > 0.0));
}

#[test]
fn changes_are_told_with_their_place() {
    let before = Screen::black().picture();
    assert!(!change(&before, &before).any());
    let after = Screen::black().fill(10, 20, 100, 30, GREY).fill(500, 300, 4, 2, [9; 3]).picture();
    let seen = change(&before, &after);
    assert_eq!(seen.bounds, Some(Rect { x: 10, y: 20, width: 494, height: 282 }));
    assert_eq!(
        seen.areas,
        [Rect { x: 10, y: 20, width: 100, height: 30 }, Rect { x: 500, y: 300, width: 4, height: 2 }]
    );
    assert!((seen.share - 3008.0 / 256_000.0).abs() < 1e-12);
    let faint = Screen::of(640, 400, [TOLERANCE; 3]).picture();
    assert!(!change(&before, &faint).any());
}

#[test]
fn a_change_in_a_part_is_told_apart_from_one_elsewhere() {
    let before = Screen::black().picture();
    let after = Screen::black().fill(10, 20, 100, 30, GREY).picture();
    let part = |x, y, width, height| change_within(&before, &after, Rect { x, y, width, height });
    assert_eq!(part(10, 20, 50, 10).share, 1.0);
    assert_eq!(part(100, 40, 20, 20).bounds, Some(Rect { x: 100, y: 40, width: 10, height: 10 }));
    assert!(!part(200, 200, 50, 50).any());
    assert!(!part(9999, 0, 5, 5).any() && !part(0, 0, 0, 9).any());
    assert!(part(0, 0, u32::MAX, u32::MAX).any());
}

#[test]
fn another_size_is_a_change_of_everything() {
    let (small, large) = (Screen::of(2, 3, [0; 3]).picture(), Screen::of(3, 2, [0; 3]).picture());
    let change = change(&small, &large);
    assert!(change.size_differs && change.share == 1.0);
    assert_eq!(change.bounds, Some(Rect { x: 0, y: 0, width: 3, height: 2 }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_picture_has_a_look(width in 1u32..70, height in 1u32..70, seed in any::<u64>(), colours in 1u64..400) {
        let mut next = numbers(seed);
        let mut screen = Screen::of(width, height, [0; 3]);
        screen.pixels.iter_mut().for_each(|pixel| *pixel = [(next() % colours) as u8, 7, (next() % colours) as u8]);
        let picture = screen.picture();
        let look = describe(&picture);
        let shares = [look.dominant_share, look.grey_share, look.edge_share];
        prop_assert!(shares.iter().chain(&look.detail).all(|share| (0.0..=1.0).contains(share)), "{look:?}");
        prop_assert!(look.dominant_share > 0.0 && !(look.is_flat && look.is_console));
        prop_assert_eq!(look.detail.len(), GRID.0 * GRID.1);
        prop_assert!((0.0..=255.0).contains(&look.luminance));
        let mut all = picture.pixels().to_vec();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(look.distinct_colours as usize, all.len().min(MOST_COLOURS as usize));
        prop_assert!(all.contains(&look.dominant_colour));
        prop_assert!(!change(&picture, &picture).any());
    }

    #[test]
    fn a_change_is_within_its_bounds(
        (x, y) in (0u32..90, 0u32..90), (width, height) in (1u32..50, 1u32..50), seed in any::<u64>(),
    ) {
        let mut next = numbers(seed);
        let mut screen = Screen::of(90, 90, [0; 3]);
        screen.pixels.iter_mut().for_each(|pixel| *pixel = [(next() % 200) as u8; 3]);
        let before = Screen { pixels: screen.pixels.clone(), ..screen }.picture();
        let after = screen.fill(x, y, width, height, [255; 3]).picture();
        let seen = change(&before, &after);
        let expected = Rect { x, y, width: width.min(90 - x), height: height.min(90 - y) };
        prop_assert_eq!(seen.bounds, Some(expected));
        prop_assert_eq!(seen.areas, [expected]);
        prop_assert!((seen.share - f64::from(expected.width * expected.height) / 8100.0).abs() < 1e-12);
    }
}
