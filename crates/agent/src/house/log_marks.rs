//! The positions of sources that are no files, in the book of their route.

use std::sync::Arc;

use log_receive::{MarkBook, MarkFate, SettleMarks};
use log_tail::Book;
use model::SourceMark;

/// A route's book as its sources see it.
pub struct RouteBook(pub Arc<Book>);

impl MarkBook for RouteBook {
    fn begin(&self, marks: Vec<SourceMark>) -> SettleMarks {
        let book = Arc::clone(&self.0);
        // A ticket is for one mark. None is given where the queue is closed, and then nothing becomes durable either.
        let begun: Vec<_> = marks.into_iter().filter_map(|mark| Some((book.begin().ok()?, mark))).collect();
        Box::new(move |fate| {
            for (ticket, mark) in begun {
                match fate {
                    MarkFate::Durable => book.settle(ticket, &mark),
                    MarkFate::Refused => book.abandon(ticket),
                }
            }
        })
    }
}
