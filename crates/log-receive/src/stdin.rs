//! Lines of the standard input, or of any other stream.
//!
//! Has no position: what was read is handed over, and the end of the input is the end of the source. Keeps true: a line is
//! never longer in memory than the longest that the queue takes.

use std::{
    io::{self, Read},
    pin::Pin,
    task::{Context, Poll, ready},
};

use model::Labels;
use pipeline::Durability;
use tokio::{
    io::{AsyncBufRead, AsyncBufReadExt, AsyncRead, BufReader, ReadBuf},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

use crate::{Forward, LONGEST_LINE, ReceiveError, forward::at, lines::LineSplitter};

/// `target_config.stdin`.
#[derive(Debug, Clone, Default)]
pub struct StdinConfig {
    pub labels: Labels,
}

/// Reads until the input ends or `stop`; what was read by then is durable when this returns.
pub async fn read_stdin(config: StdinConfig, forward: Forward, stop: CancellationToken) -> Result<(), ReceiveError> {
    let (sender, pieces) = mpsc::channel(2);
    // A read of the standard input cannot be broken off: its thread is left behind when the agent stops.
    let started = std::thread::Builder::new().name("stdin".to_owned()).spawn(move || {
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
    });
    if let Err(error) = started {
        forward.state().trouble(&format!("starting the reader of the standard input: {error}"));
        return Ok(());
    }
    read_lines(BufReader::with_capacity(64 << 10, Pieces { pieces, rest: Vec::new(), at: 0 }), config, forward, stop)
        .await
}

/// What the thread read.
struct Pieces {
    pieces: mpsc::Receiver<io::Result<Vec<u8>>>,
    rest: Vec<u8>,
    at: usize,
}

impl AsyncRead for Pieces {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.at >= self.rest.len() {
            match ready!(self.pieces.poll_recv(cx)) {
                None => return Poll::Ready(Ok(())),
                Some(piece) => {
                    self.rest = piece?;
                    self.at = 0;
                }
            }
        }
        let left = self.rest.get(self.at..).unwrap_or_default();
        let now = left.get(..buf.remaining()).unwrap_or(left);
        buf.put_slice(now);
        let taken = now.len();
        self.at += taken;
        Poll::Ready(Ok(()))
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
