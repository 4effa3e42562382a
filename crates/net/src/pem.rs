//! Certificates and keys as DER, for those who sign with them elsewhere than in a TLS handshake.
//!
//! Verifies nothing. Keeps true: no message holds key material.

use rustls::pki_types::PrivateKeyDer;
use zeroize::Zeroizing;

use crate::{NetError, Pem, tls};

/// A private key in one of its three wrappings; wiped when dropped.
pub enum KeyDer {
    /// `BEGIN PRIVATE KEY`.
    Pkcs8(Zeroizing<Vec<u8>>),
    /// `BEGIN RSA PRIVATE KEY`.
    Pkcs1(Zeroizing<Vec<u8>>),
    /// `BEGIN EC PRIVATE KEY`.
    Sec1(Zeroizing<Vec<u8>>),
}

/// Every certificate of a PEM text, in order. `role` names the text in errors.
pub fn certificates(pem: &Pem, role: &str) -> Result<Vec<Vec<u8>>, NetError> {
    Ok(tls::certificates(pem, role)?.into_iter().map(|c| c.to_vec()).collect())
}

/// The first private key of a PEM text.
pub fn private_key(pem: &Pem, role: &str) -> Result<KeyDer, NetError> {
    match tls::private_key(pem, role)? {
        PrivateKeyDer::Pkcs8(der) => Ok(KeyDer::Pkcs8(der.secret_pkcs8_der().to_vec().into())),
        PrivateKeyDer::Pkcs1(der) => Ok(KeyDer::Pkcs1(der.secret_pkcs1_der().to_vec().into())),
        PrivateKeyDer::Sec1(der) => Ok(KeyDer::Sec1(der.secret_sec1_der().to_vec().into())),
        _ => Err(NetError::Config { what: format!("the {role} is a kind of key that is not known here") }),
    }
}
