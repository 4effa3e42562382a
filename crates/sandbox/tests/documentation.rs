//! The sandbox's page in the documentation, held against a running sandbox.

mod support;

use sandbox::{Fault, SandboxConfig};
use serde_json::Value;
use support::{Answer, Signer, client, remote_write, send, start};

const PAGE: &str = include_str!("../../../docs/reference/sandbox.md");
const ADDRESS: &str = "http://127.0.0.1:9009";

/// A `curl` command of the page.
#[derive(Debug)]
struct Command {
    method: &'static str,
    path: String,
    body: String,
}

/// The words of one shell command, which ends with its line unless a quote is open.
fn words(text: &str) -> Vec<String> {
    let (mut words, mut word, mut is_quoted) = (Vec::new(), String::new(), false);
    for c in text.chars() {
        match c {
            '\'' => is_quoted = !is_quoted,
            '\n' if !is_quoted => break,
            ' ' if !is_quoted => words.extend(Some(std::mem::take(&mut word)).filter(|word| !word.is_empty())),
            _ => word.push(c),
        }
    }
    assert!(!is_quoted, "a quote is left open: {text}");
    words.extend(Some(word).filter(|word| !word.is_empty()));
    words
}

fn commands(page: &str) -> Vec<Command> {
    let blocks = page.split("```").skip(1).step_by(2).filter_map(|block| block.strip_prefix("sh\n"));
    let starts = blocks.flat_map(|block| {
        block
            .match_indices("curl ")
            .filter(|(at, _)| *at == 0 || block[..*at].ends_with('\n'))
            .map(|(at, _)| &block[at..])
    });
    starts
        .map(|text| {
            let mut command = Command { method: "GET", path: String::new(), body: String::new() };
            let mut words = words(text).into_iter().skip(1);
            while let Some(word) = words.next() {
                match word.as_str() {
                    "-d" => (command.method, command.body) = ("POST", words.next().unwrap()),
                    "-X" if words.next().unwrap() == "DELETE" => command.method = "DELETE",
                    "-X" => command.method = "POST",
                    url => command.path = url.strip_prefix(ADDRESS).expect(url).to_owned(),
                }
            }
            command
        })
        .collect()
}

async fn carry_out(url: &str, command: &Command) -> Answer {
    let request = http::Request::builder().method(command.method).uri(format!("{url}{}", command.path));
    send(&client(), request.body(command.body.clone().into_bytes()).unwrap()).await.unwrap()
}

#[tokio::test]
async fn every_command_of_the_page_is_understood() {
    let running = start(SandboxConfig { record: true, ..SandboxConfig::default() }).await;
    let commands = commands(PAGE);
    for command in &commands {
        let answer = carry_out(&running.url(), command).await;
        assert_eq!(answer.status, 200, "{command:?}: {}", answer.body);
        let answered: Value = serde_json::from_str(&answer.body).unwrap();
        if command.path == "/_sandbox/faults" && command.method == "POST" {
            let order: Value = serde_json::from_str(&command.body).unwrap();
            assert_eq!(answered["added"], order.as_array().map_or(1, Vec::len), "{command:?}");
        }
    }
    // Each path has its example, so that this test cannot pass by finding none.
    for (method, path) in [
        ("GET", "state"),
        ("GET", "state?"),
        ("GET", "samples?"),
        ("GET", "records?"),
        ("POST", "faults"),
        ("DELETE", "faults"),
        ("POST", "identities"),
        ("POST", "world"),
        ("POST", "sessions"),
        ("POST", "token"),
        ("POST", "certificate"),
        ("POST", "clock"),
        ("POST", "reset"),
    ] {
        let path = format!("/_sandbox/{path}");
        assert!(commands.iter().any(|c| c.method == method && c.path.starts_with(&path)), "{method} {path}");
    }
}

#[tokio::test]
async fn the_scripts_leave_a_sandbox_that_accepts_again() {
    let running = start(SandboxConfig::default()).await;
    let (_, scripts) = PAGE.split_once("\n## Scripts\n").unwrap();
    // All but the faults that are meant for the next requests.
    for command in commands(scripts).iter().filter(|command| command.path != "/_sandbox/faults") {
        carry_out(&running.url(), command).await;
    }
    let mut request = remote_write(&running.remote_write_url("ws-EXAMPLE"), "up", &[(1000, 1.0)]);
    Signer::new("aps").sign(&mut request);
    assert_eq!(send(&client(), request).await.unwrap().status, 200);
}

#[tokio::test]
async fn the_page_names_every_field() {
    let running = start(SandboxConfig::default()).await;
    let state = serde_json::to_value(running.state()).unwrap();
    let fault = serde_json::to_value(Fault::answer("aps", 500)).unwrap();
    let answer = &fault["outcome"]["answer"];
    let mut seen = 0;
    for service in running.services() {
        assert!(PAGE.contains(&format!("| `{service}` |")), "{service}");
    }
    for object in [&state, &state["samples"], &fault, answer] {
        for name in object.as_object().unwrap().keys() {
            assert!(PAGE.contains(&format!("`{name}`")), "{name}");
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}
