//! What can go wrong at the doors.

use queue::QueueError;

/// Why a batch was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The queue did not take it.
    #[error("appending a batch of {items} items to the queue: {source}")]
    Queue {
        /// Samples or lines in the batch.
        items: u32,
        #[source]
        source: QueueError,
    },
    /// It cannot be encoded.
    #[error("encoding a batch of {items} items: {why}")]
    Encode {
        /// Samples or lines in the batch.
        items: u32,
        /// What is wrong with it.
        why: String,
    },
}

impl IntakeError {
    /// The lane has no room now: the source may come again.
    pub fn is_full(&self) -> bool {
        matches!(self, Self::Queue { source: QueueError::Full { .. }, .. })
    }

    /// The queue or this lane is closed: nothing more goes in, ever.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Queue { source: QueueError::Closed, .. })
    }
}

/// Why nothing more comes out.
#[derive(Debug, thiserror::Error)]
pub enum OutletError {
    /// The queue gives no more claims.
    #[error("reading the queue: {0}")]
    Queue(#[source] QueueError),
}

impl OutletError {
    /// The queue or this destination's place in it is closed: nothing more comes, ever.
    pub fn is_closed(&self) -> bool {
        matches!(self, Self::Queue(QueueError::Closed))
    }
}
