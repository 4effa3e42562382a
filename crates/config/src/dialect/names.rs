//! Keys as words: which of them hold secrets, and which one a person may have meant.

use super::SHAPES;
use crate::block::Shape;

/// Keys whose values (and everything under them) are never shown.
const SECRET: &[&str] = &[
    "access_key",
    "access_key_id",
    "secret_key",
    "secret_access_key",
    "session_token",
    "credential_process",
    "external_id",
    "username",
    "password",
    "credentials",
    "client_id",
    "client_secret",
    "bearer_token",
    "endpoint_params",
    "params",
    "headers",
    "http_headers",
    "proxy_connect_header",
    "secrets",
    "vault",
    "token",
    "role_id",
    "secret_id",
    "values",
    "ca",
    "cert",
    "key",
    "certificate",
    "certificate_chain",
    "private_key",
    "ca_pem",
    "cert_pem",
    "key_pem",
    // Of blocks that this version does not read.
    "integrations",
    "agent_management",
    "scraping_service",
    "scraping_service_client",
    "azuread",
    "google_iam",
    "kafka",
    "gcplog",
    "heroku_drain",
    "cloudflare",
    "azure_event_hubs",
    "gelf",
    "windows_events",
    "session_tags",
];

/// Those of them that hold a mapping: its keys may be shown.
const SECRET_CONTAINERS: &[&str] = &[
    "endpoint_params",
    "params",
    "headers",
    "http_headers",
    "proxy_connect_header",
    "session_tags",
    "vault",
    "integrations",
    "agent_management",
    "scraping_service",
    "scraping_service_client",
    "azuread",
    "google_iam",
    "kafka",
    "gcplog",
    "heroku_drain",
    "cloudflare",
    "azure_event_hubs",
    "gelf",
    "windows_events",
];

/// Blocks whose keys are known one by one, and under which any other text may be a secret.
const IDENTITY_BLOCKS: &[&str] = &[
    "basic_auth",
    "authorization",
    "oauth2",
    "tls_config",
    "sigv4",
    "aws",
    "web_identity",
    "container",
    "instance_metadata",
    "roles_anywhere",
    "assume_roles",
];

/// Is this a block in which text without a key may be a secret?
pub(crate) fn is_identity_block(key: &str) -> bool {
    IDENTITY_BLOCKS.contains(&key)
}

/// Is this a mapping of label names to values, which every sample will show?
pub(crate) fn is_label_mapping(key: &str) -> bool {
    ["labels", "external_labels"].contains(&key)
}

/// Is this a list of harmless words, each of which may stand on a line of its own?
pub(crate) fn is_plain_list(key: &str) -> bool {
    ["targets", "files", "source_labels", "scrape_protocols", "scopes"].contains(&key)
}

/// Is this a key of a mapping whose values may be secrets?
pub(crate) fn is_secret_container(key: &str) -> bool {
    SECRET_CONTAINERS.contains(&key)
}

/// Does this key's value, or what stands under it, have to stay unseen?
pub(crate) fn is_secret(key: &str) -> bool {
    SECRET.contains(&key)
}

/// Is this a key of the dialect?
pub(crate) fn is_known(key: &str) -> bool {
    SHAPES.iter().any(|shape| shape.all_keys().any(|k| k == key))
}

/// The key that an unknown one is a slight misspelling of, if all keys that near are of one kind, secret or not.
pub(crate) fn meant(key: &str) -> Option<&'static str> {
    let limit = (key.chars().count() / 4).min(2);
    let near: Vec<&str> =
        SHAPES.iter().flat_map(|s| s.all_keys()).filter(|known| distance(key, known) <= limit).collect();
    let first = *near.first()?;
    near.iter().all(|known| is_secret(known) == is_secret(first)).then_some(first)
}

/// What to write instead of `key`, which `shape` does not have.
pub(crate) fn suggest(shape: Shape, key: &str) -> String {
    if shape.name == "server" && key.contains("listen") {
        return "listen addresses are flags: -server.http.address=127.0.0.1:12345".into();
    }
    if let Some(known) = meant_in(shape, key) {
        return format!("did you mean `{known}`?");
    }
    let elsewhere: Vec<_> =
        SHAPES.iter().filter(|s| s.all_keys().any(|k| k == key)).map(|s| format!("`{}`", s.name)).collect();
    if !elsewhere.is_empty() && elsewhere.len() <= 4 {
        return format!("this key belongs in {}; check the indentation", elsewhere.join(" or "));
    }
    let mut keys: Vec<_> = shape.all_keys().collect();
    keys.sort_unstable();
    let more = if keys.len() > 12 { ", ... (docs/reference/configuration.md has them all)" } else { "" };
    keys.truncate(12);
    format!("keys of `{}` are {}{more}", shape.name, keys.join(", "))
}

/// The key of a shape that is probably meant by one that is none of its keys.
pub(crate) fn meant_in(shape: Shape, key: &str) -> Option<&'static str> {
    let near = shape.all_keys().map(|known| (distance(key, known), known)).min();
    let limit = (key.chars().count() / 3).clamp(1, 4);
    near.filter(|(distance, _)| *distance <= limit).map(|(_, known)| known)
}

/// Insertions, deletions, replacements and swaps of neighbours, upper and lower case and `-` and `_` being equal.
fn distance(a: &str, b: &str) -> usize {
    let fold = |s: &str| s.chars().map(|c| if c == '-' { '_' } else { c.to_ascii_lowercase() }).collect::<Vec<_>>();
    let (a, b) = (fold(a), fold(b));
    if a.len() > 64 || a.len().abs_diff(b.len()) > 4 {
        return usize::MAX;
    }
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, y) in b.iter().enumerate() {
            let at = |row: &[usize], j: usize| row.get(j).copied().unwrap_or(usize::MAX / 2);
            let mut best = (at(&last, j) + usize::from(x != y)).min(at(&last, j + 1) + 1).min(at(&row, j) + 1);
            let swapped = i > 0 && j > 0 && a.get(i - 1) == Some(y) && b.get(j - 1) == Some(x);
            if swapped {
                best = best.min(at(&before, j - 1) + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last.last().copied().unwrap_or(usize::MAX)
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn the_nearest_key_is_suggested() {
        let shape = crate::dialect::scrape::SCRAPE;
        assert_eq!(suggest(shape, "scrape_intervall"), "did you mean `scrape_interval`?");
        assert_eq!(suggest(shape, "scrape-interval"), "did you mean `scrape_interval`?");
        assert_eq!(suggest(shape, "jobname"), "did you mean `job_name`?");
        assert_eq!(suggest(shape, "metrics_paht"), "did you mean `metrics_path`?");
        assert_eq!(
            suggest(shape, "write_relabel_configs"),
            "this key belongs in `remote_write[]` or `clients[]`; check the indentation"
        );
        assert!(suggest(shape, "zzz").starts_with("keys of `scrape_configs[]` are"));
    }
}
