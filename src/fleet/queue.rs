//! In which order the machines are started.

/// The machines that are to be started, the next one first.
#[derive(Debug)]
pub(super) struct Queue<T>(Vec<Queued<T>>);

/// One of them.
#[derive(Debug)]
pub(super) struct Queued<T> {
    /// How many seconds it took the last time.
    pub(super) seconds: Option<f64>,
    /// What it needs of this host's memory, in MiB.
    pub(super) needed_mib: u64,
    /// What is to be started.
    pub(super) what: T,
}

impl<T> Queue<T> {
    /// The longest first, so that the whole ends early; those of unknown length may be longer still, and come before.
    /// Otherwise in the given order.
    pub(super) fn new(mut queued: Vec<Queued<T>>) -> Self {
        queued.sort_by(|one, other| {
            let seconds = |queued: &Queued<T>| queued.seconds.unwrap_or(f64::INFINITY);
            seconds(other).total_cmp(&seconds(one))
        });
        Self(queued)
    }

    /// Takes the first that fits: a large machine for which there is no memory yet does not block smaller ones.
    pub(super) fn next(&mut self, fits: impl Fn(u64) -> bool) -> Option<Queued<T>> {
        let at = self.0.iter().position(|queued| fits(queued.needed_mib))?;
        Some(self.0.remove(at))
    }

    /// What each needs of this host's memory, in MiB, the next one first.
    pub(super) fn needed_mib(&self) -> impl Iterator<Item = u64> {
        self.0.iter().map(|queued| queued.needed_mib)
    }

    /// Whether none is left.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All that are left.
    pub(super) fn into_rest(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(|queued| queued.what)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(all: &[(&'static str, Option<f64>, u64)]) -> Queue<&'static str> {
        let queued = |&(what, seconds, needed_mib): &(&'static str, _, _)| Queued { seconds, needed_mib, what };
        Queue::new(all.iter().map(queued).collect())
    }

    fn order(mut queue: Queue<&'static str>, fits: impl Fn(u64) -> bool) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.next(&fits)).map(|queued| queued.what).collect()
    }

    #[test]
    fn unknown_first_then_the_longest() {
        let all = [("a", Some(10.0), 1), ("b", None, 1), ("c", Some(200.0), 1), ("d", None, 1), ("e", Some(10.0), 1)];
        assert_eq!(order(queue(&all), |_| true), ["b", "d", "c", "a", "e"]);
    }

    #[test]
    fn what_does_not_fit_blocks_no_other() {
        let all = [("large", Some(200.0), 8000), ("small", Some(10.0), 1000), ("smaller", Some(5.0), 500)];
        assert_eq!(order(queue(&all), |mib| mib < 2000), ["small", "smaller"]);
        let mut queue = queue(&all);
        assert!(queue.next(|mib| mib < 2000).is_some() && !queue.is_empty());
        assert_eq!(queue.into_rest().collect::<Vec<_>>(), ["large", "smaller"]);
    }
}
