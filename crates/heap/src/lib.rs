//! How the system's allocator is to behave, said once when the process starts.
//!
//! glibc gives each thread that finds the others busy a heap of its own, up to eight a core, and a heap keeps the most it
//! ever held. What waits in memory for a dead destination moves from one heap to the next with each eviction: in the soak
//! test anonymous memory rose from 11 to 19 MiB in 25 minutes and went on rising; with two heaps it stays at 11.7, with one
//! at 10.5, at the same CPU (docs/performance.md). This crate refuses everything else: it replaces no allocator and reads
//! no variable. Whoever sets `MALLOC_ARENA_MAX` has said so himself, and is left alone.
//!
//! The one unsafe call of the workspace. Miri cannot run it (a foreign function). Why it is sound: `mallopt` takes two
//! integers, hands out no memory and keeps no pointer of ours; it is documented to be called before threads are made, and
//! [`few_arenas`] says so (mallopt(3)).

/// Heaps that threads share: one for each of the two cores the agent is made for.
pub const ARENAS: u8 = 2;

/// Lets the allocator make at most [`ARENAS`] heaps. To be called first in `main`, before any thread is started: heaps that
/// are there stay. False where the allocator is another one, refuses, or where `MALLOC_ARENA_MAX` is set.
pub fn few_arenas() -> bool {
    if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
        return false;
    }
    limit()
}

#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn limit() -> bool {
    #[allow(unsafe_code, reason = "the crate's page says why it is needed and why it is sound")]
    // SAFETY: two integers in, one out; no memory is handed over in either direction.
    let set = unsafe { libc::mallopt(libc::M_ARENA_MAX, libc::c_int::from(ARENAS)) };
    set == 1
}

#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn limit() -> bool {
    false
}

#[cfg(test)]
mod tests {
    /// The maps of this process that glibc makes for a heap: 64 MiB reserved, most of it without access.
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn heaps() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("maps");
        let mut ends = Vec::new();
        for line in maps.lines() {
            let Some((range, rest)) = line.split_once(' ') else { continue };
            let Some((from, to)) = range.split_once('-') else { continue };
            let at = |text| u64::from_str_radix(text, 16).expect("an address");
            // A heap is aligned to its size and begins with its written part.
            if at(from) % (64 << 20) == 0 && rest.starts_with("rw-p 00000000 00:00 0") && !rest.contains('[') {
                ends.push(at(to));
            }
        }
        ends.len()
    }

    #[test]
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    fn many_threads_share_two_heaps() {
        if std::env::var_os("MALLOC_ARENA_MAX").is_some() {
            assert!(!super::few_arenas());
            return;
        }
        assert!(super::few_arenas());
        let before = heaps();
        let together = std::sync::Barrier::new(12);
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    together.wait();
                    let held: Vec<Vec<u8>> = (0..2000).map(|n| vec![1; 100 + n % 900]).collect();
                    together.wait();
                    assert_eq!(held.len(), 2000);
                    // All threads are alive here, and each has taken memory while the others did.
                    assert!(heaps() <= before + usize::from(super::ARENAS), "{} heaps, {before} before", heaps());
                    together.wait();
                });
            }
        });
    }
}
