//! The memory of base vectors: decoded once, shared by every destination of the process.
//!
//! Bounded in bytes; forgets what was not used for longest. It reads nothing itself.

use std::sync::Arc;

use hashbrown::HashMap;
use model::{BaseVector, ContextKey};
use parking_lot::Mutex;

/// A shared, bounded cache of base vectors by key. Clones share the memory.
#[derive(Debug, Clone)]
pub struct BaseVectors(Arc<Mutex<Cache>>);

#[derive(Debug)]
struct Cache {
    vectors: HashMap<ContextKey, Entry>,
    bytes: usize,
    max_bytes: usize,
    /// Counts uses; stands for time.
    now: u64,
}

#[derive(Debug)]
struct Entry {
    vector: Arc<BaseVector>,
    bytes: usize,
    last_used: u64,
}

impl Default for BaseVectors {
    /// 32 MiB: about four million series' bases.
    fn default() -> Self {
        Self::new(32 << 20)
    }
}

impl BaseVectors {
    /// A cache of at most `max_bytes` (a single larger vector is passed through, not kept).
    pub fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(Cache { vectors: HashMap::new(), bytes: 0, max_bytes, now: 0 })))
    }

    /// The vector under `key`, if it is remembered.
    pub fn get(&self, key: &ContextKey) -> Option<Arc<BaseVector>> {
        let mut cache = self.0.lock();
        cache.now += 1;
        let now = cache.now;
        let entry = cache.vectors.get_mut(key)?;
        entry.last_used = now;
        Some(Arc::clone(&entry.vector))
    }

    /// Remembers a vector.
    pub fn put(&self, vector: &Arc<BaseVector>) {
        let bytes = vector.heap_bytes() + size_of::<Entry>() + 64;
        let mut cache = self.0.lock();
        if bytes > cache.max_bytes {
            return;
        }
        cache.now += 1;
        let entry = Entry { vector: Arc::clone(vector), bytes, last_used: cache.now };
        cache.bytes += bytes;
        if let Some(old) = cache.vectors.insert(vector.key(), entry) {
            cache.bytes -= old.bytes;
        }
        if cache.bytes > cache.max_bytes {
            cache.forget_the_oldest();
        }
    }

    /// Bytes held.
    pub fn memory(&self) -> usize {
        self.0.lock().bytes
    }
}

impl Cache {
    /// Down to three quarters, so that the sort is paid once in many insertions.
    fn forget_the_oldest(&mut self) {
        let mut uses: Vec<(u64, usize)> = self.vectors.values().map(|entry| (entry.last_used, entry.bytes)).collect();
        uses.sort_unstable();
        let target = self.max_bytes / 4 * 3;
        let mut left = self.bytes;
        let mut newest_to_go = 0;
        for (last_used, bytes) in uses {
            if left <= target {
                break;
            }
            left -= bytes;
            newest_to_go = last_used;
        }
        self.vectors.retain(|_, entry| entry.last_used > newest_to_go);
        self.bytes = left;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn vector(seed: f64) -> Arc<BaseVector> {
        Arc::new(BaseVector::new((0..100).map(|i| seed + f64::from(i)).collect()))
    }

    #[test]
    fn it_stays_within_its_bytes_and_forgets_the_longest_unused() {
        let cache = BaseVectors::new(20_000);
        let first = vector(0.5);
        cache.put(&first);
        for seed in 1..200 {
            cache.put(&vector(f64::from(seed) * 1000.0));
            assert!(cache.get(&first.key()).is_some(), "it is used all the time");
            assert!(cache.memory() <= 20_000);
        }
        assert!(cache.get(&vector(1000.0).key()).is_none());
        assert!(cache.get(&vector(199_000.0).key()).is_some());
    }

    #[test]
    fn the_same_vector_twice_counts_once() {
        let cache = BaseVectors::new(20_000);
        cache.put(&vector(1.0));
        let once = cache.memory();
        cache.put(&vector(1.0));
        assert_eq!(cache.memory(), once);
    }
}
