//! `sigpost doctor` on trace destinations: they are destinations like any other, and asked without spans.

use anyhow::Result;
use e2e::{agent::Agent, desk::Desk};
use sandbox::{Identity, Running, Sandbox, SandboxConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const KEY_ID: &str = "AKIDDOCTOREXAMPLE001";
const SECRET: &str = "right-secret-MARKER-not-a-real-one";
const POWERLESS: &str = "AKIDDOCTORPOWERLESS1";

async fn cloud() -> Result<Running> {
    let identities =
        vec![Identity::user(KEY_ID, SECRET), Identity::user(POWERLESS, SECRET).allowing(["aps:QueryMetrics"])];
    Ok(Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?)
}

/// The only destination of the report.
fn told(desk: &Desk, entry: &str) -> Result<(String, Value)> {
    let file = desk.write(
        "agent.yaml",
        &format!(
            "traces:\n  configs:\n    - name: default\n      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}\n      \
             remote_write:\n        - {entry}\n"
        ),
    )?;
    let said = desk.run(&[&file], &["--json"])?;
    let destination = said.json()?["destinations"][0].clone();
    assert_eq!(said.code, Some(i32::from(destination["verdict"] != "accepts")), "{destination:#}");
    assert!(!said.text.contains("MARKER") && !said.errors.contains("MARKER"), "{}{}", said.text, said.errors);
    Ok((destination["cause"].as_str().unwrap_or("none").to_owned(), destination))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn trace_destinations_are_asked_without_spans() -> Result<()> {
    let cloud = cloud().await?;
    let desk = Desk::new()?;
    let url = cloud.url();
    let at = |endpoint: &str, more: &str| {
        let keys = format!("{{access_key: {KEY_ID}, secret_key: {SECRET}, sts_endpoint: '{url}'}}");
        format!("{{name: d, endpoint: '{endpoint}', endpoint_url: '{url}', {more}, aws: {keys}}}")
    };
    let otlp = at("https://xray.us-east-1.amazonaws.com/v1/traces", "protocol: http");
    let xray = at("https://xray.us-east-1.amazonaws.com", "format: xray, protocol: http");
    let bucket = at("https://example-bucket.s3.us-east-1.amazonaws.com/spans", "protocol: s3");
    let nobody = format!("{{name: d, endpoint: 'http://127.0.0.1:{}', protocol: http}}", e2e::free_port()?);
    let table = [
        (otlp.clone(), "none"),
        (otlp.replace(SECRET, "wrong-MARKER"), "wrong_secret"),
        (xray.clone(), "none"),
        (xray.replace(KEY_ID, POWERLESS), "missing_permission"),
        (xray.replace("AKIDDOCTOREXAMPLE001", "AKIDNOBODY0000000001"), "unknown_key"),
        (bucket.clone(), "none"),
        (bucket.replace(KEY_ID, POWERLESS), "missing_permission"),
        (nobody, "connection_refused"),
    ];
    for (entry, wanted) in table {
        let (cause, told) = told(&desk, &entry)?;
        assert_eq!(cause, wanted, "{entry}\n{told:#}");
    }
    let (_, told) = told(&desk, &xray.replace(KEY_ID, POWERLESS))?;
    assert_eq!(told["causes"][0]["iam"]["action"], "xray:PutTraceSegments", "{told:#}");
    assert!(cloud.objects().is_empty());
    Ok(())
}

/// By gRPC without TLS: a receiver of ours, a backend of `load_balancing`, and what is no gRPC.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_grpc_accepts_and_a_port_of_http_does_not() -> Result<()> {
    let (grpc, http, desk) = (e2e::free_port()?, e2e::free_port()?, Desk::new()?);
    let mut agent = Agent::prepare(&format!(
        "queue: {{min_free: 1MiB}}
traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{grpc: {{endpoint: '127.0.0.1:{grpc}'}}, http: {{endpoint: '127.0.0.1:{http}'}}}}}}}}
      remote_write: [{{endpoint: 'http://127.0.0.1:{}', protocol: http}}]
",
        e2e::free_port()?
    ))?;
    agent.start_ready().await?;
    let (cause, destination) =
        told(&desk, &format!("{{name: d, endpoint: 'http://127.0.0.1:{grpc}', protocol: grpc}}"))?;
    assert_eq!(cause, "none", "{destination:#}");
    let (cause, destination) =
        told(&desk, &format!("{{name: d, endpoint: 'http://127.0.0.1:{http}', protocol: grpc}}"))?;
    assert_ne!(cause, "none", "{destination:#}");
    let file = desk.write(
        "balanced.yaml",
        &format!(
            "traces:
  configs:
    - name: default
      receivers: {{otlp: {{protocols: {{http: {{endpoint: '127.0.0.1:0'}}}}}}}}
      load_balancing: {{receiver_port: {}, exporter: {{insecure: true}}, resolver: {{static: {{hostnames: ['127.0.0.1:{grpc}']}}}}}}
      remote_write: [{{name: own, endpoint: 'http://127.0.0.1:{grpc}', protocol: grpc}}]
",
            e2e::free_port()?
        ),
    )?;
    let said = desk.run(&[&file], &["--json"])?;
    let told = said.json()?;
    let verdicts: Vec<&Value> =
        told["destinations"].as_array().into_iter().flatten().map(|one| &one["verdict"]).collect();
    assert_eq!((verdicts, said.code), (vec![&Value::from("accepts"); 2], Some(0)), "{told:#}");
    agent.stop()
}

/// By HTTP, at a port that speaks HTTP/2 alone.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_of_grpc_that_is_spoken_to_by_http_is_told() -> Result<()> {
    let (listener, desk) = (tokio::net::TcpListener::bind("127.0.0.1:0").await?, Desk::new()?);
    let port = listener.local_addr()?.port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            // Settings; then what came is no preface, and it hangs up.
            let _ = stream.write_all(&[0, 0, 6, 4, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 100]).await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let (_, destination) = told(&desk, &format!("{{name: d, endpoint: 'http://127.0.0.1:{port}', protocol: http}}"))?;
    let text = destination.to_string();
    assert!(text.contains("this looks like a port of gRPC") && text.contains("protocol: grpc"), "{destination:#}");
    Ok(())
}
