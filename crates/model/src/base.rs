//! Values of an earlier scrape that batches are coded against. Knows nothing of series: index i is series i.

use bytes::Bytes;

use crate::{
    ContextKey, ModelError, column, envelope,
    wire::{Cursor, put_len},
};

const PART: &str = "a base vector";
/// More than any table has series.
const MAX_VALUES: usize = 4096;

/// Immutable. A base may be shorter than its table: what is missing counts as zero. The empty base is not a context.
#[derive(Debug, Clone)]
pub struct BaseVector {
    key: ContextKey,
    bytes: Bytes,
    values: Vec<f64>,
}

impl Default for BaseVector {
    fn default() -> Self {
        Self::none()
    }
}

impl BaseVector {
    pub fn new(mut values: Vec<f64>) -> Self {
        values.truncate(MAX_VALUES);
        values.shrink_to_fit();
        if values.is_empty() {
            return Self::none();
        }
        let mut body = Vec::with_capacity(values.len() * 4);
        put_len(&mut body, values.len());
        column::encode(&values, &[], &mut body);
        let bytes = envelope::seal(&body);
        Self { key: ContextKey::of(&bytes), bytes, values }
    }

    /// Zeros without end; costs a batch nothing.
    pub fn none() -> Self {
        Self { key: ContextKey::NONE, bytes: Bytes::new(), values: Vec::new() }
    }

    pub fn is_none(&self) -> bool {
        self.values.is_empty()
    }

    /// Errors: any bytes that [`BaseVector::new`] does not make.
    pub fn decode(bytes: &[u8]) -> Result<Self, ModelError> {
        let mut scratch = Vec::new();
        let mut cursor = Cursor::new(envelope::open(bytes, PART, &mut scratch)?, PART);
        let count = cursor.count(MAX_VALUES)?;
        let mut values = vec![0.0; count];
        column::decode(&mut cursor, &mut values)?;
        if !cursor.is_empty() {
            return Err(cursor.corrupt("bytes follow the last value"));
        }
        Ok(Self { key: ContextKey::of(bytes), bytes: Bytes::copy_from_slice(bytes), values })
    }

    pub fn key(&self) -> ContextKey {
        self.key
    }

    /// The context's bytes; empty for [`BaseVector::none`].
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    pub fn values(&self) -> &[f64] {
        &self.values
    }

    /// Bytes of heap held, for memory accounting.
    pub fn heap_bytes(&self) -> usize {
        self.bytes.len() + self.values.capacity() * size_of::<f64>()
    }
}
