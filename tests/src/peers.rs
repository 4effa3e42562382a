//! Where the programs the tests talk to are. `make test-deps` puts them under `$PEERS/bin`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};

/// The path of `program`: `$PEERS/bin`, else `PATH`.
pub fn find(program: &str) -> Result<PathBuf> {
    let own = std::env::var_os("PEERS").map(|p| PathBuf::from(p).join("bin"));
    let path = std::env::var_os("PATH").unwrap_or_default();
    for directory in own.into_iter().chain(std::env::split_paths(&path)) {
        let candidate = directory.join(program);
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("{program} is neither under $PEERS/bin nor on PATH: run `make test-deps`")
}

/// As [`find`]. `None`: `make test-deps` tried to get it, could not, and wrote down why, which is printed; an error: nobody tried.
pub fn find_unless_missing(program: &str) -> Result<Option<PathBuf>> {
    match find(program) {
        Ok(path) => Ok(Some(path)),
        Err(_) if is_missing(program) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether `make test-deps` could not get `wanted`; says so on standard output if it could not.
fn is_missing(wanted: &str) -> bool {
    let list = std::env::var_os("PEERS").map(|peers| Path::new(&peers).join("missing"));
    let list = list.and_then(|list| fs::read_to_string(list).ok()).unwrap_or_default();
    let found = list.lines().find(|line| line.starts_with(&format!("{wanted}: ")));
    if let Some(why) = found {
        println!("SKIPPED, so this test proves nothing here: {why}");
    }
    found.is_some()
}

/// The interpreter that has OpenTelemetry's SDK, unless it [could not be installed](find_unless_missing).
pub fn python_of_the_sdk() -> Result<Option<PathBuf>> {
    if is_missing("opentelemetry.exporter.otlp") {
        return Ok(None);
    }
    match find_unless_missing("moto_server")? {
        // The interpreter of the environment that both are in.
        Some(server) => Ok(Some(server.canonicalize()?.with_file_name("python"))),
        None => Ok(None),
    }
}

/// The interpreter that has Zipkin's and Jaeger's clients, unless they [could not be installed](find_unless_missing).
pub fn python_of_old_clients() -> Result<Option<PathBuf>> {
    find_unless_missing("spans-python")
}

/// The agent under test: `$SIGPOST_BIN`, else the binary beside this test's own target directory.
pub fn sigpost() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("SIGPOST_BIN").map(PathBuf::from)
        && path.is_file()
    {
        return Ok(path);
    }
    // target/debug/deps/<test> -> target/debug/sigpost
    let test = std::env::current_exe()?;
    for directory in test.ancestors().skip(1).take(2) {
        let candidate = directory.join("sigpost");
        if candidate.is_file() {
            return Ok(candidate);
        }
    }
    bail!("the sigpost binary is not built: run `make build`, or set SIGPOST_BIN")
}
