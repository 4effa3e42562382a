//! The way to a destination: what a survey or a failed exchange means.
//!
//! Opens nothing (`net` does). Keeps true: the first step that failed names the cause.

use std::time::SystemTime;

use net::{DistrustKind, NetError, Survey, TlsSight};

use super::{
    cause::{Facts, Finding},
    causes::cause,
    credentials, words,
};

/// A certificate that ends sooner is told.
const SOON_DAYS: u64 = 14;

/// What keeps requests from arriving, if anything does.
pub fn refusal(survey: &Survey, is_aws: bool) -> Option<Finding> {
    if let Some(error) = survey.failure() {
        return Some(with_proxy(failure(error, survey.proxy.is_some()), survey));
    }
    let sight = survey.tls.as_ref()?.as_ref().ok()?;
    let distrust = sight.trust.as_ref().err()?;
    let id = match distrust.kind {
        DistrustKind::UnknownIssuer if is_aws && !by_amazon(sight) => cause("tls_inspected"),
        DistrustKind::UnknownIssuer | DistrustKind::NoRoots => cause("tls_untrusted"),
        DistrustKind::Expired | DistrustKind::NotYetValid => cause("tls_expired"),
        DistrustKind::WrongName => cause("tls_wrong_name"),
        DistrustKind::Other => cause("tls_untrusted"),
    };
    let detail = match distrust.kind {
        DistrustKind::NoRoots => distrust.detail.clone(),
        _ => format!("{}; trusted here: {}", distrust.detail, sight.roots),
    };
    Some(with_proxy(Finding::new(id, detail).with("issuer", issuer(sight)), survey))
}

/// What is worth knowing of a way that works.
pub fn notes(survey: &Survey, is_aws: bool, verifies: bool) -> Vec<Finding> {
    let mut notes = Vec::new();
    let Some(Ok(sight)) = &survey.tls else {
        return notes;
    };
    if !verifies {
        notes.push(Finding::new(cause("unverified_tls"), ""));
    } else if sight.trust.is_ok() && is_aws && !by_amazon(sight) {
        notes.push(Finding::new(cause("tls_opened"), "").with("issuer", issuer(sight)));
    }
    let left = sight.chain.first().and_then(|leaf| leaf.not_after.duration_since(SystemTime::now()).ok());
    if let Some(days) = left.map(|left| left.as_secs() / 86_400).filter(|days| *days < SOON_DAYS)
        && sight.trust.is_ok()
    {
        notes.push(Finding::new(cause("certificate_ends_soon"), "").with("days", days.to_string()));
    }
    notes
}

/// What an exchange that failed means.
pub fn failure(error: &NetError, by_proxy: bool) -> Finding {
    let text = error.to_string();
    if matches!(error, NetError::File { .. }) && text.contains(" is not read yet: ") {
        return credentials::stored_secret(&text);
    }
    let id = match error {
        NetError::Dns { .. } | NetError::Connect { .. } if by_proxy => cause("proxy_unreachable"),
        NetError::Dns { .. } => cause("dns_unknown"),
        NetError::Connect { detail, .. } if detail.contains("refused") => cause("connection_refused"),
        NetError::Connect { .. } => cause("connect_timeout"),
        NetError::Proxy { detail, .. } if detail.contains("407") => cause("proxy_wants_password"),
        NetError::Proxy { detail, .. }
            if detail.contains("connection refused") || detail.contains("does not resolve") =>
        {
            cause("proxy_unreachable")
        }
        NetError::Proxy { .. } => cause("proxy_refused"),
        NetError::Tls { detail, .. } if detail.contains("not trusted") => cause("tls_untrusted"),
        NetError::Tls { detail, .. } if detail.contains("expired") || detail.contains("not valid yet") => {
            cause("tls_expired")
        }
        NetError::Tls { detail, .. } if detail.contains("not for the name") => cause("tls_wrong_name"),
        NetError::Tls { .. } => cause("tls_not_spoken"),
        NetError::Token { detail, .. } if detail.starts_with("it answered") || detail.starts_with("its ") => {
            cause("no_token")
        }
        NetError::Token { .. } => cause("token_server_unreachable"),
        NetError::Redirect { .. } => cause("redirected"),
        NetError::Url { .. } | NetError::Config { .. } | NetError::File { .. } | NetError::Server { .. } => {
            cause("settings_unusable")
        }
        NetError::Timeout { .. }
        | NetError::Protocol { .. }
        | NetError::Decode { .. }
        | NetError::BodyTooLarge { .. } => cause("no_answer"),
    };
    let finding = Finding::new(id, text);
    match error {
        NetError::Proxy { proxy, .. } => finding.with("proxy", proxy.clone()),
        _ => finding,
    }
}

fn with_proxy(finding: Finding, survey: &Survey) -> Finding {
    match &survey.proxy {
        Some(proxy) => finding.with("proxy", proxy.url.clone()),
        None => finding,
    }
}

/// The authority at the top of what was sent.
fn issuer(sight: &TlsSight) -> String {
    sight.chain.last().map_or_else(|| "no certificate".to_owned(), |top| words::short(&top.issuer, 80))
}

/// Whether Amazon's own authorities (or the older ones it was cross-signed by) signed the leaf.
fn by_amazon(sight: &TlsSight) -> bool {
    let Some(leaf) = sight.chain.first() else { return false };
    ["O=Amazon", "CN=Amazon", "Starfield", "DigiCert", "O=Western Cloud"]
        .iter()
        .any(|known| leaf.issuer.contains(known))
}

/// The facts of a URL that texts of causes name.
pub fn facts_of(url: &url::Url) -> Facts {
    let host = url.host_str().unwrap_or_default();
    let port = url.port_or_known_default().unwrap_or_default();
    Facts::from([
        ("host", format!("{host}:{port}")),
        ("host_only", host.to_owned()),
        ("url", net::masked(url)),
        ("path", url.path().to_owned()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_failure_of_an_exchange_has_its_cause() {
        let host = || "h:1".to_owned();
        let text = |t: &str| t.to_owned();
        let proxy = |detail: &str| NetError::Proxy { proxy: text("http://p:1"), host: host(), detail: text(detail) };
        let table: Vec<(NetError, bool, &str)> = vec![
            (NetError::Dns { host: host(), detail: text("x") }, false, "dns_unknown"),
            (NetError::Dns { host: host(), detail: text("x") }, true, "proxy_unreachable"),
            (NetError::Connect { host: host(), detail: text("connection refused; x") }, false, "connection_refused"),
            (NetError::Connect { host: host(), detail: text("no answer within 3s") }, false, "connect_timeout"),
            (NetError::Connect { host: host(), detail: text("connection refused") }, true, "proxy_unreachable"),
            (proxy("it wants a user name and password (407)"), true, "proxy_wants_password"),
            (proxy("connection refused; nothing listens"), true, "proxy_unreachable"),
            (proxy("it answered CONNECT with 403"), true, "proxy_refused"),
            (proxy("no answer to CONNECT in time"), true, "proxy_refused"),
            (
                NetError::Tls { host: host(), detail: text("authority that is not trusted here") },
                false,
                "tls_untrusted",
            ),
            (NetError::Tls { host: host(), detail: text("its certificate has expired") }, false, "tls_expired"),
            (NetError::Tls { host: host(), detail: text("is not for the name asked for") }, false, "tls_wrong_name"),
            (NetError::Tls { host: host(), detail: text("alert HandshakeFailure") }, false, "tls_not_spoken"),
            (NetError::Token { host: host(), detail: text("it answered 401") }, false, "no_token"),
            (NetError::Token { host: host(), detail: text("its answer is not JSON") }, false, "no_token"),
            (
                NetError::Token { host: host(), detail: text("cannot connect to h:1: connection refused") },
                true,
                "token_server_unreachable",
            ),
            (NetError::Config { what: text("tls_config: x") }, false, "settings_unusable"),
            (NetError::Protocol { host: host(), detail: text("hung up") }, false, "no_answer"),
        ];
        for (error, by_proxy, id) in table {
            assert_eq!(failure(&error, by_proxy).cause.id, id, "{error}");
        }
    }
}
