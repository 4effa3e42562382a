//! A cluster's API server by script: lists, watches that end, versions that are gone, refusals, objects that are broken.

use std::{
    collections::{BTreeMap, VecDeque},
    net::SocketAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{Query, State},
    http::{StatusCode, Uri},
    response::{IntoResponse, Response},
};
use discovery::{DiscoveryConfig, KubernetesDiscovery, KubernetesRole, KubernetesSelector, TargetGroup, watch};
use net::HttpClientConfig;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

/// What is answered to the next watch.
enum Watched {
    /// Lines now and later; closing the channel ends the watch.
    Lines(mpsc::UnboundedReceiver<String>),
    Status(u16),
}

#[derive(Default)]
struct Script {
    /// By path.
    lists: BTreeMap<String, Vec<Value>>,
    refused: Option<u16>,
    watches: VecDeque<Watched>,
    asked: Vec<String>,
}

#[derive(Clone)]
struct Cluster {
    script: Arc<Mutex<Script>>,
    address: SocketAddr,
}

impl Cluster {
    async fn start() -> Self {
        let script: Arc<Mutex<Script>> = Arc::default();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&script));
        tokio::spawn(async move { axum::serve(listener, router).await });
        net::install_crypto_provider();
        Self { script, address }
    }

    fn list(&self, path: &str, items: Vec<Value>) {
        self.script.lock().unwrap().lists.insert(path.to_owned(), items);
    }

    fn next_watch(&self) -> mpsc::UnboundedSender<String> {
        let (sender, receiver) = mpsc::unbounded_channel();
        self.script.lock().unwrap().watches.push_back(Watched::Lines(receiver));
        sender
    }

    fn asked(&self) -> Vec<String> {
        self.script.lock().unwrap().asked.clone()
    }

    fn config(&self, role: KubernetesRole) -> KubernetesDiscovery {
        KubernetesDiscovery {
            role,
            api_server: Some(format!("http://{}/", self.address).parse().unwrap()),
            kubeconfig_file: None,
            namespaces: Vec::new(),
            own_namespace: false,
            selectors: Vec::new(),
            attach_node: false,
            client: HttpClientConfig::default(),
        }
    }
}

async fn answer(
    State(script): State<Arc<Mutex<Script>>>,
    uri: Uri,
    Query(query): Query<BTreeMap<String, String>>,
) -> Response {
    let mut script = script.lock().unwrap();
    script.asked.push(uri.to_string());
    if let Some(status) = script.refused {
        let body = json!({"kind": "Status", "message": "pods is forbidden: User cannot list"});
        return (StatusCode::from_u16(status).unwrap(), body.to_string()).into_response();
    }
    if query.contains_key("watch") {
        return match script.watches.pop_front() {
            Some(Watched::Status(status)) => StatusCode::from_u16(status).unwrap().into_response(),
            Some(Watched::Lines(lines)) => {
                let stream = futures_util::stream::unfold(lines, |mut lines| async move {
                    let line = lines.recv().await?;
                    Some((Ok::<_, std::convert::Infallible>(Bytes::from(line)), lines))
                });
                Body::from_stream(stream).into_response()
            }
            // Silent.
            None => Body::from_stream(futures_util::stream::pending::<Result<Bytes, std::convert::Infallible>>())
                .into_response(),
        };
    }
    let items = script.lists.get(uri.path()).cloned().unwrap_or_default();
    let body = json!({"kind": "List", "metadata": {"resourceVersion": "100"}, "items": items});
    body.to_string().into_response()
}

fn pod(name: &str, ip: &str) -> Value {
    json!({
        "metadata": {
            "name": name, "namespace": "shop", "uid": format!("uid-{name}"), "resourceVersion": "7",
            "labels": {"app.kubernetes.io/name": "cart"}, "annotations": {"prometheus.io/scrape": "true"},
            "ownerReferences": [{"kind": "ReplicaSet", "name": "cart-1", "controller": true}],
        },
        "spec": {
            "nodeName": "node-1",
            "containers": [
                {"name": "main", "image": "cart:1", "ports": [{"name": "http", "containerPort": 8080}, {"containerPort": 9090, "protocol": "UDP"}]},
                {"name": "side", "image": "side:1"},
            ],
            "initContainers": [{"name": "setup", "image": "setup:1"}],
        },
        "status": {
            "phase": "Running", "podIP": ip, "hostIP": "10.0.0.9",
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [{"name": "main", "containerID": "containerd://abc"}],
        },
    })
}

fn event(kind: &str, object: &Value) -> String {
    format!("{}\n", json!({"type": kind, "object": object}))
}

struct Watching {
    groups: tokio::sync::watch::Receiver<Arc<Vec<TargetGroup>>>,
    stop: CancellationToken,
    tracker: TaskTracker,
}

impl Watching {
    fn start(config: KubernetesDiscovery) -> Self {
        let (stop, tracker) = (CancellationToken::new(), TaskTracker::new());
        let groups = watch(vec![DiscoveryConfig::Kubernetes(Box::new(config))], &tracker, stop.clone()).unwrap();
        Self { groups, stop, tracker }
    }

    /// Waits until the groups are so.
    async fn until(&mut self, is_so: impl Fn(&[TargetGroup]) -> bool) -> Arc<Vec<TargetGroup>> {
        let found = tokio::time::timeout(Duration::from_secs(30), self.groups.wait_for(|groups| is_so(groups)));
        found.await.expect("the groups come").unwrap().clone()
    }

    async fn end(self) {
        self.stop.cancel();
        self.tracker.close();
        self.tracker.wait().await;
    }
}

fn sources(groups: &[TargetGroup]) -> Vec<&str> {
    groups.iter().map(|group| group.source.as_str()).collect()
}

fn meta<'a>(labels: &'a model::Labels, name: &str) -> &'a str {
    labels.get(&format!("__meta_kubernetes_{name}")).unwrap_or("(none)")
}

#[tokio::test]
async fn pods_have_a_target_for_each_port_and_the_labels_of_prometheus() {
    let cluster = Cluster::start().await;
    cluster.list("/api/v1/pods", vec![pod("cart-1-a", "10.1.0.1"), pod("starting", "")]);
    let mut config = cluster.config(KubernetesRole::Pod);
    let field = "spec.nodeName=node-1".to_owned();
    config.selectors.push(KubernetesSelector { role: KubernetesRole::Pod, label: "app=cart,x in (a)".into(), field });
    let mut watching = Watching::start(config);
    let groups = watching.until(|groups| groups.len() == 2).await;
    let group = &groups[0];
    assert_eq!(group.source, "pod/shop/cart-1-a");
    for (name, value) in [
        ("namespace", "shop"),
        ("pod_name", "cart-1-a"),
        ("pod_ip", "10.1.0.1"),
        ("pod_ready", "true"),
        ("pod_phase", "Running"),
        ("pod_node_name", "node-1"),
        ("pod_host_ip", "10.0.0.9"),
        ("pod_uid", "uid-cart-1-a"),
        ("pod_controller_kind", "ReplicaSet"),
        ("pod_controller_name", "cart-1"),
        ("pod_label_app_kubernetes_io_name", "cart"),
        ("pod_labelpresent_app_kubernetes_io_name", "true"),
        ("pod_annotation_prometheus_io_scrape", "true"),
    ] {
        assert_eq!(meta(&group.labels, name), value, "{name}");
    }
    let addresses: Vec<_> = group.targets.iter().map(|target| target.get("__address__").unwrap()).collect();
    assert_eq!(addresses, ["10.1.0.1:8080", "10.1.0.1:9090", "10.1.0.1", "10.1.0.1"]);
    let first = &group.targets[0];
    assert_eq!(meta(first, "pod_container_name"), "main");
    assert_eq!(meta(first, "pod_container_id"), "containerd://abc");
    assert_eq!(meta(first, "pod_container_port_name"), "http");
    assert_eq!(meta(first, "pod_container_port_protocol"), "TCP");
    assert_eq!(meta(first, "pod_container_init"), "false");
    assert_eq!(meta(&group.targets[3], "pod_container_init"), "true");
    // Without an address there is nothing yet.
    assert!(groups[1].targets.is_empty());
    let asked = cluster.asked();
    assert!(asked[0].contains("fieldSelector=spec.nodeName%3Dnode-1"), "{asked:?}");
    assert!(asked[0].contains("labelSelector=app%3Dcart%2Cx+in+%28a%29"), "{asked:?}");
    watching.end().await;
}

#[tokio::test]
async fn changes_come_by_the_watch_and_a_version_that_is_gone_means_a_new_list() {
    let cluster = Cluster::start().await;
    cluster.list("/api/v1/pods", vec![pod("a", "10.1.0.1")]);
    let first = cluster.next_watch();
    let mut watching = Watching::start(cluster.config(KubernetesRole::Pod));
    watching.until(|groups| sources(groups) == ["pod/shop/a"]).await;
    let mut newer = pod("b", "10.1.0.2");
    newer["metadata"]["resourceVersion"] = json!("105");
    let line = event("ADDED", &newer);
    // In pieces, with things between that mean nothing to us.
    first.send(line[..40].to_owned()).unwrap();
    first.send(line[40..].to_owned()).unwrap();
    first.send("\n{\"type\":\"NEWS\",\"object\":{\"metadata\":7}}\n".to_owned()).unwrap();
    watching.until(|groups| groups.len() == 2).await;
    first.send(event("DELETED", &pod("a", "10.1.0.1"))).unwrap();
    watching.until(|groups| sources(groups) == ["pod/shop/b"]).await;
    first.send(event("BOOKMARK", &json!({"metadata": {"resourceVersion": "110"}}))).unwrap();

    // The server ends the watch: it goes on from the bookmark.
    let second = cluster.next_watch();
    drop(first);
    second.send(event("MODIFIED", &pod("b", "10.1.0.3"))).unwrap();
    watching.until(|groups| groups.iter().any(|group| meta(&group.labels, "pod_ip") == "10.1.0.3")).await;
    let asked = cluster.asked();
    assert!(asked.iter().any(|url| url.contains("watch=1") && url.contains("resourceVersion=110")), "{asked:?}");

    cluster.list("/api/v1/pods", vec![pod("c", "10.1.0.4")]);
    second
        .send(event("ERROR", &json!({"kind": "Status", "code": 410, "message": "too old resource version"})))
        .unwrap();
    watching.until(|groups| sources(groups) == ["pod/shop/c"]).await;
    watching.end().await;
}

#[tokio::test]
async fn a_server_that_refuses_or_dies_takes_no_target_away() {
    let cluster = Cluster::start().await;
    cluster.script.lock().unwrap().refused = Some(403);
    cluster.list("/api/v1/pods", vec![pod("a", "10.1.0.1"), json!({"metadata": 7}), json!("nonsense")]);
    let mut watching = Watching::start(cluster.config(KubernetesRole::Pod));
    while cluster.asked().len() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    cluster.script.lock().unwrap().watches.push_back(Watched::Status(500));
    cluster.script.lock().unwrap().refused = None;
    watching.until(|groups| sources(groups) == ["pod/shop/a"]).await;
    // The watch that was refused is asked for again.
    while cluster.asked().iter().filter(|url| url.contains("watch=1")).count() < 2 {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(sources(&watching.groups.borrow()), ["pod/shop/a"]);
    watching.end().await;
}

#[tokio::test]
async fn nodes_services_and_endpoints_are_targets_too() {
    let cluster = Cluster::start().await;
    cluster.list(
        "/api/v1/nodes",
        vec![json!({
            "metadata": {"name": "node-1", "labels": {"zone": "a"}},
            "spec": {"providerID": "aws:///us-east-1a/i-1"},
            "status": {
                "addresses": [{"type": "Hostname", "address": "node-1"}, {"type": "InternalIP", "address": "10.0.0.9"}],
                "daemonEndpoints": {"kubeletEndpoint": {"Port": 10250}},
            },
        })],
    );
    let service = json!({
        "metadata": {"name": "cart", "namespace": "shop", "labels": {"team": "x"}},
        "spec": {"type": "ClusterIP", "clusterIP": "10.2.0.1", "ports": [{"name": "http", "port": 80}]},
    });
    cluster.list("/api/v1/services", vec![service.clone()]);
    cluster.list("/api/v1/namespaces/shop/services", vec![service]);
    cluster.list("/api/v1/namespaces/shop/pods", vec![pod("a", "10.1.0.1")]);
    let behind = json!({"kind": "Pod", "name": "a", "namespace": "shop"});
    cluster.list(
        "/api/v1/namespaces/shop/endpoints",
        vec![json!({
            "metadata": {"name": "cart", "namespace": "shop"},
            "subsets": [{
                "addresses": [{"ip": "10.1.0.1", "nodeName": "node-1", "targetRef": behind}],
                "notReadyAddresses": [{"ip": "10.1.0.5"}],
                "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
            }],
        })],
    );
    cluster.list(
        "/apis/discovery.k8s.io/v1/namespaces/shop/endpointslices",
        vec![json!({
            "metadata": {"name": "cart-x", "namespace": "shop", "labels": {"kubernetes.io/service-name": "cart"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": ["10.1.0.1"], "conditions": {"ready": true}, "nodeName": "node-1", "targetRef": behind}],
            "ports": [{"name": "http", "port": 8080, "protocol": "TCP"}],
        })],
    );

    let mut watching = Watching::start(cluster.config(KubernetesRole::Node));
    let groups = watching.until(|groups| !groups.is_empty()).await;
    let target = &groups[0].targets[0];
    assert_eq!((target.get("__address__"), target.get("instance")), (Some("10.0.0.9:10250"), Some("node-1")));
    assert_eq!(meta(target, "node_address_InternalIP"), "10.0.0.9");
    assert_eq!(meta(&groups[0].labels, "node_label_zone"), "a");
    watching.end().await;

    let mut watching = Watching::start(cluster.config(KubernetesRole::Service));
    let groups = watching.until(|groups| !groups.is_empty()).await;
    let target = &groups[0].targets[0];
    assert_eq!(target.get("__address__"), Some("cart.shop.svc:80"));
    assert_eq!((meta(target, "service_cluster_ip"), meta(target, "service_type")), ("10.2.0.1", "ClusterIP"));
    watching.end().await;

    for (role, kind) in [(KubernetesRole::Endpoints, "endpoints"), (KubernetesRole::EndpointSlice, "endpointslice")] {
        let mut config = cluster.config(role);
        config.namespaces = vec!["shop".to_owned()];
        let mut watching = Watching::start(config);
        let groups = watching.until(|groups| !groups.is_empty()).await;
        let group = &groups[0];
        assert_eq!(meta(&group.labels, "service_label_team"), "x", "{kind}");
        let target = &group.targets[0];
        assert_eq!(target.get("__address__"), Some("10.1.0.1:8080"), "{kind}");
        assert_eq!(meta(target, "pod_name"), "a", "{kind}");
        assert_eq!(meta(target, "pod_container_port_name"), "http", "{kind}");
        if role == KubernetesRole::Endpoints {
            assert_eq!(meta(target, "endpoint_ready"), "true");
            assert_eq!(meta(&group.targets[1], "endpoint_ready"), "false");
        } else {
            assert_eq!(meta(target, "endpointslice_endpoint_conditions_ready"), "true");
        }
        // The pod's other port, which no endpoint names.
        let last = group.targets.last().unwrap();
        assert_eq!((last.get("__address__"), meta(last, "pod_container_port_number")), (Some("10.1.0.1:9090"), "9090"));
        watching.end().await;
    }
}

#[tokio::test]
async fn outside_of_a_cluster_a_server_must_be_named() {
    net::install_crypto_provider();
    let cluster = Cluster::start().await;
    let config = KubernetesDiscovery { api_server: None, ..cluster.config(KubernetesRole::Pod) };
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_none() {
        let error =
            watch(vec![DiscoveryConfig::Kubernetes(Box::new(config))], &TaskTracker::new(), CancellationToken::new())
                .unwrap_err();
        assert!(error.to_string().contains("give `api_server` or `kubeconfig_file`"), "{error}");
    }
}
