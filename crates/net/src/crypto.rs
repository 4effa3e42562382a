//! The process-wide TLS crypto provider. Chooses nothing per connection; keeps true that there is one provider.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};

/// Makes aws-lc-rs the provider of every rustls user in the process. Safe to call any number of times; the first wins.
pub fn install_crypto_provider() {
    // An error means that one is already installed, which is what was asked for.
    let _ = aws_lc_rs::default_provider().install_default();
}

/// The provider of our own TLS configurations, which do not depend on what is installed.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: std::sync::OnceLock<Arc<CryptoProvider>> = std::sync::OnceLock::new();
    Arc::clone(PROVIDER.get_or_init(|| Arc::new(aws_lc_rs::default_provider())))
}
