//! Where the API server is and who asks it: within a cluster, by a kubeconfig file, or as configured.

use std::path::{Path, PathBuf};

use base64::{Engine, prelude::BASE64_STANDARD};
use net::{Client, ClientOptions, HttpAuth, HttpClientConfig, Pem, ProxyConfig, Secret, SecretSource, TlsConfig};
use serde::Deserialize;
use url::Url;

use super::config::KubernetesDiscovery;
use crate::DiscoveryError;

/// What a pod finds of its service account.
const ACCOUNT: &str = "/var/run/secrets/kubernetes.io/serviceaccount";

/// An API server that can be asked.
#[derive(Debug, Clone)]
pub(super) struct ApiServer {
    pub url: Url,
    pub client: Client,
    /// The namespace of this pod, or the kubeconfig's.
    pub own_namespace: Option<String>,
}

fn unusable(why: impl Into<String>) -> DiscoveryError {
    DiscoveryError::Kubernetes { why: why.into() }
}

impl ApiServer {
    pub(super) fn new(config: &KubernetesDiscovery) -> Result<Self, DiscoveryError> {
        let environment = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let (url, client, own_namespace) = match (&config.api_server, &config.kubeconfig_file) {
            (_, Some(file)) => kubeconfig(file)?,
            (Some(url), None) => (url.clone(), config.client.clone(), namespace_of(Path::new(ACCOUNT))),
            (None, None) => in_cluster(environment, Path::new(ACCOUNT))?,
        };
        let client = Client::new(&client, ClientOptions::default())
            .map_err(|error| unusable(format!("the client for {} cannot be built: {error}", net::masked(&url))))?;
        Ok(Self { url, client, own_namespace })
    }
}

type Reached = (Url, HttpClientConfig, Option<String>);

fn namespace_of(account: &Path) -> Option<String> {
    let text = std::fs::read_to_string(account.join("namespace")).ok()?;
    Some(text.trim().to_owned()).filter(|name| !name.is_empty())
}

fn in_cluster(environment: impl Fn(&str) -> Option<String>, account: &Path) -> Result<Reached, DiscoveryError> {
    let (host, port) = match (environment("KUBERNETES_SERVICE_HOST"), environment("KUBERNETES_SERVICE_PORT")) {
        (Some(host), port) => (host, port.unwrap_or_else(|| "443".to_owned())),
        (None, _) => {
            return Err(unusable(
                "this is no pod of a cluster (KUBERNETES_SERVICE_HOST is not set): give `api_server` or `kubeconfig_file`",
            ));
        }
    };
    let url = format!("https://{}/", super::labels::address(&host, port));
    let url = Url::parse(&url).map_err(|error| unusable(format!("KUBERNETES_SERVICE_HOST: {error}")))?;
    let client = HttpClientConfig {
        // The file is read at each request: the token is replaced every hour.
        auth: Some(HttpAuth::Header {
            kind: "Bearer".to_owned(),
            credentials: SecretSource::File(account.join("token")),
        }),
        tls: TlsConfig { ca: Some(Pem::File(account.join("ca.crt"))), ..TlsConfig::default() },
        proxy: ProxyConfig::None,
        ..HttpClientConfig::default()
    };
    Ok((url, client, namespace_of(account)))
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Kubeconfig {
    current_context: String,
    clusters: Vec<NamedCluster>,
    contexts: Vec<NamedContext>,
    users: Vec<NamedUser>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedCluster {
    name: String,
    cluster: Cluster,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct Cluster {
    server: String,
    certificate_authority: Option<PathBuf>,
    certificate_authority_data: Option<String>,
    insecure_skip_tls_verify: bool,
    tls_server_name: Option<String>,
    proxy_url: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedContext {
    name: String,
    context: Context,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Context {
    cluster: String,
    user: String,
    namespace: Option<String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct NamedUser {
    name: String,
    user: User,
}

#[derive(Deserialize, Default)]
#[serde(rename_all = "kebab-case", default)]
struct User {
    token: Option<String>,
    #[serde(rename = "tokenFile")]
    token_file: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_certificate_data: Option<String>,
    client_key: Option<PathBuf>,
    client_key_data: Option<String>,
    username: Option<String>,
    password: Option<String>,
    exec: Option<serde::de::IgnoredAny>,
    auth_provider: Option<serde::de::IgnoredAny>,
}

fn kubeconfig(file: &Path) -> Result<Reached, DiscoveryError> {
    let of_file = |why: String| unusable(format!("kubeconfig_file {}: {why}", file.display()));
    let text = net::read_small_text(file, net::BUNDLE_LIMIT).map_err(|error| of_file(error.to_string()))?;
    let directory = file.parent().unwrap_or(Path::new("."));
    // A message of the YAML reader could show a token.
    let read: Kubeconfig = serde_yaml::from_str(&text).map_err(|_| of_file("this is not a kubeconfig".to_owned()))?;
    parse(read, directory).map_err(of_file)
}

fn parse(read: Kubeconfig, directory: &Path) -> Result<Reached, String> {
    let context = read.contexts.into_iter().find(|context| context.name == read.current_context);
    let context = context.ok_or("its current-context is not among its contexts")?.context;
    let cluster = read.clusters.into_iter().find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.ok_or("the cluster of its current-context is not among its clusters")?.cluster;
    let user = read.users.into_iter().find(|user| user.name == context.user).map(|user| user.user).unwrap_or_default();
    if user.exec.is_some() || user.auth_provider.is_some() {
        return Err(
            "its user logs in by a program (exec, auth-provider), which sigpost does not run: use a token of a \
                    service account or a client certificate"
                .to_owned(),
        );
    }
    let url = Url::parse(&cluster.server).map_err(|error| format!("its server is no URL: {error}"))?;
    let pem = |file: Option<PathBuf>, data: Option<String>, what: &str| -> Result<Option<Pem>, String> {
        match (data.filter(|data| !data.is_empty()), file) {
            (Some(data), _) => {
                let bytes = BASE64_STANDARD.decode(data.trim()).map_err(|_| format!("{what} is not base64"))?;
                let text = String::from_utf8(bytes).map_err(|_| format!("{what} is not PEM"))?;
                Ok(Some(Pem::Inline(Secret::new(text))))
            }
            (None, Some(file)) => Ok(Some(Pem::File(directory.join(file)))),
            (None, None) => Ok(None),
        }
    };
    let tls = TlsConfig {
        ca: pem(cluster.certificate_authority, cluster.certificate_authority_data, "certificate-authority-data")?,
        cert: pem(user.client_certificate, user.client_certificate_data, "client-certificate-data")?,
        key: pem(user.client_key, user.client_key_data, "client-key-data")?,
        server_name: cluster.tls_server_name,
        insecure_skip_verify: cluster.insecure_skip_tls_verify,
        ..TlsConfig::default()
    };
    let bearer = |credentials| HttpAuth::Header { kind: "Bearer".to_owned(), credentials };
    let inline = |text: String| SecretSource::Inline(Secret::new(text));
    let auth = match (user.token_file, user.token, user.username) {
        (Some(file), _, _) => Some(bearer(SecretSource::File(directory.join(file)))),
        (None, Some(token), _) => Some(bearer(inline(token))),
        (None, None, Some(name)) => {
            Some(HttpAuth::Basic { username: inline(name), password: user.password.map(inline) })
        }
        (None, None, None) => None,
    };
    let proxy = match cluster.proxy_url {
        None => ProxyConfig::None,
        Some(url) => ProxyConfig::Url {
            url: Url::parse(&url).map_err(|_| "its proxy-url is no URL".to_owned())?,
            no_proxy: String::new(),
            connect_headers: Vec::new(),
        },
    };
    Ok((url, HttpClientConfig { auth, tls, proxy, ..HttpClientConfig::default() }, context.namespace))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_finds_its_cluster() {
        let environment = |name: &str| match name {
            "KUBERNETES_SERVICE_HOST" => Some("fd00::1".to_owned()),
            "KUBERNETES_SERVICE_PORT" => Some("6443".to_owned()),
            _ => None,
        };
        let (url, client, _) = in_cluster(environment, Path::new("/a")).unwrap();
        assert_eq!(url.as_str(), "https://[fd00::1]:6443/");
        assert_eq!(client.tls.ca, Some(Pem::File("/a/ca.crt".into())));
        let error = in_cluster(|_| None, Path::new("/a")).unwrap_err().to_string();
        assert!(error.contains("kubeconfig_file"), "{error}");
    }

    const FILE: &str = "
apiVersion: v1
kind: Config
current-context: one
clusters:
  - {name: c, cluster: {server: 'https://10.0.0.1:6443', certificate-authority: ca.pem, tls-server-name: kubernetes}}
contexts:
  - {name: one, context: {cluster: c, user: u, namespace: team}}
users:
  - {name: u, user: {token: not-a-secret, client-certificate-data: UEVN}}
";

    #[test]
    fn a_kubeconfig_is_read_and_its_programs_are_not_run() {
        let read = |text: &str| parse(serde_yaml::from_str(text).unwrap(), Path::new("/k"));
        let (url, client, namespace) = read(FILE).unwrap();
        assert_eq!((url.as_str(), namespace.as_deref()), ("https://10.0.0.1:6443/", Some("team")));
        assert_eq!(client.tls.ca, Some(Pem::File("/k/ca.pem".into())));
        assert_eq!(client.tls.cert, Some(Pem::Inline(Secret::new("PEM"))));
        assert!(matches!(client.auth, Some(HttpAuth::Header { .. })));
        let error = read(&FILE.replace("token: not-a-secret", "exec: {command: aws}")).unwrap_err();
        assert!(error.contains("exec"), "{error}");
        let error = read(&FILE.replace("current-context: one", "current-context: two")).unwrap_err();
        assert!(error.contains("current-context"), "{error}");
    }
}
