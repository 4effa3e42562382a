//! Where the programs the tests talk to are. `make test-deps` puts them under `$PEERS/bin`.

use std::path::PathBuf;

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

/// The interpreter of the environment that has Zipkin's and Jaeger's clients.
pub fn python_of_old_clients() -> Result<PathBuf> {
    find("spans-python")
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
