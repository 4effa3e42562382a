//! Builds rustls client configurations from `tls_config`: roots, client certificate, another name to verify, versions.
//!
//! Opens no connection. Keeps true: every file a configuration was built from is in its stamps, so that a change is seen.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject},
    sign::{CertifiedKey, SingleCertAndKey},
    version::{TLS12, TLS13},
};

use zeroize::Zeroizing;

use crate::{
    NetError, Pem, StoredSecret, TlsConfig, TlsVersion, TlsVersions, crypto,
    file_stamps::FileStamps,
    pem_text::{self, Wanted},
    small_file::{BUNDLE_LIMIT, read_small},
};

/// The files a client of this configuration depends on, the system's roots included where a variable names them.
pub(crate) fn files(config: &TlsConfig) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = [&config.ca, &config.cert, &config.key]
        .into_iter()
        .flatten()
        .filter_map(|pem| match pem {
            Pem::File(path) => Some(path.clone()),
            Pem::Inline(_) | Pem::Stored(_) => None,
        })
        .collect();
    if config.ca.is_none() && !config.insecure_skip_verify {
        files.extend(system_root_files());
    }
    files
}

/// The secrets of stores that a client of this configuration depends on.
fn stored(config: &TlsConfig) -> impl Iterator<Item = &Arc<StoredSecret>> {
    [&config.ca, &config.cert, &config.key].into_iter().flatten().filter_map(|pem| match pem {
        Pem::Stored(stored) => Some(stored),
        Pem::Inline(_) | Pem::File(_) => None,
    })
}

/// Another number than before: something in a store changed.
pub(crate) fn stored_version(config: &TlsConfig) -> u64 {
    stored(config).map(|secret| secret.version()).sum()
}

/// Why no connection can be made yet: a certificate or key in a store that was not read so far.
pub(crate) fn missing(config: &TlsConfig) -> Option<NetError> {
    let source = stored(config).find_map(|secret| secret.read().err())?;
    Some(NetError::File { what: format!("tls_config: {source}"), source })
}

/// What stands in until everything can be read: trusts nobody, so that nothing is sent with less than was asked for.
pub(crate) fn trusting_nobody() -> Result<ClientConfig, NetError> {
    let builder = ClientConfig::builder_with_provider(crypto::provider())
        .with_protocol_versions(&[&TLS13, &TLS12])
        .map_err(|e| NetError::Config { what: format!("tls_config: {e}") })?;
    Ok(builder.with_root_certificates(RootCertStore::empty()).with_no_client_auth())
}

/// What the system's roots are read from: what the variables name, else the usual bundles (a package upgrade replaces them).
fn system_root_files() -> Vec<PathBuf> {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let dirs = std::env::var_os("SSL_CERT_DIR").unwrap_or_default();
    let dirs = std::env::split_paths(&dirs).filter(|p| !p.as_os_str().is_empty());
    let named: Vec<PathBuf> = file.into_iter().chain(dirs).collect();
    if named.is_empty() {
        return ["/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"].map(PathBuf::from).into();
    }
    named
}

/// Which name the handshake verifies.
pub(crate) enum VerifiedName<'a> {
    /// The URL's host.
    OfUrl,
    /// This one, whatever the URL says.
    Fixed(&'a str),
}

/// The rustls configuration for `config`. `http2` offers h2 by ALPN.
pub(crate) fn client_config(config: &TlsConfig, http2: bool, name: VerifiedName<'_>) -> Result<ClientConfig, NetError> {
    let provider = crypto::provider();
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_protocol_versions(versions(TlsVersions { min: config.min_version, max: config.max_version })?)
        .map_err(|e| NetError::Config { what: format!("tls_config: {e}") })?;
    let builder = if config.insecure_skip_verify {
        let verifier = Lenient { provider, rule: Rule::Any };
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        let roots = match &config.ca {
            Some(pem) => Arc::new(roots_from(pem)?),
            None => system_roots(),
        };
        match name {
            VerifiedName::Fixed(name) if !roots.is_empty() => {
                let inner =
                    WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(&provider)).build().map_err(|e| {
                        NetError::Config { what: format!("tls_config: the trusted certificates are unusable: {e}") }
                    })?;
                let name = server_name(name)?;
                let verifier = Lenient { provider, rule: Rule::Named { inner, name } };
                builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
            }
            _ => builder.with_root_certificates(roots),
        }
    };
    let mut built = match (&config.cert, &config.key) {
        (Some(cert), Some(key)) => {
            let mine = client_certificate(cert, key, &crypto::provider())?;
            builder.with_client_cert_resolver(Arc::new(SingleCertAndKey::from(mine)))
        }
        (None, None) => builder.with_no_client_auth(),
        _ => {
            let what =
                "tls_config: a client certificate needs both cert_file and key_file (or cert and key)".to_owned();
            return Err(NetError::Config { what });
        }
    };
    built.alpn_protocols = if http2 { vec![b"h2".to_vec(), b"http/1.1".to_vec()] } else { vec![b"http/1.1".to_vec()] };
    Ok(built)
}

/// The pair as it is presented. A certificate of version 1, as `openssl x509 -req` makes without extensions, cannot be compared with
/// its key here; the far end is asked what it makes of it.
fn client_certificate(cert: &Pem, key: &Pem, provider: &CryptoProvider) -> Result<CertifiedKey, NetError> {
    let chain = certificates(cert, "client certificate")?;
    let signing = provider.key_provider.load_private_key(private_key(key, "client key")?);
    let signing =
        signing.map_err(|e| unusable([cert, key], format!("the client key ({}) is unusable: {e}", origin(key))))?;
    let mine = CertifiedKey::new(chain, signing);
    let why = match mine.keys_match() {
        Ok(()) | Err(rustls::Error::InconsistentKeys(rustls::InconsistentKeys::Unknown)) => return Ok(mine),
        Err(error) if error.to_string().contains("UnsupportedCertVersion") => return Ok(mine),
        Err(rustls::Error::InconsistentKeys(_)) => {
            let (key, cert) = (origin(key), origin(cert));
            format!(
                "the client certificate ({cert}) and its key ({key}) do not work together: the key is of another certificate"
            )
        }
        Err(error) => format!("the client certificate ({}) is unusable: {error}", origin(cert)),
    };
    Err(unusable([cert, key], why))
}

/// Files and stores may hold something better at the next look, such as the other half of a pair that is being renewed.
fn unusable(of: [&Pem; 2], why: String) -> NetError {
    let what = format!("tls_config: {why}");
    if of.iter().all(|pem| matches!(pem, Pem::Inline(_))) {
        return NetError::Config { what };
    }
    NetError::File { source: io::Error::new(io::ErrorKind::InvalidData, what.clone()), what }
}

pub(crate) fn server_name(name: &str) -> Result<ServerName<'static>, NetError> {
    ServerName::try_from(name.to_owned()).map_err(|_| NetError::Config {
        what: format!("tls_config.server_name {name:?} is neither a DNS name nor an address"),
    })
}

pub(crate) fn versions(of: TlsVersions) -> Result<&'static [&'static SupportedProtocolVersion], NetError> {
    static BOTH: [&SupportedProtocolVersion; 2] = [&TLS13, &TLS12];
    static ONLY_13: [&SupportedProtocolVersion; 1] = [&TLS13];
    static ONLY_12: [&SupportedProtocolVersion; 1] = [&TLS12];
    let min = of.min.unwrap_or(TlsVersion::Tls12);
    let max = of.max.unwrap_or(TlsVersion::Tls13);
    match (min, max) {
        (TlsVersion::Tls12, TlsVersion::Tls13) => Ok(&BOTH),
        (TlsVersion::Tls13, TlsVersion::Tls13) => Ok(&ONLY_13),
        (TlsVersion::Tls12, TlsVersion::Tls12) => Ok(&ONLY_12),
        (TlsVersion::Tls13, TlsVersion::Tls12) => {
            Err(NetError::Config { what: "tls_config: min_version is above max_version".to_owned() })
        }
    }
}

/// The system's roots, parsed once and again only when the files that variables name have changed.
pub(crate) fn system_roots() -> Arc<RootCertStore> {
    static CACHE: Mutex<Option<(FileStamps, Arc<RootCertStore>)>> = Mutex::new(None);
    let stamps = FileStamps::take(system_root_files());
    let mut cache = CACHE.lock();
    if let Some((seen, roots)) = &*cache
        && *seen == stamps
        && !roots.is_empty()
    {
        return Arc::clone(roots);
    }
    let loaded = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (_, unusable) = roots.add_parsable_certificates(loaded.certs);
    for error in &loaded.errors {
        tracing::warn!(%error, "a trusted certificate of the system cannot be read");
    }
    if roots.is_empty() {
        tracing::warn!(
            unusable,
            "no trusted certificates found on this system, so every https destination will fail: \
             install the ca-certificates package, or set SSL_CERT_FILE or tls_config.ca_file"
        );
    }
    let roots = Arc::new(roots);
    *cache = Some((stamps, Arc::clone(&roots)));
    roots
}

pub(crate) fn roots_from(pem: &Pem) -> Result<RootCertStore, NetError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem, "trusted certificates")? {
        roots.add(certificate).map_err(|e| NetError::Config {
            what: format!("a certificate in the trusted certificates ({}) is unusable: {e}", origin(pem)),
        })?;
    }
    Ok(roots)
}

/// Reads every certificate of a PEM text; none at all is an error.
pub(crate) fn certificates(pem: &Pem, role: &str) -> Result<Vec<CertificateDer<'static>>, NetError> {
    let bytes = read(pem, role)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes).collect();
    match found {
        Ok(list) if !list.is_empty() => Ok(list),
        Ok(_) | Err(_) => Err(damaged(pem, role, &bytes, Wanted::Certificate)),
    }
}

/// Reads the first private key (PKCS#8, PKCS#1 or SEC1) of a PEM text.
pub(crate) fn private_key(pem: &Pem, role: &str) -> Result<PrivateKeyDer<'static>, NetError> {
    let bytes = read(pem, role)?;
    // The decoder's own text may quote the line it stumbled over, which is key material.
    PrivateKeyDer::from_pem_slice(&bytes).map_err(|_| damaged(pem, role, &bytes, Wanted::PrivateKey))
}

/// What is in the configuration stays as it is until a reload; what is in a file or a store may be another at the next look.
fn damaged(pem: &Pem, role: &str, bytes: &[u8], wanted: Wanted) -> NetError {
    let what = format!("the {role} ({}) {}", origin(pem), pem_text::complaint(bytes, wanted));
    match pem {
        Pem::Inline(_) => NetError::Config { what },
        Pem::File(_) | Pem::Stored(_) => {
            let source = io::Error::new(io::ErrorKind::InvalidData, what.clone());
            NetError::File { what, source }
        }
    }
}

fn read(pem: &Pem, role: &str) -> Result<Zeroizing<Vec<u8>>, NetError> {
    match pem {
        Pem::Inline(secret) => Ok(secret.expose().as_bytes().to_vec().into()),
        Pem::File(path) => read_file(path, role),
        Pem::Stored(stored) => match stored.read() {
            Ok(secret) => Ok(secret.expose().as_bytes().to_vec().into()),
            Err(source) => Err(NetError::File { what: format!("the {role}: {source}"), source }),
        },
    }
}

fn read_file(path: &Path, role: &str) -> Result<Zeroizing<Vec<u8>>, NetError> {
    read_small(path, BUNDLE_LIMIT).map_err(|source: io::Error| NetError::File {
        what: format!("cannot read the {role} file {}: {source}", path.display()),
        source,
    })
}

fn origin(pem: &Pem) -> String {
    match pem {
        Pem::Inline(_) => "given in the configuration".to_owned(),
        Pem::File(path) => path.display().to_string(),
        Pem::Stored(stored) => stored.reference().to_owned(),
    }
}

/// Which certificates are accepted where the usual rule does not do; the handshake's signatures are always checked.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    rule: Rule,
}

#[derive(Debug)]
enum Rule {
    /// `insecure_skip_verify`.
    Any,
    /// The usual verification, of another name than the URL's.
    Named { inner: Arc<WebPkiServerVerifier>, name: ServerName<'static> },
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        match &self.rule {
            Rule::Any => Ok(ServerCertVerified::assertion()),
            Rule::Named { inner, name } => {
                inner.verify_server_cert(end_entity, intermediates, name, ocsp_response, now)
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
