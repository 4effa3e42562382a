//! The name of a context: a hash of its bytes.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// XXH3-128 of a context's encoded bytes, little-endian. Equal keys mean equal bytes.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ContextKey(pub [u8; 16]);

impl ContextKey {
    /// Names nothing: a batch chunk coded against zeros carries it instead of a base.
    pub const NONE: Self = Self([0; 16]);

    pub fn of(bytes: &[u8]) -> Self {
        Self(xxh3_128(bytes).to_le_bytes())
    }

    pub fn is_none(&self) -> bool {
        *self == Self::NONE
    }
}

impl fmt::Display for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for ContextKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
