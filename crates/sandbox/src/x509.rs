//! Certificates of callers: the way up to a trust anchor, dates, key usage, and signatures made with their keys.
//!
//! Path validation is webpki's (RFC 5280 as TLS uses it); the rules on top are those of IAM Roles Anywhere ("End entity
//! certificates must be X.509v3, basic constraints must include CA: false, key usage must include Digital Signature").

use std::time::Duration;

use rustls::pki_types::{CertificateDer, SignatureVerificationAlgorithm, TrustAnchor, UnixTime, pem::PemObject};
use webpki::{ALL_VERIFICATION_ALGS, EndEntityCert, Error, KeyUsage, anchor_from_trusted_cert, aws_lc_rs};

use crate::der;

/// Longest chain looked at.
const MOST_INTERMEDIATES: usize = 10;

/// A caller's certificate that was proved to come from a trust anchor.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Proved {
    /// As it stands in the credential.
    pub(crate) serial_decimal: String,
    /// As sessions are named by default.
    pub(crate) serial_hex: String,
    /// The subject's common name; empty when there is none.
    pub(crate) common_name: String,
}

/// What is wrong with the PEM text of a trust anchor.
pub(crate) fn anchor_problem(pem: &str) -> Option<String> {
    let certificates = match read_pem(pem) {
        Ok(certificates) if certificates.is_empty() => return Some("no certificate in the PEM text".to_owned()),
        Ok(certificates) => certificates,
        Err(what) => return Some(what),
    };
    certificates.iter().find_map(|der| anchor_from_trusted_cert(der).err()).map(|e| format!("not usable: {e}"))
}

fn read_pem(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes()).collect::<Result<_, _>>().map_err(|e| format!("not PEM: {e}"))
}

/// Proves that a certificate (DER) comes from one of the anchors (PEM) through the chain (DER) sent along.
///
/// # Errors
/// What is wrong, in Roles Anywhere's words where they are known.
pub(crate) fn prove(leaf: &[u8], chain: &[Vec<u8>], anchors_pem: &str, now_ms: i64) -> Result<Proved, String> {
    if chain.len() > MOST_INTERMEDIATES {
        return Err(format!("the chain has more than {MOST_INTERMEDIATES} certificates"));
    }
    let der = CertificateDer::from(leaf);
    let certificate = EndEntityCert::try_from(&der).map_err(|e| words(&e))?;
    let roots = read_pem(anchors_pem)?;
    let anchors: Vec<TrustAnchor<'_>> = roots.iter().filter_map(|root| anchor_from_trusted_cert(root).ok()).collect();
    let intermediates: Vec<CertificateDer<'_>> = chain.iter().map(|der| CertificateDer::from(der.as_slice())).collect();
    let now = UnixTime::since_unix_epoch(Duration::from_millis(u64::try_from(now_ms).unwrap_or(0)));
    certificate
        .verify_for_usage(ALL_VERIFICATION_ALGS, &anchors, &intermediates, now, KeyUsage::client_auth(), None, None)
        .map_err(|e| words(&e))?;
    match der::may_sign(leaf) {
        Some(true) => {}
        Some(false) => return Err("Insufficient certificate: its key usage lacks Digital Signature".to_owned()),
        None => return Err("Insufficient certificate: it has no key usage; Digital Signature is needed".to_owned()),
    }
    let serial = certificate.serial();
    let significant: Vec<u8> = serial.iter().copied().skip_while(|byte| *byte == 0).collect();
    Ok(Proved {
        serial_decimal: der::decimal(serial).ok_or("its serial number is too long")?,
        serial_hex: hex::encode(significant),
        common_name: der::common_name(certificate.subject()).unwrap_or_default(),
    })
}

/// Whether the key of a certificate (DER) made a signature with SHA-256. The kind of key must fit the algorithm.
pub(crate) fn verifies(leaf: &[u8], is_rsa: bool, message: &[u8], signature: &[u8]) -> bool {
    const ECDSA: [&dyn SignatureVerificationAlgorithm; 3] =
        [aws_lc_rs::ECDSA_P256_SHA256, aws_lc_rs::ECDSA_P384_SHA256, aws_lc_rs::ECDSA_P521_SHA256];
    let der = CertificateDer::from(leaf);
    let Ok(certificate) = EndEntityCert::try_from(&der) else {
        return false;
    };
    let fits = |algorithm| certificate.verify_signature(algorithm, message, signature).is_ok();
    if is_rsa { fits(aws_lc_rs::RSA_PKCS1_2048_8192_SHA256) } else { ECDSA.into_iter().any(fits) }
}

fn words(error: &Error) -> String {
    match error {
        Error::CertExpired { .. } => "Certificate has expired".to_owned(),
        Error::CertNotValidYet { .. } => "Certificate is not valid yet".to_owned(),
        Error::UnknownIssuer => "Untrusted signing certificate".to_owned(),
        Error::CaUsedAsEndEntity => "Insufficient certificate: an authority's, not an end entity's".to_owned(),
        other => format!("Insufficient certificate: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use base64::{Engine, prelude::BASE64_STANDARD};

    use super::*;

    /// Made by `openssl req -x509` with a key of `openssl ecparam -name secp384r1`: a curve that other signers here
    /// do not use with SHA-256.
    const P384: &str = "MIIBszCCATigAwIBAgIUOHqpmUQn1gAfUUITphNbuPbkyJIwCgYIKoZIzj0EAwIwDzENMAsGA1UEAwwEcDM4NDAgFw0yNjExMjIw\
        MTE5MDBaGA8yMTI2MTAyOTAxMTkwMFowDzENMAsGA1UEAwwEcDM4NDB2MBAGByqGSM49AgEGBSuBBAAiA2IABHOlZ8eMLc471gfu\
        B/F6ur+qw0pd7olj2sNouYapfygdyuZEwpToiwH3tbwBJ70siuSFRT8lvIrFsSWtxcUUyBffsQSPGTy/ROFm+3OPYCCVQnP0feaV\
        RIooucY2cjcjnqNTMFEwHQYDVR0OBBYEFKWyKNp57Jp6d+dN7aL7mUnvqInhMB8GA1UdIwQYMBaAFKWyKNp57Jp6d+dN7aL7mUnv\
        qInhMA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDaQAwZgIxAOvn0yWPkvo2VpAs+8pDCK8cX7GABDgxT97yVmZutWCUADWr\
        b3yC0PWR6Q+9DJHWGAIxAISvQ5ZbR9sracradz7gUxpk67vuiow8IVFGJKOCJowAuQ9a7oSPjbVnQ4rr/ukcbQ==";
    /// Made by `openssl dgst -sha256 -sign` of `string to sign`.
    const SIGNATURE: &str = "306502301805d3a90b5bc597279d465d20a51e5592706dccb2941681d9588fe3940347815514d022f65bde1205feb84c5e02\
        bd45023100d3c7be952336bc8c1671b621acd5612170e2e7ce6eeb053300ffd72157ffc5ac004235e634ea83308d009c1481\
        cd5216";

    #[test]
    fn a_p384_key_signs_with_sha256_as_roles_anywhere_wants_it() {
        let leaf = BASE64_STANDARD.decode(P384).unwrap();
        let signature = hex::decode(SIGNATURE).unwrap();
        assert!(verifies(&leaf, false, b"string to sign", &signature));
        assert!(!verifies(&leaf, true, b"string to sign", &signature));
        assert!(!verifies(&leaf, false, b"another string", &signature));
        assert!(!verifies(&leaf[1..], false, b"string to sign", &signature));
    }

    #[test]
    fn an_authority_without_certificates_is_told_so() {
        assert!(anchor_problem("").unwrap().contains("no certificate"));
        assert!(
            anchor_problem("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")
                .unwrap()
                .contains("not usable")
        );
    }
}
