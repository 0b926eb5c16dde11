//! The screen's recording, from the machine's start on.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};

use super::{FAST_INTERVAL, SLOW_INTERVAL, STILL_SHARE};
use crate::machine::Screen;
use crate::signal::{Film, Picture, picture};

/// A picture of the screen.
#[derive(Clone)]
pub(super) struct ScreenFrame {
    pub(super) picture: Arc<Picture>,
    pub(super) png: Arc<Vec<u8>>,
    /// Since when nothing but small things has changed.
    still_since: Instant,
}

/// Takes pictures of the screen until it is dropped.
pub(crate) struct ScreenRecorder {
    film: Arc<Mutex<Film>>,
    frames: watch::Receiver<Option<ScreenFrame>>,
    begun: Instant,
    task: JoinHandle<()>,
}

impl Drop for ScreenRecorder {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl ScreenRecorder {
    /// Starts recording.
    pub(crate) fn start(screen: Screen) -> Self {
        let film: Arc<Mutex<Film>> = Arc::default();
        let (sender, frames) = watch::channel(None);
        let begun = Instant::now();
        let task = tokio::spawn(record(screen, Arc::clone(&film), sender, begun));
        Self { film, frames, begun, task }
    }

    /// The film so far, as a GIF; `None` without a picture.
    pub(crate) fn gif(&self) -> Option<Vec<u8>> {
        let film = self.film.lock().unwrap_or_else(PoisonError::into_inner);
        film.gif(self.begun.elapsed()).ok().flatten()
    }

    /// The newest picture, and every later one.
    pub(super) fn frames(&self) -> watch::Receiver<Option<ScreenFrame>> {
        self.frames.clone()
    }

    pub(super) fn last(&self) -> Option<ScreenFrame> {
        self.frames.borrow().clone()
    }

    /// How long the screen has not changed.
    pub(super) fn still_for(&self) -> Duration {
        self.last().map_or(Duration::ZERO, |frame| frame.still_since.elapsed())
    }
}

async fn record(screen: Screen, film: Arc<Mutex<Film>>, frames: watch::Sender<Option<ScreenFrame>>, begun: Instant) {
    let mut last: Option<ScreenFrame> = None;
    // What `still_since` is about: later pictures are compared with this one, so that slow changes add up.
    let mut anchor: Option<Arc<Picture>> = None;
    let mut pause = FAST_INTERVAL;
    let slower = |pause: Duration| (pause * 3 / 2).min(SLOW_INTERVAL);
    loop {
        let clock = Instant::now();
        if let Ok(png) = screen.picture().await {
            let is_same = last.as_ref().is_some_and(|last| *last.png == png);
            let decoded = if is_same { None } else { decode(png.clone()).await };
            pause = slower(pause);
            if let Some(picture) = decoded {
                let picture = Arc::new(picture);
                let moved = anchor.as_ref().is_none_or(|anchor| picture::diff(anchor, &picture).share > STILL_SHARE);
                film.lock().unwrap_or_else(PoisonError::into_inner).push(begun.elapsed(), &picture);
                let still_since = match &last {
                    Some(last) if !moved => last.still_since,
                    _ => clock,
                };
                if moved {
                    anchor = Some(Arc::clone(&picture));
                    pause = FAST_INTERVAL;
                }
                last = Some(ScreenFrame { picture, png: Arc::new(png), still_since });
            }
            frames.send_replace(last.clone());
        } else {
            // No screen, or not yet: firmware and guest change its size.
            pause = SLOW_INTERVAL;
        }
        // A busy QEMU is not asked more than it can bear.
        sleep(pause.max(clock.elapsed() * 4)).await;
    }
}

/// Reads a PNG, off the runtime's own threads.
pub(super) async fn decode(png: Vec<u8>) -> Option<Picture> {
    tokio::task::spawn_blocking(move || Picture::from_png(&png)).await.ok()?.ok()
}
