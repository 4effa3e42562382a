//! Where a source stood after the entries of a batch: position and data become durable in the same write.
//!
//! Opaque to everyone but the source that wrote it.

use crate::{
    ModelError,
    wire::{Cursor, put_len, put_varint},
};

/// A source's position after a batch.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct SourceMark {
    /// Names the source within its route: a path, `cursor-<job>` and the like.
    pub key: String,
    /// For sources that count otherwise than in bytes of a file (a journal's cursor, a time).
    pub cursor: String,
    /// For files.
    pub file: Option<FileMark>,
}

/// A position in a file, with what tells the file from another one under the same path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct FileMark {
    pub device: u64,
    pub inode: u64,
    /// Hash of the file's first `head_len` bytes.
    pub head: u64,
    pub head_len: u32,
    /// Bytes of the file, as stored there, that need not be read again.
    pub offset: u64,
}

/// Longest text of a mark that is read back.
const MAX_TEXT: usize = 64 << 10;

impl SourceMark {
    pub(super) fn put(&self, out: &mut Vec<u8>) {
        for text in [&self.key, &self.cursor] {
            put_len(out, text.len());
            out.extend_from_slice(text.as_bytes());
        }
        out.push(u8::from(self.file.is_some()));
        if let Some(file) = &self.file {
            for number in [file.device, file.inode, file.head, u64::from(file.head_len), file.offset] {
                put_varint(out, number);
            }
        }
    }

    pub(super) fn get(cursor: &mut Cursor<'_>) -> Result<Self, ModelError> {
        let mut text = || -> Result<String, ModelError> {
            let len = cursor.count(MAX_TEXT)?;
            let bytes = cursor.take(len)?;
            Ok(str::from_utf8(bytes).map_err(|_| cursor.corrupt("a source mark is not UTF-8"))?.to_owned())
        };
        let (key, mark_cursor) = (text()?, text()?);
        let file = match cursor.byte()? {
            0 => None,
            1 => {
                let (device, inode, head) = (cursor.varint()?, cursor.varint()?, cursor.varint()?);
                let head_len =
                    u32::try_from(cursor.varint()?).map_err(|_| cursor.corrupt("a source mark's head is too long"))?;
                Some(FileMark { device, inode, head, head_len, offset: cursor.varint()? })
            }
            _ => return Err(cursor.corrupt("a source mark of an unknown kind")),
        };
        Ok(Self { key, cursor: mark_cursor, file })
    }
}
