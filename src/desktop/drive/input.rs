//! Pointer and keyboard, and what they change on the screen.

use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::recorder::decode;
use super::{DesktopDriver, FAST_INTERVAL, STILL_SHARE};
use crate::desktop::facts::{InputDevice, InputReaction};
use crate::machine::screen::Key;
use crate::model::timeouts::desktop::{REACTION_LIMIT, REDRAW_INTERVAL};
use crate::signal::{Picture, Rect, picture};

/// Letters that are typed.
const TYPED: [Key; 6] = [Key::n, Key::i, Key::x, Key::b, Key::o, Key::x];
/// How wide they are at least on the screen, in pixels: a text cursor that blinks is narrower.
const TYPED_WIDTH: u32 = 24;

/// What came of waiting for a picture.
pub(super) struct Awaited<T> {
    /// Whether it came.
    pub(super) holds: bool,
    /// How long was waited, in seconds.
    pub(super) seconds: f64,
    /// What the last picture showed.
    pub(super) last: Option<T>,
}

impl DesktopDriver<'_> {
    /// A picture of the screen now.
    pub(super) async fn picture(&self) -> Option<Picture> {
        decode(self.screen.picture().await.ok()?).await
    }

    /// Waits until `shows` holds of a picture, at most `limit`.
    pub(super) async fn until<T>(&self, limit: Duration, shows: impl Fn(&Picture) -> (bool, T)) -> Awaited<T> {
        let begun = Instant::now();
        let mut last = None;
        loop {
            let mut holds = false;
            if let Some(picture) = self.picture().await {
                let what;
                (holds, what) = shows(&picture);
                last = Some(what);
            }
            if holds || begun.elapsed() > limit {
                return Awaited { holds, seconds: begun.elapsed().as_secs_f64(), last };
            }
            sleep(FAST_INTERVAL).await;
        }
    }

    /// Two pictures in a row that are alike, or the last one when the time is over.
    pub(super) async fn calm(&self) -> Option<Picture> {
        let until = Instant::now() + self.scaled(REACTION_LIMIT);
        let mut last = self.picture().await;
        while Instant::now() < until {
            sleep(FAST_INTERVAL).await;
            let next = self.picture().await;
            if let (Some(last), Some(next)) = (&last, &next)
                && picture::diff(last, next).share < STILL_SHARE / 3.0
            {
                return Some(next.clone());
            }
            last = next;
        }
        last
    }

    /// Moves the pointer and watches the place where it went. Where the card draws the pointer by itself, nothing changes.
    pub(super) async fn move_pointer(&self) -> Option<InputReaction> {
        self.screen.point(0.35, 0.45).await.ok()?;
        sleep(self.scaled(Duration::from_millis(100))).await;
        let before = self.picture().await?;
        let (x, y) = (0.6, 0.6);
        self.screen.point(x, y).await.ok()?;
        let place = |at: f64, size: u32| ((at * f64::from(size)) as u32).saturating_sub(40);
        let near = Rect { x: place(x, before.width()), y: place(y, before.height()), width: 80, height: 80 };
        let moved = |after: &Picture| {
            let change = picture::diff_within(&before, after, near);
            (change.any(), change)
        };
        let Awaited { seconds, last, .. } = self.until(self.scaled(REACTION_LIMIT), moved).await;
        let change = last?;
        let width = change.bounds.map_or(0, |bounds| bounds.width);
        Some(InputReaction { input: InputDevice::Pointer, share: change.share, width, seconds })
    }

    /// Clicks into the window that changed `before` into `open`, and types.
    pub(super) async fn type_into(&self, before: &Picture, open: &Picture) -> Option<InputReaction> {
        let change = picture::diff(before, open);
        let area = change.areas.first().copied().or(change.bounds)?;
        let middle =
            |at: u32, length: u32, size: u32| (f64::from(at) + f64::from(length) / 2.0) / f64::from(size.max(1));
        let (x, y) = (middle(area.x, area.width, open.width()), middle(area.y, area.height, open.height()));
        self.screen.point(x, y).await.ok()?;
        self.screen.click().await.ok()?;
        let calm = self.calm().await?;
        // What changes by itself: a clock, a cursor that blinks.
        let mut noise: Vec<Rect> = Vec::new();
        let begun = Instant::now();
        while begun.elapsed() < REDRAW_INTERVAL {
            sleep(FAST_INTERVAL).await;
            noise.extend(self.picture().await.iter().flat_map(|after| picture::diff(&calm, after).areas));
        }
        self.screen.press(&TYPED).await.ok()?;
        let typed = |after: &Picture| {
            let width = typed_width(&picture::diff(&calm, after).areas, &noise);
            (width >= TYPED_WIDTH, width)
        };
        let Awaited { seconds, last, .. } = self.until(self.scaled(REACTION_LIMIT), typed).await;
        let width = last?;
        let share = f64::from(width) / f64::from(calm.width());
        Some(InputReaction { input: InputDevice::Key, share, width, seconds })
    }
}

/// How wide the widest change is that is not `noise`; where it lies on some, how much wider than that it is.
fn typed_width(areas: &[Rect], noise: &[Rect]) -> u32 {
    let touch = |one: &Rect, other: &Rect| {
        one.x < other.x + other.width
            && other.x < one.x + one.width
            && one.y < other.y + other.height
            && other.y < one.y + one.height
    };
    let beyond = |area: &Rect| {
        let most = noise.iter().filter(|other| touch(area, other)).map(|other| other.width).max().unwrap_or(0);
        area.width.saturating_sub(most)
    };
    areas.iter().map(beyond).max().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_is_no_answer() {
        let rect = |x, y, width| Rect { x, y, width, height: 20 };
        let (clock, caret) = (rect(1200, 0, 40), rect(0, 30, 8));
        assert_eq!(typed_width(&[clock], &[clock]), 0);
        assert_eq!(typed_width(&[clock, rect(0, 30, 56)], &[clock, caret]), 48);
        assert_eq!(typed_width(&[], &[clock]), 0);
    }
}
