//! A throwaway certificate authority, so that the sandbox can answer TLS for host names it does not own.
//!
//! Its key exists in memory only and is never written out; what it signs is trusted by nobody who was not told to.

use std::{collections::HashMap, fmt, sync::Arc, time::SystemTime};

use parking_lot::Mutex;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};
use rustls::{
    ServerConfig,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, pem::PemObject},
};

use crate::error::SandboxError;

/// Most hosts whose certificates are kept.
const MOST_HOSTS: usize = 256;

/// Issues server certificates for any host. Clones share the key.
#[derive(Clone)]
pub struct Authority(Arc<Inner>);

struct Inner {
    certificate_pem: String,
    certificate: CertificateDer<'static>,
    issuer: Issuer<'static, KeyPair>,
    hosts: Mutex<HashMap<String, Arc<ServerConfig>>>,
}

impl Authority {
    /// Makes a new key and a self-signed certificate.
    ///
    /// # Errors
    /// [`SandboxError::Authority`] when the certificate library refuses.
    pub fn generate() -> Result<Self, SandboxError> {
        let failed = |source| SandboxError::Authority { source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        params.distinguished_name = named("sigpost sandbox throwaway authority");
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.self_signed(&key).map_err(failed)?;
        Ok(Self(Arc::new(Inner {
            certificate_pem: certificate.pem(),
            certificate: certificate.der().clone(),
            issuer: Issuer::new(params, key),
            hosts: Mutex::new(HashMap::new()),
        })))
    }

    /// The certificate that clients must trust, for `SSL_CERT_FILE`.
    pub fn certificate_pem(&self) -> &str {
        &self.0.certificate_pem
    }

    /// A certificate chain and a key for `host` (a DNS name or an IP address), both PEM.
    ///
    /// # Errors
    /// [`SandboxError::Authority`] when `host` is neither.
    pub fn issue(&self, host: &str) -> Result<(String, net::Secret), SandboxError> {
        let (certificate, key) = self.leaf(host)?;
        let chain = format!("{}{}", certificate.pem(), self.0.certificate_pem);
        Ok((chain, net::Secret::new(key.serialize_pem())))
    }

    /// A certificate that may sign, for a client (IAM Roles Anywhere), and its ECDSA P-256 key, both PEM.
    ///
    /// # Errors
    /// [`SandboxError::Authority`] when the certificate library refuses.
    pub fn issue_client(
        &self,
        common_name: &str,
        valid_from: SystemTime,
        valid_until: SystemTime,
    ) -> Result<(String, net::Secret), SandboxError> {
        let failed = |source| SandboxError::Authority { source };
        let mut params = CertificateParams::new(Vec::new()).map_err(failed)?;
        params.distinguished_name = named(common_name);
        params.not_before = valid_from.into();
        params.not_after = valid_until.into();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.0.issuer).map_err(failed)?;
        Ok((certificate.pem(), net::Secret::new(key.serialize_pem())))
    }

    fn leaf(&self, host: &str) -> Result<(rcgen::Certificate, KeyPair), SandboxError> {
        let failed = |source| SandboxError::Authority { source };
        let mut params = CertificateParams::new(vec![host.to_owned()]).map_err(failed)?;
        params.distinguished_name = named("sigpost sandbox");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let key = KeyPair::generate().map_err(failed)?;
        let certificate = params.signed_by(&key, &self.0.issuer).map_err(failed)?;
        Ok((certificate, key))
    }

    /// TLS settings that prove to be `host`.
    pub(crate) fn server(&self, host: &str) -> Result<Arc<ServerConfig>, SandboxError> {
        if let Some(known) = self.0.hosts.lock().get(host) {
            return Ok(Arc::clone(known));
        }
        let (certificate, key) = self.leaf(host)?;
        let chain = vec![certificate.der().clone(), self.0.certificate.clone()];
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
        let config = server_config(chain, key)?;
        let mut hosts = self.0.hosts.lock();
        if hosts.len() >= MOST_HOSTS {
            hosts.clear();
        }
        hosts.insert(host.to_owned(), Arc::clone(&config));
        Ok(config)
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Authority")
    }
}

fn named(name: &str) -> DistinguishedName {
    let mut all = DistinguishedName::new();
    all.push(DnType::CommonName, name);
    all
}

/// TLS settings from PEM texts.
pub(crate) fn server_from_pem(certificate_pem: &str, key_pem: &str) -> Result<Arc<ServerConfig>, SandboxError> {
    let unusable = |what: String| SandboxError::Certificate { what };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(certificate_pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| unusable(e.to_string()))?;
    if chain.is_empty() {
        return Err(unusable("no certificate in the PEM text".to_owned()));
    }
    // The error of a key is not shown: it could quote the text.
    let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes())
        .map_err(|_| unusable("no private key in the PEM text".to_owned()))?;
    server_config(chain, key)
}

fn server_config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, SandboxError> {
    let unusable = |e: rustls::Error| SandboxError::Certificate { what: e.to_string() };
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn issued_certificates_make_a_tls_server() {
        let authority = Authority::generate().unwrap();
        let (chain, key) = authority.issue("aps-workspaces.us-east-1.amazonaws.com").unwrap();
        server_from_pem(&chain, key.expose()).unwrap();
        assert!(authority.server("127.0.0.1").is_ok());
        assert!(authority.certificate_pem().starts_with("-----BEGIN CERTIFICATE-----"));
    }

    #[test]
    fn what_is_no_key_is_refused_without_showing_it() {
        let (chain, _) = Authority::generate().unwrap().issue("localhost").unwrap();
        let error = server_from_pem(&chain, "hush").unwrap_err().to_string();
        assert!(error.contains("no private key") && !error.contains("hush"), "{error}");
        assert!(server_from_pem("", "").is_err());
    }
}
