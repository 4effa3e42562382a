//! Turns the bytes of an answer into its body: gzip, deflate and zstd undone as they arrive, never past a limit.
//!
//! Knows no HTTP client. Keeps true: the output never grows past the limit, whatever the input claims; a decoder's own
//! memory is bounded by its format (32 KiB, or 8 MiB for zstd).

use std::io::{self, Write};

use flate2::write::{DeflateDecoder, MultiGzDecoder, ZlibDecoder};
use http::{HeaderMap, HeaderValue, header::CONTENT_ENCODING};

/// What went wrong in a body, without the place it came from.
#[derive(Debug)]
pub(crate) enum BodyError {
    TooLarge,
    Decode { encoding: &'static str, detail: String },
}

/// Where the body of an answer goes: bytes, and a say in how many there may be. A plain vector grows by doubling.
pub trait BodyBuffer: Send {
    /// What there is so far. Emptied at the start; bytes are added only after [`make_room`](Self::make_room) granted them.
    fn bytes(&mut self) -> &mut Vec<u8>;

    /// Makes room for `more` bytes behind those that are there; there will never be more than `most` in all. False: none is
    /// left, and the body counts as too large.
    fn make_room(&mut self, more: usize, most: usize) -> bool;

    /// Whether a body in this encoding (`gzip`, `deflate`, `zstd`) is to be decompressed. What is not passes through.
    fn decompresses(&self, encoding: &str) -> bool {
        let _ = encoding;
        true
    }
}

impl BodyBuffer for Vec<u8> {
    fn bytes(&mut self) -> &mut Vec<u8> {
        self
    }

    fn make_room(&mut self, more: usize, most: usize) -> bool {
        if more > self.capacity() - self.len() {
            // By doubling as usual, but never past the limit.
            self.reserve_exact(self.capacity().max(more).min(most.saturating_sub(self.len())));
        }
        true
    }
}

/// A buffer that is never filled past its limit.
pub(crate) struct Bounded<'a> {
    out: &'a mut dyn BodyBuffer,
    limit: u64,
    full: bool,
}

impl Write for Bounded<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let most = usize::try_from(self.limit).unwrap_or(usize::MAX);
        let room = most.saturating_sub(self.out.bytes().len());
        let fitting = bytes.get(..room).unwrap_or(bytes);
        let granted = self.out.make_room(fitting.len(), most);
        if granted {
            self.out.bytes().extend_from_slice(fitting);
        }
        if !granted || fitting.len() < bytes.len() {
            self.full = true;
            return Err(io::Error::other("the limit is reached"));
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decodes one answer into a vector.
pub(crate) enum BodyReader<'a> {
    Plain(Bounded<'a>),
    Gzip(Box<MultiGzDecoder<Bounded<'a>>>),
    /// HTTP's `deflate` is zlib, but some servers send raw deflate: the first two bytes tell.
    DeflateUndecided(Vec<u8>, Bounded<'a>),
    Zlib(Box<ZlibDecoder<Bounded<'a>>>),
    RawDeflate(Box<DeflateDecoder<Bounded<'a>>>),
    Zstd(Box<zstd::stream::write::Decoder<'static, Bounded<'a>>>),
    /// Between two states; never seen from outside.
    Moving,
}

/// Window of at most 8 MiB, the largest that RFC 9659 lets a server use.
const ZSTD_WINDOW_LOG: u32 = 23;

impl<'a> BodyReader<'a> {
    /// Chooses the decoder that the answer's headers ask for. An encoding we did not offer passes through untouched.
    pub(crate) fn new(headers: &HeaderMap, out: &'a mut dyn BodyBuffer, limit: u64) -> Result<Self, BodyError> {
        let encoding = encoding(headers).filter(|name| out.decompresses(name));
        let sink = Bounded { out, limit, full: false };
        Ok(match encoding {
            Some("gzip") => Self::Gzip(Box::new(MultiGzDecoder::new(sink))),
            Some("deflate") => Self::DeflateUndecided(Vec::with_capacity(2), sink),
            Some("zstd") => {
                let failed = |e: io::Error| BodyError::Decode { encoding: "zstd", detail: e.to_string() };
                let mut decoder = zstd::stream::write::Decoder::new(sink).map_err(failed)?;
                decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
                Self::Zstd(Box::new(decoder))
            }
            _ => Self::Plain(sink),
        })
    }

    /// Takes the next bytes off the wire.
    pub(crate) fn push(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let result = match self {
            Self::Plain(sink) => sink.write_all(bytes),
            Self::Gzip(d) => d.write_all(bytes),
            Self::Zlib(d) => d.write_all(bytes),
            Self::RawDeflate(d) => d.write_all(bytes),
            Self::Zstd(d) => d.write_all(bytes),
            Self::DeflateUndecided(..) => return self.decide(bytes),
            Self::Moving => Ok(()),
        };
        result.map_err(|e| self.blame(&e))
    }

    fn decide(&mut self, bytes: &[u8]) -> Result<(), BodyError> {
        let Self::DeflateUndecided(mut seen, sink) = std::mem::replace(self, Self::Moving) else {
            return Ok(());
        };
        seen.extend_from_slice(bytes);
        let &[first, second, ..] = seen.as_slice() else {
            *self = Self::DeflateUndecided(seen, sink);
            return Ok(());
        };
        let zlib = first & 0x0f == 8 && (u16::from(first) << 8 | u16::from(second)).is_multiple_of(31);
        *self = if zlib {
            Self::Zlib(Box::new(ZlibDecoder::new(sink)))
        } else {
            Self::RawDeflate(Box::new(DeflateDecoder::new(sink)))
        };
        self.push(&seen)
    }

    /// The body is complete: a decoder that expects more says so.
    pub(crate) fn finish(mut self) -> Result<(), BodyError> {
        let result = match &mut self {
            Self::Plain(_) | Self::Moving => Ok(()),
            Self::Gzip(d) => d.try_finish(),
            Self::Zlib(d) => d.try_finish(),
            Self::RawDeflate(d) => d.try_finish(),
            Self::Zstd(d) => d.flush(),
            Self::DeflateUndecided(seen, sink) => {
                let seen = std::mem::take(seen);
                sink.write_all(&seen)
            }
        };
        result.map_err(|e| self.blame(&e))
    }

    fn blame(&self, error: &io::Error) -> BodyError {
        let (full, encoding) = match self {
            Self::Plain(s) | Self::DeflateUndecided(_, s) => (s.full, "identity"),
            Self::Gzip(d) => (d.get_ref().full, "gzip"),
            Self::Zlib(d) => (d.get_ref().full, "deflate"),
            Self::RawDeflate(d) => (d.get_ref().full, "deflate"),
            Self::Zstd(d) => (d.get_ref().full, "zstd"),
            Self::Moving => (false, "deflate"),
        };
        if full { BodyError::TooLarge } else { BodyError::Decode { encoding, detail: error.to_string() } }
    }
}

/// The content encoding we can undo, if the answer names one.
pub(crate) fn encoding(headers: &HeaderMap) -> Option<&'static str> {
    let value = headers.get(CONTENT_ENCODING).and_then(|v: &HeaderValue| v.to_str().ok())?.trim();
    match () {
        () if value.eq_ignore_ascii_case("gzip") || value.eq_ignore_ascii_case("x-gzip") => Some("gzip"),
        () if value.eq_ignore_ascii_case("deflate") => Some("deflate"),
        () if value.eq_ignore_ascii_case("zstd") => Some("zstd"),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::{Compression, write};

    fn headers(encoding: &str) -> HeaderMap {
        let mut map = HeaderMap::new();
        map.insert(CONTENT_ENCODING, encoding.parse().unwrap());
        map
    }

    fn read(encoding: &str, wire: &[u8], chunk: usize, limit: u64) -> Result<Vec<u8>, BodyError> {
        let mut out = Vec::new();
        let mut reader = BodyReader::new(&headers(encoding), &mut out, limit)?;
        for piece in wire.chunks(chunk) {
            reader.push(piece)?;
        }
        reader.finish()?;
        Ok(out)
    }

    fn text() -> Vec<u8> {
        (0..5000u32).flat_map(|i| format!("metric_{} {}\n", i % 37, i).into_bytes()).collect()
    }

    fn encoded(encoding: &str, text: &[u8]) -> Vec<u8> {
        match encoding {
            "gzip" => {
                let mut e = write::GzEncoder::new(Vec::new(), Compression::default());
                e.write_all(text).unwrap();
                e.finish().unwrap()
            }
            "deflate" => {
                let mut e = write::ZlibEncoder::new(Vec::new(), Compression::default());
                e.write_all(text).unwrap();
                e.finish().unwrap()
            }
            "raw" => {
                let mut e = write::DeflateEncoder::new(Vec::new(), Compression::default());
                e.write_all(text).unwrap();
                e.finish().unwrap()
            }
            _ => zstd::encode_all(text, 3).unwrap(),
        }
    }

    #[test]
    fn every_encoding_comes_back_whatever_the_chunks() {
        let text = text();
        for (name, sent) in [("gzip", "gzip"), ("deflate", "deflate"), ("raw", "deflate"), ("zstd", "zstd")] {
            let wire = encoded(name, &text);
            for chunk in [1, 2, 7, 4096, wire.len()] {
                assert_eq!(read(sent, &wire, chunk, 1 << 20).unwrap(), text, "{name} by {chunk}");
            }
        }
        assert_eq!(
            read("snappy", b"\x01abc", 1, 100).unwrap(),
            b"\x01abc",
            "an encoding we did not offer passes through"
        );
        assert_eq!(
            read("gzip", &[encoded("gzip", b"a"), encoded("gzip", b"b")].concat(), 3, 10).unwrap(),
            b"ab",
            "two gzip members"
        );
    }

    #[test]
    fn a_bomb_stops_at_the_limit() {
        let zeros = vec![0u8; 8 << 20];
        for name in ["gzip", "deflate", "zstd"] {
            let wire = encoded(name, &zeros);
            assert!(wire.len() < 64 << 10);
            let mut out = Vec::new();
            let mut reader = BodyReader::new(&headers(name), &mut out, 1000).unwrap();
            assert!(matches!(reader.push(&wire), Err(BodyError::TooLarge)), "{name}");
            drop(reader);
            assert_eq!(out.len(), 1000, "{name}");
            assert!(out.capacity() < 1 << 20, "{name}");
        }
    }

    #[test]
    fn cut_and_garbled_bodies_are_errors() {
        for name in ["gzip", "deflate"] {
            let wire = encoded(name, &text());
            assert!(
                matches!(read(name, &wire[..wire.len() / 2], 512, 1 << 20), Err(BodyError::Decode { .. })),
                "cut {name}"
            );
        }
        for name in ["gzip", "zstd"] {
            assert!(
                matches!(read(name, b"this is not compressed at all", 512, 1 << 20), Err(BodyError::Decode { .. })),
                "{name}"
            );
        }
    }

    /// Grants a thousand bytes and takes gzip only.
    struct Narrow(Vec<u8>);

    impl BodyBuffer for Narrow {
        fn bytes(&mut self) -> &mut Vec<u8> {
            &mut self.0
        }

        fn make_room(&mut self, more: usize, _: usize) -> bool {
            self.0.len() + more <= 1000
        }

        fn decompresses(&self, encoding: &str) -> bool {
            encoding == "gzip"
        }
    }

    #[test]
    fn a_buffer_that_refuses_room_stops_the_body_and_an_encoding_it_does_not_want_passes_through() {
        let text = text();
        let mut narrow = Narrow(Vec::new());
        let mut reader = BodyReader::new(&headers("gzip"), &mut narrow, 1 << 20).unwrap();
        assert!(matches!(reader.push(&encoded("gzip", &text)), Err(BodyError::TooLarge)));
        drop(reader);
        assert!(narrow.0.len() <= 1000 && text.starts_with(&narrow.0));

        let wire = encoded("zstd", b"short");
        let mut narrow = Narrow(Vec::new());
        let mut reader = BodyReader::new(&headers("zstd"), &mut narrow, 1 << 20).unwrap();
        reader.push(&wire).unwrap();
        reader.finish().unwrap();
        assert_eq!(narrow.0, wire);
    }

    #[test]
    fn a_body_of_exactly_the_limit_is_accepted() {
        assert_eq!(read("identity", b"12345", 2, 5).unwrap(), b"12345");
        assert!(matches!(read("identity", b"123456", 2, 5), Err(BodyError::TooLarge)));
    }
}
