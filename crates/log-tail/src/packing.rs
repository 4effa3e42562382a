//! Compressed files: what they are by their first bytes, and their text as a stream.

use std::{
    fs::File,
    io::{self, BufReader, Read},
};

/// What is said of a file that begins like a compressed one where no `decompression` is set.
pub const LOOKS_COMPRESSED: &str = "looks compressed: set decompression, or exclude it";

/// How a file is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    Gzip,
    Zlib,
    Bzip2,
    Zstd,
}

impl Packing {
    /// By the names of `decompression.format` (`gz`, `z`, `bz2`) and `zst`, `zstd`.
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "gz" | "gzip" => Some(Self::Gzip),
            "z" | "zlib" => Some(Self::Zlib),
            "bz2" | "bzip2" => Some(Self::Bzip2),
            "zst" | "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// What the first bytes say, of the formats that have a signature worth the name.
    pub fn of(head: &[u8]) -> Option<Self> {
        match head {
            [0x1f, 0x8b, 8, ..] => Some(Self::Gzip),
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Some(Self::Bzip2),
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Some(Self::Zstd),
            _ => None,
        }
    }

    /// Whether a file with these first bytes may be of this format. zlib has a checksum of two bytes only.
    pub(crate) fn fits(self, head: &[u8]) -> bool {
        match (self, head) {
            (Self::Zlib, [cmf, flags, ..]) => {
                cmf & 0x0f == 8 && cmf >> 4 <= 7 && (u16::from(*cmf) << 8 | u16::from(*flags)) % 31 == 0
            }
            _ => Self::of(head) == Some(self),
        }
    }

    /// The text of a file, from its beginning. Files of several parts in a row are read through.
    pub(crate) fn unpack(self, file: File) -> io::Result<Box<dyn Read + Send>> {
        let file = BufReader::with_capacity(64 << 10, file);
        Ok(match self {
            Self::Gzip => Box::new(flate2::bufread::MultiGzDecoder::new(file)),
            Self::Zlib => Box::new(flate2::bufread::ZlibDecoder::new(file)),
            Self::Bzip2 => Box::new(bzip2::bufread::MultiBzDecoder::new(file)),
            Self::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(file)?;
                // 128 MiB: what the zstd tool makes with --long; more would let a file choose our memory.
                decoder.window_log_max(27)?;
                Box::new(decoder)
            }
        })
    }
}

/// Reads until `buf` is full or the text ends.
pub(crate) fn fill(from: &mut dyn Read, buf: &mut [u8]) -> io::Result<usize> {
    match fill_until(from, buf) {
        (n, None) => Ok(n),
        (_, Some(error)) => Err(error),
    }
}

/// The same; what was read before an error counts.
pub(crate) fn fill_until(from: &mut dyn Read, buf: &mut [u8]) -> (usize, Option<io::Error>) {
    let mut at = 0;
    while let Some(rest) = buf.get_mut(at..).filter(|rest| !rest.is_empty()) {
        match from.read(rest) {
            Ok(0) => break,
            Ok(n) => at += n,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return (at, Some(error)),
        }
    }
    (at, None)
}
