//! Reads the bytes of a request as they arrive, within limits of size, time and memory.
//!
//! Keeps true: memory is taken as bytes come, not as they are announced, so that a client that announces much and sends
//! little holds little.

use std::time::Duration;

use http_body::Body;
use http_body_util::BodyExt;
use pipeline::OtlpBuffer;

use crate::{
    refusal::Refusal,
    room::{BodyRoom, Held},
    unpack::grow,
};

/// What the first bytes may take at once.
const FIRST: usize = 64 << 10;

/// A gRPC message's head: whether it is packed, and its length.
pub(crate) const GRPC_HEAD: usize = 5;

/// A request, and the memory it holds.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub bytes: OtlpBuffer,
    pub held: Held,
    /// Bytes that stood before the rest, where there are such.
    pub head: [u8; GRPC_HEAD],
}

/// What a request may take.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes, without the head.
    pub bytes: usize,
    pub time: Duration,
    /// Bytes that come first and are kept apart.
    pub head: usize,
}

/// All of a body.
pub(crate) async fn read<B>(body: B, limits: Limits, room: &BodyRoom) -> Result<Arrived, Refusal>
where
    B: Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    match tokio::time::timeout(limits.time, arrive(body, limits, room)).await {
        Ok(arrived) => arrived,
        Err(_) => Err(Refusal::TooSlow),
    }
}

/// What is thrown away of a refused request at most, and how long that may take.
const DISCARDED: usize = 32 << 20;
const DISCARDING: Duration = Duration::from_secs(3);

/// Reads on after a refusal: who writes a whole request before it reads the answer would see a broken connection in its
/// place. Not for who waits to be asked (`Expect`), nor over HTTP/2, whose answers do not depend on the rest of a request.
pub(crate) async fn discard<B>(mut body: B, parts: &http::request::Parts)
where
    B: Body<Data = bytes::Bytes> + Unpin,
{
    let waits = parts.headers.contains_key(http::header::EXPECT) || parts.version > http::Version::HTTP_11;
    if waits || body.size_hint().lower() > DISCARDED as u64 {
        return;
    }
    let rest = async {
        let mut discarded = 0;
        while let Some(Ok(frame)) = body.frame().await {
            discarded += frame.data_ref().map_or(0, bytes::Bytes::len);
            if discarded > DISCARDED {
                return;
            }
        }
    };
    // It was refused before; what is not read by then stays unread.
    let _ = tokio::time::timeout(DISCARDING, rest).await;
}

async fn arrive<B>(mut body: B, limits: Limits, room: &BodyRoom) -> Result<Arrived, Refusal>
where
    B: Body<Data = bytes::Bytes> + Unpin,
    B::Error: std::fmt::Display,
{
    let too_large = Refusal::TooLarge { limit: limits.bytes };
    let announced = body.size_hint().exact().and_then(|len| usize::try_from(len).ok());
    if announced.is_some_and(|len| len > limits.bytes.saturating_add(limits.head)) {
        return Err(too_large);
    }
    let mut bytes = OtlpBuffer::with_capacity(0);
    let mut held = room.hold();
    let mut head = [0; GRPC_HEAD];
    let mut before = 0;
    if let Some(len) = announced {
        grow(&mut bytes, len.min(FIRST), FIRST, &mut held)?;
    }
    while let Some(frame) = body.frame().await {
        let frame = frame.map_err(|error| {
            let why: String = error.to_string().chars().take(120).collect();
            Refusal::Broken(format!("the request did not arrive whole: {why}"))
        })?;
        let Ok(data) = frame.into_data() else { continue };
        let mut data = data.as_ref();
        if before < limits.head {
            let (first, rest) = data.split_at(data.len().min(limits.head - before));
            for (place, byte) in head.iter_mut().skip(before).zip(first) {
                *place = *byte;
            }
            before += first.len();
            data = rest;
        }
        let needed = bytes.len() + data.len();
        if needed > limits.bytes {
            return Err(too_large);
        }
        let most = announced.unwrap_or(limits.bytes).min(limits.bytes);
        grow(&mut bytes, needed, most, &mut held)?;
        bytes.extend(data);
    }
    if before < limits.head {
        return Err(Refusal::Malformed("the request ends within the head of its message".to_owned()));
    }
    Ok(Arrived { bytes, held, head })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use http_body::Frame;

    use super::*;

    /// A body that brings these pieces and announces no length.
    struct Pieces(Vec<Bytes>);

    impl Body for Pieces {
        type Data = Bytes;
        type Error = std::io::Error;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
            let next = if self.0.is_empty() { None } else { Some(Ok(Frame::data(self.0.remove(0)))) };
            std::task::Poll::Ready(next)
        }
    }

    fn limits(bytes: usize, head: usize) -> Limits {
        Limits { bytes, time: Duration::from_secs(5), head }
    }

    fn pieces(all: &[&'static [u8]]) -> Pieces {
        Pieces(all.iter().map(|piece| Bytes::from_static(piece)).collect())
    }

    #[tokio::test]
    async fn pieces_are_joined_behind_their_head() {
        let room = BodyRoom::default();
        let arrived = read(pieces(&[b"ab", b"cdef", b"", b"gh"]), limits(100, 5), &room).await.unwrap();
        assert_eq!((&arrived.head, arrived.bytes.body()), (b"abcde", b"fgh".as_slice()));
        let arrived = read(pieces(&[b"ab", b"cd"]), limits(4, 0), &room).await.unwrap();
        assert_eq!(arrived.bytes.body(), b"abcd");
        let told = read(pieces(&[b"ab"]), limits(100, 5), &room).await.unwrap_err();
        assert!(matches!(told, Refusal::Malformed(_)));
    }

    #[tokio::test]
    async fn what_is_too_large_is_refused_when_it_is_announced_or_when_it_comes() {
        let room = BodyRoom::default();
        let whole = http_body_util::Full::new(Bytes::from_static(b"abcdef"));
        assert_eq!(read(whole, limits(5, 0), &room).await.unwrap_err(), Refusal::TooLarge { limit: 5 });
        let told = read(pieces(&[b"abc", b"def"]), limits(5, 0), &room).await.unwrap_err();
        assert_eq!(told, Refusal::TooLarge { limit: 5 });
    }

    #[tokio::test(start_paused = true)]
    async fn a_body_that_stalls_is_given_up_and_its_memory_comes_back() {
        struct Stalling(bool);
        impl Body for Stalling {
            type Data = Bytes;
            type Error = std::io::Error;
            fn poll_frame(
                mut self: std::pin::Pin<&mut Self>,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Option<Result<Frame<Bytes>, std::io::Error>>> {
                if std::mem::replace(&mut self.0, false) {
                    return std::task::Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(&[0; 9000])))));
                }
                std::task::Poll::Pending
            }
        }
        let room = BodyRoom::new(1 << 20);
        assert_eq!(read(Stalling(true), limits(1 << 20, 0), &room).await.unwrap_err(), Refusal::TooSlow);
        assert_eq!(room.left(), 1 << 20);
    }
}
