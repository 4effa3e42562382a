//! Unpacks an object while it arrives: bytes in, pieces of text out, on a thread of its own.
//!
//! Keeps true: between the two sides lie two pieces each way at most, whatever an object expands to.

use std::io::{self, Read};

use bytes::Bytes;
use tokio::sync::mpsc;

/// How an object is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ObjectCompression {
    /// As its first bytes say.
    #[default]
    Auto,
    None,
    Gzip,
    Zstd,
}

/// Bytes of an unpacked piece.
const PIECE: usize = 64 << 10;
/// A zstd frame that needs a larger window (2^27) is refused: it would be that much memory.
const WINDOW_LOG: u32 = 27;

/// The side of whoever fetches.
pub(super) type PackedSender = mpsc::Sender<Bytes>;
/// The side of whoever reads. An error ends it.
pub(super) type Unpacked = mpsc::Receiver<io::Result<Vec<u8>>>;

pub(super) fn start(compression: ObjectCompression) -> (PackedSender, Unpacked) {
    let (packed, input) = mpsc::channel(2);
    let (output, unpacked) = mpsc::channel(2);
    tokio::task::spawn_blocking(move || {
        let input = Arriving { input, piece: Bytes::new() };
        if let Err(error) = unpack(input, compression, &output) {
            // Nobody may be listening any more.
            let _ = output.blocking_send(Err(error));
        }
    });
    (packed, unpacked)
}

struct Arriving {
    input: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.input.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let len = out.len().min(self.piece.len());
        let now = self.piece.split_to(len);
        if let Some(out) = out.get_mut(..len) {
            out.copy_from_slice(&now);
        }
        Ok(len)
    }
}

fn unpack(
    mut input: Arriving,
    compression: ObjectCompression,
    output: &mpsc::Sender<io::Result<Vec<u8>>>,
) -> io::Result<()> {
    let mut head = Vec::with_capacity(4);
    (&mut input).take(4).read_to_end(&mut head)?;
    let compression = match compression {
        ObjectCompression::Auto if head.starts_with(&[0x1f, 0x8b]) => ObjectCompression::Gzip,
        ObjectCompression::Auto if head == [0x28, 0xb5, 0x2f, 0xfd] => ObjectCompression::Zstd,
        ObjectCompression::Auto => ObjectCompression::None,
        known => known,
    };
    let input = io::Cursor::new(head).chain(input);
    match compression {
        ObjectCompression::Gzip => copy(flate2::read::MultiGzDecoder::new(input), output),
        ObjectCompression::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::new(input)?;
            decoder.window_log_max(WINDOW_LOG)?;
            copy(decoder, output)
        }
        ObjectCompression::Auto | ObjectCompression::None => copy(input, output),
    }
}

fn copy(mut reader: impl Read, output: &mpsc::Sender<io::Result<Vec<u8>>>) -> io::Result<()> {
    loop {
        let mut piece = vec![0; PIECE];
        let len = match reader.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(len) => len,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        piece.truncate(len);
        if output.blocking_send(Ok(piece)).is_err() {
            return Ok(());
        }
    }
}
