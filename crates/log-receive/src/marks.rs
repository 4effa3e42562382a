//! Where the marks of a source are written down once they are durable.
//!
//! Knows no file. Keeps true: marks are settled in the order in which they were handed over, each after its record is
//! durable; of a record whose fate is not known nothing is settled.

use std::sync::Arc;

use model::SourceMark;
use pipeline::Receipt;
use tokio::sync::{mpsc, oneshot};
use tokio_util::task::TaskTracker;

/// Remembers marks: the positions of a route.
pub trait MarkBook: Send + Sync {
    /// A record with these marks is about to be handed over. Until what is given back is called or forgotten, the book may
    /// not rely on having everything that lies in the queue from here on.
    fn begin(&self, marks: Vec<SourceMark>) -> SettleMarks;
}

/// Called once, with what became of the record; forgotten where that is not known.
pub type SettleMarks = Box<dyn FnOnce(MarkFate) + Send>;

/// What became of a record with marks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MarkFate {
    Durable,
    /// It was never handed over.
    Refused,
}

/// A record that was handed over.
pub(crate) enum Handed {
    Receipt(Receipt),
    /// Its marks are settled when it is durable.
    Settled(oneshot::Receiver<()>),
}

/// The queue was closed before the record was durable.
#[derive(Debug)]
pub(crate) struct Closed;

impl Handed {
    pub(crate) async fn durable(self) -> Result<(), Closed> {
        match self {
            Self::Receipt(receipt) => receipt.durable().await.map_err(|_| Closed),
            Self::Settled(done) => done.await.map_err(|_| Closed),
        }
    }
}

/// Marks between the beginning of an append and its end. Dropped before, they count as refused: should the record lie in
/// the queue after all, its lines may be read again, and none is lost.
pub(crate) struct Begun(Option<SettleMarks>);

impl Drop for Begun {
    fn drop(&mut self) {
        if let Some(settle) = self.0.take() {
            settle(MarkFate::Refused);
        }
    }
}

struct Waiting {
    /// `None`: there is no record, everything before is what counts.
    receipt: Option<Receipt>,
    settle: SettleMarks,
    done: Option<oneshot::Sender<()>>,
}

/// One source's way to the book.
pub(crate) struct Settler {
    book: Arc<dyn MarkBook>,
    waiting: mpsc::UnboundedSender<Waiting>,
}

impl Settler {
    pub(crate) fn spawn(book: Arc<dyn MarkBook>, tasks: &TaskTracker) -> Self {
        // Not bounded here: the queue's credit bounds the records that are not durable.
        let (waiting, mut receiver) = mpsc::unbounded_channel::<Waiting>();
        tasks.spawn(async move {
            while let Some(next) = receiver.recv().await {
                if let Some(receipt) = next.receipt
                    && receipt.durable().await.is_err()
                {
                    continue;
                }
                (next.settle)(MarkFate::Durable);
                if let Some(done) = next.done {
                    // Most do not wait for it.
                    let _ = done.send(());
                }
            }
        });
        Self { book, waiting }
    }

    pub(crate) fn begin(&self, marks: Vec<SourceMark>) -> Begun {
        Begun(Some(self.book.begin(marks)))
    }

    pub(crate) fn follow(&self, receipt: Receipt, mut begun: Begun) -> Handed {
        let Some(settle) = begun.0.take() else { return Handed::Receipt(receipt) };
        let (done, settled) = oneshot::channel();
        // The task ends after its sender.
        let _ = self.waiting.send(Waiting { receipt: Some(receipt), settle, done: Some(done) });
        Handed::Settled(settled)
    }

    /// Marks that need no record.
    pub(crate) fn moved(&self, marks: Vec<SourceMark>) {
        let settle = self.book.begin(marks);
        let _ = self.waiting.send(Waiting { receipt: None, settle, done: None });
    }
}
