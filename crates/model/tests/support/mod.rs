//! A small store of contexts, and batches that own their columns.

#![allow(dead_code)] // each test file uses its own part of it

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use model::{BaseVector, ContextKey, DecodedChunk, Labels, MetricBatch, ModelError, decode_batch};

pub fn labels(pairs: &[(&str, &str)]) -> Labels {
    pairs.iter().copied().collect()
}

/// Encodes a batch and decodes it with nothing but the bytes it named.
pub fn through_bytes(batch: &MetricBatch<'_>) -> (Vec<u8>, Vec<DecodedChunk>) {
    let mut payload = Vec::new();
    batch.encode(&mut payload);
    let contexts: HashMap<ContextKey, Bytes> = batch.contexts().collect();
    let chunks = decode_with(&payload, &contexts).expect("own bytes decode");
    assert_eq!(chunks.iter().map(DecodedChunk::items).sum::<usize>(), batch.items() as usize);
    (payload, chunks)
}

pub fn decode_with(payload: &[u8], contexts: &HashMap<ContextKey, Bytes>) -> Result<Vec<DecodedChunk>, ModelError> {
    decode_batch(payload, &mut |key| {
        let bytes = contexts.get(key).ok_or(ModelError::MissingContext { key: *key })?;
        BaseVector::decode(bytes).map(Arc::new)
    })
}
