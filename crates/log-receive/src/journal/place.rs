//! Where journal files lie, and what to say where there are none.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

/// Where journald keeps its files, on disk and while it runs.
const SYSTEM: [&str; 2] = ["/var/log/journal", "/run/log/journal"];

/// Why no entry can come, if there is no journal file: in a directory that was configured, or where journald keeps them.
pub(super) async fn emptiness(path: &Option<PathBuf>) -> Option<String> {
    let path = path.clone();
    // A directory on a share may not answer.
    tokio::task::spawn_blocking(move || look(path.as_deref())).await.ok().flatten()
}

fn look(path: Option<&Path>) -> Option<String> {
    let Some(path) = path else {
        if SYSTEM.iter().any(|path| holds(Path::new(path)) != Some(false)) {
            return None;
        }
        return Some(
            "there are no journal files in /var/log/journal and /run/log/journal: journald does not run here; in a container \
             mount both and /etc/machine-id"
                .to_owned(),
        );
    };
    let shown = path.display();
    match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(format!(
            "the journal directory {shown} is not there: correct `path`, or mount it if this is a container"
        )),
        Ok(meta) if !meta.is_dir() => {
            Some(format!("`path` is to be a directory of journal files, and {shown} is none"))
        }
        _ if holds(path) == Some(false) => Some(format!(
            "there are no journal files in {shown}: is it the right directory? journald writes to /var/log/journal only if \
             that exists or Storage=persistent is set, else to /run/log/journal"
        )),
        _ => None,
    }
}

/// Whether a directory or one below it has a journal file. `None`: it cannot be read.
fn holds(directory: &Path) -> Option<bool> {
    let is_journal = |path: &Path| {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        name.ends_with(".journal") || name.ends_with(".journal~")
    };
    let entries = match fs::read_dir(directory) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Some(false),
        Err(_) => return None,
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        if is_journal(&path) {
            return Some(true);
        }
        // One directory for each machine.
        if path.is_dir() {
            let within = fs::read_dir(&path).ok()?;
            if within.flatten().any(|entry| is_journal(&entry.path())) {
                return Some(true);
            }
        }
    }
    Some(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_journal_files_is_told_and_one_with_them_is_not() {
        let root = tempfile::tempdir().unwrap();
        let says = |path: &Path| look(Some(path)).unwrap_or_default();
        assert!(says(&root.path().join("none")).contains("is not there"));
        assert!(says(root.path()).contains("there are no journal files"));
        let file = root.path().join("notes.txt");
        fs::write(&file, "x").unwrap();
        assert!(says(&file).contains("to be a directory"));
        fs::create_dir(root.path().join("machine")).unwrap();
        assert!(says(root.path()).contains("there are no journal files"));
        fs::write(root.path().join("machine/system.journal"), "").unwrap();
        assert_eq!(says(root.path()), "");
        assert_eq!(says(&root.path().join("machine")), "");
    }
}
