//! `kubernetes_sd_configs` of logs in every role: what the API tells becomes paths of files, through the real binary.

use std::{collections::BTreeMap, fs, net::SocketAddr, time::Duration};

use anyhow::{Context, Result};
use axum::{Json, Router, http::Uri, response::IntoResponse};
use e2e::{agent::Agent, process::until};
use sandbox::{Identity, Sandbox, SandboxConfig};
use serde_json::{Value, json};

const KEY_ID: &str = "AKIDEXAMPLE000000003";
const SECRET: &str = "not-a-real-secret";
const PATIENCE: Duration = Duration::from_secs(60);

/// One object of each kind. Watches are silent.
async fn answer(uri: Uri) -> impl IntoResponse {
    if uri.query().is_some_and(|query| query.contains("watch=1")) {
        std::future::pending::<()>().await;
    }
    let meta = |name: &str| json!({"name": name, "namespace": "shop", "uid": format!("uid-{name}"), "labels": {"app": "cart"}});
    let of_service =
        |name: &str| json!({"name": name, "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}});
    let pod = json!({"kind": "Pod", "namespace": "shop", "name": "cart-1"});
    let item = match uri.path() {
        "/api/v1/nodes" => json!({
            "metadata": {"name": "node-7", "labels": {}},
            "status": {"addresses": [{"type": "InternalIP", "address": "10.0.0.7"}], "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}}},
        }),
        "/api/v1/services" => json!({
            "metadata": meta("cart"),
            "spec": {"type": "ClusterIP", "clusterIP": "10.2.0.1", "ports": [{"name": "http", "port": 80, "protocol": "TCP"}]},
        }),
        "/api/v1/pods" => json!({
            "metadata": meta("cart-1"),
            "spec": {"nodeName": "node-7", "containers": [{"name": "main", "image": "cart:1", "ports": [{"name": "http", "containerPort": 8080}]}]},
            "status": {"phase": "Running", "podIP": "10.1.0.1"},
        }),
        "/api/v1/endpoints" => json!({
            "metadata": meta("cart"),
            "subsets": [{"addresses": [{"ip": "10.1.0.1", "nodeName": "node-7", "targetRef": pod}], "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}]}],
        }),
        "/apis/discovery.k8s.io/v1/endpointslices" => json!({
            "metadata": of_service("cart-x1"),
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "node-7", "targetRef": pod}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        }),
        _ => Value::Null,
    };
    let items = if item.is_null() { Vec::new() } else { vec![item] };
    Json(json!({"kind": "List", "metadata": {"resourceVersion": "1"}, "items": items}))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_services_endpoints_and_their_slices_lead_to_files() -> Result<()> {
    let identities = vec![Identity::user(KEY_ID, SECRET)];
    let sandbox = Sandbox::start(SandboxConfig { identities, record: true, ..SandboxConfig::default() }).await?;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let server: SocketAddr = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    // Role, the label that names a file, and its value.
    let roles = [
        ("node", "__meta_kubernetes_node_name", "node-7"),
        ("service", "__meta_kubernetes_service_name", "cart"),
        ("endpoints", "__meta_kubernetes_endpoints_name", "cart"),
        ("endpointslice", "__meta_kubernetes_endpointslice_name", "cart-x1"),
    ];
    let job = |(role, label, _): &(&str, &str, &str)| {
        format!(
            "        - job_name: {role}
          kubernetes_sd_configs: [{{role: {role}, api_server: 'http://{server}/'}}]
          relabel_configs:
            - {{source_labels: [{label}], target_label: __path__, replacement: '{{dir}}/{role}/$1.log'}}
            - {{source_labels: [{label}], target_label: what}}
"
        )
    };
    let jobs: String = roles.iter().map(job).collect();
    let mut agent = Agent::prepare(&format!(
        "queue: {{min_free: 1MiB}}
logs:
  configs:
    - name: default
      positions: {{filename: '{{dir}}/positions.yaml', sync_period: 300ms}}
      clients:
        - {{name: fh, url: 'https://firehose.us-east-1.amazonaws.com/', endpoint_url: '{}', delivery_stream: lines, format: json, batchwait: 50ms, aws: {{region: us-east-1, access_key_id: {KEY_ID}, secret_access_key: {SECRET}}}}}
      scrape_configs:
{jobs}",
        sandbox.url()
    ))?;
    for (role, _, name) in roles {
        fs::create_dir(agent.dir.path().join(role))?;
        fs::write(agent.dir.path().join(role).join(format!("{name}.log")), format!("a line by {role}\n"))?;
    }
    agent.start_ready().await?;
    let expected: BTreeMap<String, String> =
        roles.iter().map(|(role, _, name)| (format!("a line by {role}"), (*name).to_owned())).collect();
    let arrived = || -> BTreeMap<String, String> {
        let records = sandbox.records(None, None);
        let read = |text: &str| {
            let value: Value = serde_json::from_str(text.trim_end()).ok()?;
            Some((value["line"].as_str()?.to_owned(), value["labels"]["what"].as_str().unwrap_or_default().to_owned()))
        };
        records.iter().filter_map(|record| read(&record.text)).collect()
    };
    until("a line by each role", PATIENCE, || async { (arrived() == expected).then_some(()) })
        .await
        .with_context(|| format!("{:#?}\n{}", arrived(), agent.log()))?;
    agent.stop()
}
