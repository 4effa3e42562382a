//! `credential_process`: runs a command that prints credentials as JSON.
//!
//! Keeps true: the command ends or is killed in bounded time, a child that it leaves behind is waited for by nobody, its output
//! is bounded, and none of its standard output and
//! nothing of the command line (either may hold secrets) reaches a message.

use std::{
    process::Stdio,
    time::{Duration, SystemTime},
};

use aws_credential_types::Credentials;
use serde_json::Value;
use tokio::{
    io::{AsyncRead, AsyncReadExt},
    process::Command,
};

use crate::{
    error::FetchError,
    fault::Fault,
    json,
    words::{length, moment, printable},
};

/// Real answers are below 10 KiB.
const OUTPUT_LIMIT: u64 = 256 << 10;
const COMPLAINT_LIMIT: u64 = 4 << 10;
pub(crate) const TIMEOUT: Duration = Duration::from_secs(60);
/// What the command wrote is in the pipe when it has ended; a child of its own may hold the pipe open for ever.
const LEFT_IN_PIPE: Duration = Duration::from_secs(1);

/// What credentials carry that a command printed, so that it is blamed where they are over.
#[derive(Debug, Clone, Copy)]
struct OfCommand;

/// They come from a command, and not from a role that was assumed with what one printed.
pub(crate) fn is_of_command(credentials: &Credentials) -> bool {
    credentials.get_property::<OfCommand>().is_some()
}

/// The command's fault where it printed credentials that are over at `now`; `by` says whose clock that is.
pub(crate) fn stale(credentials: &Credentials, now: SystemTime, by: &str) -> Option<FetchError> {
    let end = credentials.expiry().filter(|at| *at <= now && is_of_command(credentials))?;
    let ago = length(now.duration_since(end).unwrap_or_default());
    Some(
        FetchError::failed(format!(
            "the command printed credentials that expired {ago} ago by {by} (Expiration {}): it prints old ones out of a cache, or its clock \
             is wrong",
            moment(end)
        ))
        .of(Fault::HelperStale { ended: end }),
    )
}

/// Runs `sh -c command` and reads its answer.
pub(crate) async fn run(command: &str, timeout: Duration) -> Result<Credentials, FetchError> {
    let mut credentials = output_of(command, timeout).await.map_err(|e| e.of(Fault::Helper))?;
    credentials.set_property(OfCommand);
    Ok(credentials)
}

async fn output_of(command: &str, timeout: Duration) -> Result<Credentials, FetchError> {
    let mut child = Command::new("sh")
        .arg("-c")
        .arg(command)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| FetchError::failed(format!("credential_process: cannot start sh: {e}")))?;
    let _group = Group(child.id());
    let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
        return Err(FetchError::failed("credential_process: its output cannot be read"));
    };
    let work = async {
        // Both at once: a command blocks when one of its pipes is full.
        let complaint = tokio::spawn(drain(stderr));
        let mut output = zeroize_on_drop();
        let mut stdout = stdout.take(OUTPUT_LIMIT + 1);
        let unreadable = |e| FetchError::failed(format!("credential_process: its output cannot be read: {e}"));
        let failed = |e| FetchError::failed(format!("credential_process: {e}"));
        let status = loop {
            tokio::select! {
                read = stdout.read_buf(&mut *output) => {
                    // The end, or as much as is read.
                    if read.map_err(unreadable)? == 0 {
                        break None;
                    }
                }
                ended = child.wait() => {
                    let ended = ended.map_err(failed)?;
                    let rest = tokio::time::timeout(LEFT_IN_PIPE, stdout.read_to_end(&mut output)).await;
                    rest.ok().transpose().map_err(unreadable)?;
                    break Some(ended);
                }
            }
        };
        if output.len() as u64 > OUTPUT_LIMIT {
            return Err(FetchError::failed(format!(
                "credential_process: the command printed more than {OUTPUT_LIMIT} bytes; it must print one JSON object and nothing else"
            )));
        }
        let status = match status {
            Some(status) => status,
            None => child.wait().await.map_err(failed)?,
        };
        if !status.success() {
            // A grandchild may keep the pipe open after the command itself is gone.
            let said = tokio::time::timeout(LEFT_IN_PIPE, complaint).await;
            let said =
                said.ok().and_then(Result::ok).filter(|s| !s.is_empty()).map_or(String::new(), |s| format!(": {s}"));
            return Err(FetchError::failed(format!("credential_process: the command failed with {status}{said}")));
        }
        parse(&output)
    };
    match tokio::time::timeout(timeout, work).await {
        Ok(result) => result,
        Err(_) => Err(FetchError::failed(format!(
            "credential_process: the command did not finish within {} s and was killed; run it by hand to see what it waits for",
            timeout.as_secs_f64()
        ))),
    }
}

/// The command and all it started: the shell's children would outlive it, and hold its pipes.
struct Group(Option<u32>);

impl Drop for Group {
    fn drop(&mut self) {
        let leader = self.0.and_then(|id| i32::try_from(id).ok()).and_then(rustix::process::Pid::from_raw);
        if let Some(leader) = leader {
            // Nothing left to kill is what is hoped for.
            let _ = rustix::process::kill_process_group(leader, rustix::process::Signal::KILL);
        }
    }
}

fn zeroize_on_drop() -> zeroize::Zeroizing<Vec<u8>> {
    zeroize::Zeroizing::new(Vec::with_capacity(4096))
}

/// Reads all, keeps the beginning, as one line.
async fn drain(mut stderr: impl AsyncRead + Unpin) -> String {
    let mut kept = Vec::new();
    let _ = (&mut stderr).take(COMPLAINT_LIMIT).read_to_end(&mut kept).await;
    let _ = tokio::io::copy(&mut stderr, &mut tokio::io::sink()).await;
    let text = String::from_utf8_lossy(&kept);
    printable(&text.split_whitespace().map(masked_word).collect::<Vec<_>>().join(" "), 300)
}

/// A word that may be a secret, or hold one behind `=` or `:`, without it. What helpers complain about are names, paths and
/// sentences, which stay.
fn masked_word(word: &str) -> String {
    const TELLING: [&str; 6] = ["secret", "token", "password", "passwd", "credential", "accesskey"];
    let bare = |text: &str| text.to_ascii_lowercase().replace(['_', '-'], "");
    if let Some((name, value)) = word.split_once(['=', ':'])
        && !value.is_empty()
        && TELLING.iter().any(|telling| bare(name).contains(telling))
    {
        return format!("{name}=<masked>");
    }
    let of_keys = |c: char| c.is_ascii_alphanumeric() || matches!(c, '+' | '/' | '=' | '-' | '_');
    let core = word.trim_matches(|c: char| !of_keys(c));
    let mixed = core.bytes().any(|b| b.is_ascii_digit()) && core.bytes().any(|b| b.is_ascii_uppercase());
    let is_path = core.starts_with('/');
    if core.len() >= 20 && mixed && !is_path && core.chars().all(of_keys) {
        "<masked>".to_owned()
    } else {
        word.to_owned()
    }
}

fn parse(output: &[u8]) -> Result<Credentials, FetchError> {
    let bad = |why: &str| FetchError::failed(format!("credential_process: {why}"));
    let object: Value = serde_json::from_slice(output)
        .map_err(|_| bad("the command did not print one JSON object (its output is not shown, it may hold secrets)"))?;
    match json::field(&object, "Version") {
        Some(Value::Number(n)) if n.as_u64() == Some(1) => {}
        Some(_) => return Err(bad("the command printed a Version other than 1")),
        None => return Err(bad("the command's JSON has no Version; it must be 1")),
    }
    json::credentials(&object, "SessionToken", "CredentialProcess")
        .map_err(|why| bad(&format!("the command's JSON {why}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_helper_complains_of_is_shown_without_what_looks_like_a_secret() {
        for (word, shown) in [
            ("failed:", "failed:"),
            ("/etc/helper/config.toml:12:", "/etc/helper/config.toml:12:"),
            ("SecretAccessKey=abc", "SecretAccessKey=<masked>"),
            ("session_token:xyz", "session_token=<masked>"),
            ("\"wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY\"", "<masked>"),
            ("arn:aws:iam::000000000000:role/agent-of-the-house", "arn:aws:iam::000000000000:role/agent-of-the-house"),
            ("unable-to-reach-the-vault-server", "unable-to-reach-the-vault-server"),
        ] {
            assert_eq!(masked_word(word), shown);
        }
    }

    async fn fails(command: &str) -> String {
        run(command, TIMEOUT).await.unwrap_err().to_string()
    }

    #[tokio::test]
    async fn the_standard_json_becomes_credentials_whatever_the_case_of_its_keys() {
        let command = r#"echo '{"version":1,"accessKeyId":"AKIA1","SECRETACCESSKEY":"s","SessionToken":"t","Expiration":"2030-01-02T03:04:05Z"}'"#;
        let credentials = run(command, TIMEOUT).await.unwrap();
        assert_eq!((credentials.access_key_id(), credentials.session_token()), ("AKIA1", Some("t")));
        assert!(credentials.expiry().is_some());
        let forever = run(r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s"}'"#, TIMEOUT).await.unwrap();
        assert_eq!((forever.session_token(), forever.expiry()), (None, None));
    }

    #[tokio::test]
    async fn a_child_that_is_left_behind_with_the_pipe_is_waited_for_by_nobody() {
        let json = r#"{"Version":1,"AccessKeyId":"AKIA1","SecretAccessKey":"s"}"#;
        let command = format!("sleep 600 & echo '{json}'");
        assert_eq!(run(&command, TIMEOUT).await.unwrap().access_key_id(), "AKIA1");
        let failed = fails("sleep 600 & echo out of order >&2; exit 3").await;
        assert!(failed.contains("exit status: 3"), "{failed}");
    }

    #[tokio::test]
    async fn a_command_that_hangs_is_killed() {
        let error = run("echo started; sleep 600", Duration::from_millis(200)).await.unwrap_err();
        assert!(error.to_string().contains("did not finish"), "{error}");
    }

    #[tokio::test]
    async fn garbage_megabytes_and_failures_have_their_own_messages_and_show_no_output() {
        assert!(fails("echo hunter2").await.contains("JSON object"));
        assert!(!fails("echo hunter2").await.contains("hunter2"));
        assert!(fails("yes hunter2 | head -c 3000000").await.contains("more than"));
        let failed = fails("echo hunter2; echo no such device >&2; yes | head -c 1000000 >&2; exit 7").await;
        assert!(
            failed.contains("exit status: 7") && failed.contains("no such device") && !failed.contains("hunter2"),
            "{failed}"
        );
        assert!(fails(r#"echo '{"AccessKeyId":"A"}'"#).await.contains("Version"));
        assert!(fails(r#"echo '{"Version":2}'"#).await.contains("Version"));
        assert!(fails(r#"echo '{"Version":1,"AccessKeyId":"A"}'"#).await.contains("SecretAccessKey"));
        let date = fails(r#"echo '{"Version":1,"AccessKeyId":"A","SecretAccessKey":"s","Expiration":"soon"}'"#).await;
        assert!(date.contains("Expiration"), "{date}");
    }
}
