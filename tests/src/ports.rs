//! Ports on loopback that no other test has: the agent is told a port before it listens there.
//!
//! A port the kernel hands out and takes back at once is anybody's: another test, or any connection that is being
//! opened, may have it before the agent does. So ports come from below the range connections are opened from, and a
//! locked file per port says which test process has it until that process ends.

use std::{
    fs::{self, File},
    io,
    net::{TcpListener, UdpSocket},
    path::PathBuf,
    sync::Mutex,
};

/// Below Linux's default `ip_local_port_range`, above what services of a machine commonly use.
const FIRST: u16 = 12_000;
const LAST: u16 = 32_000;

/// What this process has; the locks go when it ends.
static TAKEN: Mutex<Vec<(u16, File)>> = Mutex::new(Vec::new());

/// A port nobody listens on, for TCP and for UDP, which stays with this process until it ends.
pub fn free_port() -> io::Result<u16> {
    let directory = directory()?;
    let mut taken = TAKEN.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let count = u32::from(LAST - FIRST);
    // Processes begin at different places, so that they seldom ask for the same one.
    let start = std::process::id().wrapping_mul(61).wrapping_add(taken.len() as u32) % count;
    for step in 0..count {
        let Ok(offset) = u16::try_from((start + step) % count) else { continue };
        let port = FIRST + offset;
        if taken.iter().any(|(p, _)| *p == port) {
            continue;
        }
        let file = File::options().create(true).append(true).open(directory.join(port.to_string()))?;
        if file.try_lock().is_err() || !is_free(port) {
            continue;
        }
        taken.push((port, file));
        return Ok(port);
    }
    Err(io::Error::new(io::ErrorKind::AddrInUse, format!("no port from {FIRST} to {LAST} is free")))
}

fn is_free(port: u16) -> bool {
    TcpListener::bind(("127.0.0.1", port)).is_ok() && UdpSocket::bind(("127.0.0.1", port)).is_ok()
}

/// One per user: a file of somebody else could not be opened.
fn directory() -> io::Result<PathBuf> {
    let user = std::os::unix::fs::MetadataExt::uid(&fs::metadata("/proc/self")?);
    let directory = std::env::temp_dir().join(format!("sigpost-test-ports-{user}"));
    fs::create_dir_all(&directory)?;
    Ok(directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_port_is_given_twice() {
        let threads: Vec<_> =
            (0..8).map(|_| std::thread::spawn(|| (0..20).map(|_| free_port().unwrap()).collect::<Vec<_>>())).collect();
        let mut ports: Vec<u16> = threads.into_iter().flat_map(|t| t.join().unwrap()).collect();
        assert!(ports.iter().all(|p| is_free(*p)));
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), 160);
    }
}
