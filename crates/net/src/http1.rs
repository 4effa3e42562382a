//! One HTTP/1.1 request and its answer over a connection, all in the caller's task.
//!
//! hyper's state and its read buffer live as long as the exchange; between two exchanges only the bare connection is left,
//! so that a thousand idle ones cost next to nothing. Keeps true: a connection is given back only when the answer was
//! complete, both sides want to go on, and not a byte too many was received.

use std::{
    future::{Future, poll_fn},
    pin::{Pin, pin},
    task::{Context, Poll},
};

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame};
use http_body_util::Empty;
use hyper::{
    body::Incoming,
    client::conn::http1::{Builder, Connection, SendRequest},
};
use hyper_util::rt::TokioIo;

use crate::dial::Stream;

/// Bytes read at once; also the largest head of an answer. It exists only while an exchange goes on.
const READ_BUFFER: usize = 32 << 10;

/// An exchange under way.
pub(crate) struct Exchange {
    sender: SendRequest<Empty<Bytes>>,
    connection: Option<Connection<TokioIo<Stream>, Empty<Bytes>>>,
    received: u64,
}

/// No answer.
pub(crate) struct Unanswered {
    pub(crate) error: hyper::Error,
    /// The far end cannot have begun to answer: nothing was received, or nothing was sent.
    pub(crate) untouched: bool,
}

impl Exchange {
    /// Sends the request and waits for the answer's head.
    pub(crate) async fn begin(
        stream: Stream,
        request: Request<Empty<Bytes>>,
    ) -> Result<(Self, Response<Incoming>), Unanswered> {
        let before = stream.received();
        let (mut sender, connection) = Builder::new()
            .read_buf_exact_size(Some(READ_BUFFER))
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| Unanswered { error, untouched: true })?;
        let answer = sender.try_send_request(request);
        let mut exchange = Self { sender, connection: Some(connection), received: before };
        let mut answer = pin!(answer);
        let result = poll_fn(|cx| {
            exchange.drive(cx);
            answer.as_mut().poll(cx)
        })
        .await;
        match result {
            Ok(response) => Ok((exchange, response)),
            Err(mut e) => {
                let unsent = e.take_message().is_some();
                exchange.hang_up();
                Err(Unanswered { untouched: unsent || exchange.received == before, error: e.into_error() })
            }
        }
    }

    /// The next piece of the body.
    pub(crate) async fn frame(&mut self, body: &mut Incoming) -> Option<Result<Frame<Bytes>, hyper::Error>> {
        poll_fn(|cx| {
            self.drive(cx);
            Pin::new(&mut *body).poll_frame(cx)
        })
        .await
    }

    /// The connection, if it can carry another exchange. To be called when the body has ended; waits for nothing.
    pub(crate) async fn end(mut self) -> Option<Stream> {
        let free = poll_fn(|cx| {
            self.drive(cx);
            Poll::Ready(matches!(self.sender.poll_ready(cx), Poll::Ready(Ok(()))))
        })
        .await;
        let parts = self.connection?.into_parts();
        (free && parts.read_buf.is_empty()).then(|| parts.io.into_inner())
    }

    fn drive(&mut self, cx: &mut Context<'_>) {
        if let Some(connection) = &mut self.connection
            && Pin::new(connection).poll(cx).is_ready()
        {
            // What went wrong is told to whoever waits for the answer or its body, and only once hyper's half is gone.
            self.hang_up();
        }
    }

    fn hang_up(&mut self) {
        if let Some(connection) = self.connection.take() {
            self.received = connection.into_parts().io.inner().received();
        }
    }
}
