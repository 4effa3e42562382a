//! Undoes compression within limits of size and memory.
//!
//! Keeps true: a bomb costs what the limit allows and no more, since output is taken in steps and memory is asked for first.

use std::io::{self, Read};

use flate2::bufread::MultiGzDecoder;
use pipeline::OtlpBuffer;

use crate::{refusal::Refusal, room::Held};

/// How a request, or a gRPC message, is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Packing {
    None,
    Gzip,
    Deflate,
    Zstd,
}

/// What is offered in answers: `grpc-accept-encoding`.
pub(crate) const PACKINGS: &str = "identity,gzip,zstd,deflate";

/// The window of a zstd frame is memory that the frame asks for: 8 MiB is what common encoders use at most.
const ZSTD_WINDOW_LOG: u32 = 23;

const STEP: usize = 32 << 10;

impl Packing {
    /// By its name in `content-encoding` or `grpc-encoding`.
    pub(crate) fn named(name: &str) -> Result<Self, Refusal> {
        // Content codings are case-insensitive (RFC 9110, 8.4.1).
        match name.trim().to_ascii_lowercase().as_str() {
            "" | "identity" | "none" => Ok(Self::None),
            "gzip" | "x-gzip" => Ok(Self::Gzip),
            "deflate" | "zlib" => Ok(Self::Deflate),
            "zstd" => Ok(Self::Zstd),
            other => {
                let short: String = other.chars().take(40).collect();
                Err(Refusal::Unsupported(format!("the compression {short:?} is not known here: use {PACKINGS}")))
            }
        }
    }

    /// The name that [`Packing::named`] knows.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::None => "identity",
            Self::Gzip => "gzip",
            Self::Deflate => "deflate",
            Self::Zstd => "zstd",
        }
    }
}

/// Unpacks all of `packed`. The memory of the result is added to `held`.
pub(crate) fn unpack(packed: &[u8], packing: Packing, limit: usize, held: &mut Held) -> Result<OtlpBuffer, Refusal> {
    let failed = |error: io::Error| {
        let why = error.to_string();
        let short: String = why.chars().take(120).collect();
        Refusal::Malformed(format!("the request is not whole {}: {short}", packing.word()))
    };
    match packing {
        Packing::None => {
            let mut whole = OtlpBuffer::with_capacity(0);
            grow(&mut whole, packed.len(), limit, held)?;
            whole.extend(packed);
            Ok(whole)
        }
        Packing::Gzip => drain(MultiGzDecoder::new(packed), packed.len(), limit, held, failed),
        Packing::Deflate => drain(flate2::bufread::ZlibDecoder::new(packed), packed.len(), limit, held, failed),
        Packing::Zstd => {
            let mut decoder = zstd::stream::read::Decoder::with_buffer(packed).map_err(failed)?;
            decoder.window_log_max(ZSTD_WINDOW_LOG).map_err(failed)?;
            drain(decoder, packed.len(), limit, held, failed)
        }
    }
}

fn drain(
    mut decoder: impl Read,
    packed: usize,
    limit: usize,
    held: &mut Held,
    failed: impl Fn(io::Error) -> Refusal,
) -> Result<OtlpBuffer, Refusal> {
    let mut whole = OtlpBuffer::with_capacity(0);
    grow(&mut whole, packed.saturating_mul(4).min(limit), limit, held)?;
    let mut step = [0; STEP];
    loop {
        let read = match decoder.read(&mut step) {
            Ok(0) => return Ok(whole),
            Ok(read) => read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(failed(error)),
        };
        let needed = whole.len() + read;
        if needed > limit {
            return Err(Refusal::TooLarge { limit });
        }
        grow(&mut whole, needed, limit, held)?;
        whole.extend(step.get(..read).unwrap_or_default());
    }
}

/// Makes room for `needed` bytes in all, and for some more if there is a lot already.
pub(crate) fn grow(buffer: &mut OtlpBuffer, needed: usize, most: usize, held: &mut Held) -> Result<(), Refusal> {
    let capacity = buffer.capacity();
    if needed < capacity {
        return Ok(());
    }
    let wanted = needed.max(capacity.saturating_mul(2).min(most));
    // While it moves, both copies may be there.
    held.more(wanted)?;
    buffer.reserve(wanted - buffer.len());
    held.less(capacity);
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::room::BodyRoom;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zlib(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    fn zstd(bytes: &[u8]) -> Vec<u8> {
        zstd::stream::encode_all(bytes, 1).unwrap()
    }

    #[test]
    fn every_packing_is_undone_and_its_memory_counted() {
        let text: Vec<u8> = (0..200_000u32).flat_map(|number| number.to_le_bytes()).collect();
        let room = BodyRoom::new(16 << 20);
        for (packing, packed) in [
            (Packing::None, text.clone()),
            (Packing::Gzip, gzip(&text)),
            (Packing::Deflate, zlib(&text)),
            (Packing::Zstd, zstd(&text)),
        ] {
            let mut held = room.hold();
            let whole = unpack(&packed, packing, 1 << 20, &mut held).unwrap();
            assert!(whole.body() == text, "{packing:?}");
            // The queue's version byte in front is counted or not.
            assert!((16 << 20) - room.left() + 1 >= text.len(), "{packing:?}");
            drop(held);
            assert_eq!(room.left(), 16 << 20);
        }
    }

    #[test]
    fn a_bomb_is_refused_at_the_limit_and_memory_at_the_rooms() {
        let zeros = vec![0; 8 << 20];
        for (packing, packed) in
            [(Packing::Gzip, gzip(&zeros)), (Packing::Deflate, zlib(&zeros)), (Packing::Zstd, zstd(&zeros))]
        {
            let room = BodyRoom::default();
            let told = unpack(&packed, packing, 1 << 20, &mut room.hold()).unwrap_err();
            assert_eq!(told, Refusal::TooLarge { limit: 1 << 20 }, "{packing:?}");
            let room = BodyRoom::new(1 << 20);
            let told = unpack(&packed, packing, 16 << 20, &mut room.hold()).unwrap_err();
            assert_eq!(told, Refusal::Heavy { limit: (1 << 20) / 4 * 3 }, "{packing:?}");
        }
    }

    #[test]
    fn what_is_cut_or_no_packing_at_all_is_malformed() {
        let room = BodyRoom::default();
        let text = b"some text that is long enough to be cut".repeat(10);
        for (packing, packed) in
            [(Packing::Gzip, gzip(&text)), (Packing::Deflate, zlib(&text)), (Packing::Zstd, zstd(&text))]
        {
            for bytes in [&packed[..packed.len() - 5], b"plain"] {
                let told = unpack(bytes, packing, 1 << 20, &mut room.hold()).unwrap_err();
                assert!(matches!(&told, Refusal::Malformed(why) if why.contains(packing.word())), "{told:?}");
            }
        }
        assert!(matches!(Packing::named("br"), Err(Refusal::Unsupported(_))));
        for (name, packing) in [("GZip", Packing::Gzip), (" ZSTD", Packing::Zstd), ("Identity", Packing::None)] {
            assert_eq!(Packing::named(name).ok(), Some(packing), "{name}");
        }
    }
}
