//! Reading files that are small by their nature: secrets, tokens, certificates, profiles.
//!
//! Their paths come from people, and a wrong one must cost its own destination alone. Keeps true: no more than the limit is ever in
//! memory, and nothing but a regular file is read and none waited for without end, so that neither a pipe without a writer, nor a
//! device without an end, nor a disk of a network that is away holds up a thread.

use std::{
    fs::OpenOptions,
    io::{self, Read},
    os::unix::fs::OpenOptionsExt,
    path::Path,
};

use zeroize::Zeroizing;

use crate::hung_disk::{PATIENCE, READERS};

/// For a secret or token: bytes.
pub const SECRET_LIMIT: u64 = 1 << 20;
/// For a bundle of certificates, or a file of profiles: bytes.
pub const BUNDLE_LIMIT: u64 = 16 << 20;

/// The whole file. Makes the thread wait for the disk, for 5 s at most. Errors, besides the system's: it is no regular file
/// (`InvalidInput`), or larger than `limit` (`InvalidData`), or its disk hangs (`TimedOut`). They do not name the path.
pub fn read_small(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    READERS.read(path, PATIENCE, move |path| read_now(path, limit))
}

fn read_now(path: &Path, limit: u64) -> io::Result<Zeroizing<Vec<u8>>> {
    // Opening a pipe waits for a writer otherwise. It means nothing to a regular file.
    let nonblock = i32::try_from(rustix::fs::OFlags::NONBLOCK.bits()).unwrap_or_default();
    let file = OpenOptions::new().read(true).custom_flags(nonblock).open(path)?;
    let meta = file.metadata()?;
    if meta.is_dir() {
        return Err(io::Error::new(io::ErrorKind::IsADirectory, "Is a directory (os error 21)"));
    }
    if !meta.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is no regular file but a pipe, a socket or a device",
        ));
    }
    let too_large = || {
        let what = format!("it has more than {} MiB: no such file is that large; is the path right?", limit >> 20);
        Err(io::Error::new(io::ErrorKind::InvalidData, what))
    };
    if meta.len() > limit {
        return too_large();
    }
    // Nothing is copied to a larger place, which would leave secrets behind where it was.
    let expected = usize::try_from(meta.len()).unwrap_or_default();
    let mut bytes = Zeroizing::new(Vec::with_capacity(expected + 1));
    file.take(limit + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > limit { too_large() } else { Ok(bytes) }
}

/// The same as text; what is no UTF-8 is `InvalidData`.
pub fn read_small_text(path: &Path, limit: u64) -> io::Result<Zeroizing<String>> {
    let bytes = read_small(path, limit)?;
    match std::str::from_utf8(&bytes) {
        Ok(text) => Ok(Zeroizing::new(text.to_owned())),
        Err(_) => Err(io::Error::new(io::ErrorKind::InvalidData, "stream did not contain valid UTF-8")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_small_regular_files_are_read() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        std::fs::write(at("token"), "abc\n").unwrap();
        assert_eq!(*read_small_text(&at("token"), SECRET_LIMIT).unwrap(), "abc\n");
        assert_eq!(read_small(&at("token"), 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
        std::fs::File::create(at("large")).unwrap().set_len(3 << 30).unwrap();
        let error = read_small(&at("large"), SECRET_LIMIT).unwrap_err();
        assert!(error.to_string().contains("more than 1 MiB"), "{error}");
        // Neither has an end, and the pipe has no writer.
        rustix::fs::mknodat(rustix::fs::CWD, at("pipe"), rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        for odd in [at("pipe"), "/dev/zero".into()] {
            let error = read_small(&odd, SECRET_LIMIT).unwrap_err();
            assert!(error.to_string().contains("no regular file"), "{error}");
        }
        assert_eq!(read_small(&at("none"), SECRET_LIMIT).unwrap_err().kind(), io::ErrorKind::NotFound);
        assert_eq!(read_small(dir.path(), SECRET_LIMIT).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        // What says that it is empty and is not, as files of /proc do.
        assert!(read_small_text(Path::new("/proc/self/status"), SECRET_LIMIT).unwrap().contains("Name:"));
        std::fs::write(at("latin"), [0xe4]).unwrap();
        assert_eq!(read_small_text(&at("latin"), SECRET_LIMIT).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
