//! The one page for people: the frame comes from a template, what arrived is drawn by the page from the state.

use askama::Template;
use http::StatusCode;

use crate::{answer::Reply, core::Core, identity::Identity};

#[derive(Template)]
#[template(path = "page.html")]
struct Page<'a> {
    /// The host and port in the browser's address bar.
    host: &'a str,
    region: &'a str,
    access_key_id: &'a str,
    secret: &'a str,
}

/// The page as seen at `host`.
pub(crate) fn render(core: &Core, host: &str) -> Reply {
    let identities = core.identities.read();
    let identity = identities.get(Identity::EXAMPLE_KEY_ID).or_else(|| identities.list().into_iter().next());
    let page = Page {
        host,
        region: core.region.as_deref().unwrap_or("us-east-1"),
        access_key_id: identity.map_or("YOUR_KEY_ID", |identity| identity.access_key_id.as_str()),
        secret: match identity {
            Some(known) if known.secret_access_key.expose() == Identity::EXAMPLE_SECRET => Identity::EXAMPLE_SECRET,
            _ => "${AWS_SECRET_ACCESS_KEY}",
        },
    };
    match page.render() {
        Ok(html) => Reply::new(StatusCode::OK, "text/html; charset=utf-8", html)
            .with("cache-control", "no-store")
            .with("x-content-type-options", "nosniff")
            .with(
                "content-security-policy",
                "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'",
            ),
        Err(e) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("drawing the page: {e}\n")),
    }
}
