//! Where the sources of one job put their groups, and from where one combined list is published.
//!
//! Keeps true: nothing is published before every source has reported once or patience has run out; an unchanged list is
//! not published again; groups appear in the order of the sources.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::TargetGroup;

/// The published list.
pub(crate) type Groups = Arc<Vec<TargetGroup>>;

pub(crate) struct Board {
    state: Mutex<State>,
    published: watch::Sender<Groups>,
}

struct State {
    slots: Vec<Option<Vec<TargetGroup>>>,
    open: bool,
}

impl Board {
    pub(crate) fn new(sources: usize) -> (Arc<Self>, watch::Receiver<Groups>) {
        let (published, receiver) = watch::channel(Groups::default());
        let state = State { slots: vec![None; sources], open: false };
        let board = Self { state: Mutex::new(state), published };
        (Arc::new(board), receiver)
    }

    /// Replaces the groups of one source.
    pub(crate) fn report(&self, source: usize, groups: Vec<TargetGroup>) {
        let mut state = self.state.lock();
        let Some(slot) = state.slots.get_mut(source) else {
            return;
        };
        if slot.as_ref() == Some(&groups) {
            return;
        }
        *slot = Some(groups);
        self.publish(&mut state);
    }

    /// Publishes what there is, complete or not.
    pub(crate) fn open(&self) {
        let mut state = self.state.lock();
        if !state.open {
            state.open = true;
            self.publish(&mut state);
        }
    }

    /// Resolves when nobody listens any more.
    pub(crate) async fn abandoned(&self) {
        self.published.closed().await;
    }

    fn publish(&self, state: &mut State) {
        state.open = state.open || state.slots.iter().all(Option::is_some);
        if state.open {
            // Under the lock, so that lists are published in the order in which they were made.
            self.published.send_replace(Arc::new(state.slots.iter().flatten().flatten().cloned().collect()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn group(source: &str) -> TargetGroup {
        TargetGroup { source: source.into(), ..TargetGroup::default() }
    }

    #[test]
    fn the_first_list_waits_for_every_source() {
        let (board, mut receiver) = Board::new(2);
        board.report(1, vec![group("b")]);
        assert!(!receiver.has_changed().unwrap());
        board.report(0, vec![group("a")]);
        assert!(receiver.has_changed().unwrap());
        let sources: Vec<_> = receiver.borrow_and_update().iter().map(|g| g.source.clone()).collect();
        assert_eq!(sources, ["a", "b"]);
    }

    #[test]
    fn an_unchanged_report_is_not_published() {
        let (board, mut receiver) = Board::new(1);
        board.report(0, vec![group("a")]);
        receiver.borrow_and_update();
        board.report(0, vec![group("a")]);
        assert!(!receiver.has_changed().unwrap());
    }

    #[test]
    fn when_patience_is_over_the_rest_is_published_without_the_slow() {
        let (board, mut receiver) = Board::new(2);
        board.report(0, vec![group("a")]);
        board.open();
        assert_eq!(receiver.borrow_and_update().len(), 1);
        board.report(1, vec![group("late")]);
        assert_eq!(receiver.borrow_and_update().len(), 2);
    }
}
