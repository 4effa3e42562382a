//! How a context lies in a segment: version, codec, body. Zstandard is used only where it pays.

use bytes::Bytes;

use crate::{
    ModelError,
    wire::{Cursor, put_len},
};

const VERSION: u8 = 1;
const PLAIN: u8 = 0;
const ZSTD: u8 = 1;
/// Below this a frame header eats what compression saves.
const WORTH_TRYING: usize = 64;
/// Largest body a reader will unpack. A table of 512 series stays far below it; see `table::builder`.
pub(crate) const MAX_BODY: usize = 8 << 20;

/// Version, codec, and the body, compressed if that saves a tenth.
pub(crate) fn seal(body: &[u8]) -> Bytes {
    if body.len() >= WORTH_TRYING
        && let Ok(packed) = zstd::bulk::compress(body, 1)
        && packed.len() < body.len() - body.len() / 10
    {
        let mut out = Vec::with_capacity(packed.len() + 8);
        out.extend_from_slice(&[VERSION, ZSTD]);
        put_len(&mut out, body.len());
        out.extend_from_slice(&packed);
        out.shrink_to_fit();
        return Bytes::from(out);
    }
    let mut out = Vec::with_capacity(body.len() + 2);
    out.extend_from_slice(&[VERSION, PLAIN]);
    out.extend_from_slice(body);
    Bytes::from(out)
}

/// The body of what `seal` made; `scratch` holds it if it was compressed.
pub(crate) fn open<'a>(bytes: &'a [u8], part: &'static str, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], ModelError> {
    let mut cursor = Cursor::new(bytes, part);
    let version = cursor.byte()?;
    if version != VERSION {
        return Err(ModelError::Version { part, found: version });
    }
    match cursor.byte()? {
        PLAIN => Ok(cursor.rest()),
        ZSTD => {
            let len = cursor.count(MAX_BODY)?;
            *scratch = zstd::bulk::decompress(cursor.rest(), len)
                .map_err(|_| cursor.corrupt("the compressed body does not decompress"))?;
            if scratch.len() != len {
                return Err(cursor.corrupt("the compressed body has another size than stated"));
            }
            Ok(scratch)
        }
        _ => Err(cursor.corrupt("unknown compression")),
    }
}
