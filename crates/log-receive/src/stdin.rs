//! Lines of the standard input, or of any other stream.
//!
//! Has no position: what was read is handed over, and the end of the input is the end of the source. Keeps true: a line is
//! never longer in memory than the longest that the queue takes.

use std::{
    io::{self, Read},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use model::Labels;
use parking_lot::Mutex;
use pipeline::Durability;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{Forward, LONGEST_LINE, ReceiveError, forward::at, lines::LineSplitter};

/// `target_config.stdin`.
#[derive(Debug, Clone, Default)]
pub struct StdinConfig {
    pub labels: Labels,
}

/// Reads until the input ends or `stop`; what was read by then is durable when this returns. A process has one standard
/// input: who comes second waits for the first to end, and goes on where that stood.
pub async fn read_stdin(config: StdinConfig, forward: Forward, stop: CancellationToken) -> Result<(), ReceiveError> {
    let input = match pieces() {
        Ok(input) => input,
        Err(error) => {
            forward.state().trouble(&format!("starting the reader of the standard input: {error}"));
            return Ok(());
        }
    };
    let mut input = tokio::select! {
        () = stop.cancelled() => return Ok(()),
        input = input.lock() => input,
    };
    read_lines(&mut *input, config, forward, stop).await
}

/// What the process's own reader reads: a read of the standard input cannot be broken off, so its thread outlives whoever
/// wanted the lines.
fn pieces() -> io::Result<Arc<tokio::sync::Mutex<Pieces>>> {
    static INPUT: Mutex<Option<Arc<tokio::sync::Mutex<Pieces>>>> = Mutex::new(None);
    let mut known = INPUT.lock();
    if let Some(input) = &*known {
        return Ok(Arc::clone(input));
    }
    let (sender, pieces) = mpsc::channel(2);
    std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
        let mut input = std::io::stdin().lock();
        loop {
            let mut piece = vec![0; 64 << 10];
            let read = match input.read(&mut piece) {
                Ok(0) => return,
                Ok(len) => {
                    piece.truncate(len);
                    Ok(piece)
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Err(error),
            };
            let is_last = read.is_err();
            if sender.blocking_send(read).is_err() || is_last {
                return;
            }
        }
    })?;
    let input = Arc::new(tokio::sync::Mutex::new(Pieces { pieces, rest: Vec::new(), at: 0 }));
    *known = Some(Arc::clone(&input));
    Ok(input)
}

/// What the thread read.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    rest: Vec<u8>,
    at: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let left = ready!(self.as_mut().poll_fill_buf(cx))?;
        let now = left.get(..buf.remaining()).unwrap_or(left);
        buf.put_slice(now);
        let taken = now.len();
        self.consume(taken);
        Poll::Ready(Ok(()))
    }
}

impl AsyncBufRead for Pieces {
    fn poll_fill_buf(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<&[u8]>> {
        let me = self.get_mut();
        if me.at >= me.rest.len() {
            match ready!(me.pieces.poll_recv(cx)) {
                None => return Poll::Ready(Ok(&[])),
                Some(piece) => {
                    me.rest = piece?;
                    me.at = 0;
                }
            }
        }
        Poll::Ready(Ok(me.rest.get(me.at..).unwrap_or_default()))
    }

    fn consume(mut self: Pin<&mut Self>, amount: usize) {
        self.at = self.at.saturating_add(amount).min(self.rest.len());
    }
}

/// The same for any input.
pub async fn read_lines(
    mut input: impl AsyncBufRead + Unpin,
    config: StdinConfig,
    mut forward: Forward,
    stop: CancellationToken,
) -> Result<(), ReceiveError> {
    let (state, counts) = (forward.state(), forward.counts());
    let Some(labels) = forward.admit_named(config.labels) else {
        state.trouble("relabel_configs drop every line of the standard input");
        return Ok(());
    };
    let mut splitter = LineSplitter::new(LONGEST_LINE);
    let mut found = Vec::new();
    loop {
        let due = forward.due();
        let used = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            () = at(due) => {
                forward.tick().await?;
                continue;
            }
            bytes = input.fill_buf() => match bytes {
                Ok([]) => break,
                Ok(bytes) => {
                    splitter.push(bytes, &mut found);
                    bytes.len()
                }
                Err(error) => {
                    state.trouble(&format!("reading the standard input: {error}"));
                    break;
                }
            },
        };
        input.consume(used);
        for line in found.drain(..) {
            let at = forward.time();
            forward.push(&labels, at, &line, &[]).await?;
            forward.pace().await;
        }
    }
    if let Some(line) = splitter.end() {
        let at = forward.time();
        forward.push(&labels, at, &line, &[]).await?;
    }
    if splitter.cut() > 0 {
        counts.cut("line_too_long");
    }
    if let Some(receipt) = forward.flush(Durability::Now).await? {
        // Closed: the agent stops.
        let _ = receipt.durable().await;
    }
    Ok(())
}
