//! The facts of an X.509 certificate that a person looks at: whom it is for, who signed it, until when.
//!
//! Not a verifier. Keeps true: any bytes are read in bounded time and never panic; texts from a certificate hold no control
//! characters.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    time::SystemTime,
};

/// What a certificate says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFacts {
    /// Such as `CN=host, O=Example`; empty where only `names` say whom it is for.
    pub subject: String,
    /// Who signed it.
    pub issuer: String,
    /// DNS names and addresses it is for (subject alternative names; at most 64).
    pub names: Vec<String>,
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
}

impl CertificateFacts {
    /// Signed by whom it is for: a root, or a certificate made by hand.
    pub fn is_self_signed(&self) -> bool {
        self.subject == self.issuer && !self.subject.is_empty()
    }

    /// Subject, else the names, else a word.
    pub fn whom(&self) -> String {
        match (self.subject.is_empty(), self.names.is_empty()) {
            (false, _) => self.subject.clone(),
            (true, false) => self.names.join(", "),
            (true, true) => "nobody named".to_owned(),
        }
    }
}

const OID: u8 = 0x06;
const OCTETS: u8 = 0x04;
const INTEGER: u8 = 0x02;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;
const EXTENSIONS: u8 = 0xa3;
const DNS_NAME: u8 = 0x82;
const IP_ADDRESS: u8 = 0x87;
/// 2.5.29.17
const ALTERNATIVE_NAMES: &[u8] = &[0x55, 0x1d, 0x11];
/// Attributes of a name that are shown: 2.5.4.3, .10, .11.
const SHOWN: &[(&[u8], &str)] = &[(&[0x55, 4, 3], "CN"), (&[0x55, 4, 10], "O"), (&[0x55, 4, 11], "OU")];
const MOST_NAMES: usize = 64;

/// The parts of a certificate as they stand in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CertificateParts<'a> {
    /// Big-endian.
    pub serial: &'a [u8],
    /// DER of the name's contents, which is how issuers are found (RFC 5280 section 7.1).
    pub issuer: &'a [u8],
    /// The same of whom it is for.
    pub subject: &'a [u8],
    /// Valid from.
    pub not_before: SystemTime,
    /// Valid until.
    pub not_after: SystemTime,
    /// What follows the public key.
    rest: &'a [u8],
}

/// Takes a DER certificate apart (RFC 5280 section 4.1).
pub fn certificate_parts(der: &[u8]) -> Option<CertificateParts<'_>> {
    let (certificate, _) = expect(der, SEQUENCE)?;
    let (tbs, _) = expect(certificate, SEQUENCE)?;
    let rest = expect(tbs, VERSION).map_or(tbs, |(_, rest)| rest);
    let (serial, rest) = expect(rest, INTEGER)?;
    let (_signature, rest) = expect(rest, SEQUENCE)?;
    let (issuer, rest) = expect(rest, SEQUENCE)?;
    let (validity, rest) = expect(rest, SEQUENCE)?;
    let (subject, rest) = expect(rest, SEQUENCE)?;
    let (_key, rest) = expect(rest, SEQUENCE)?;
    let (not_before, end) = time(validity)?;
    let (not_after, _) = time(end)?;
    Some(CertificateParts { serial, issuer, subject, not_before, not_after, rest })
}

/// What people want to know of a DER certificate.
pub fn certificate_facts(der: &[u8]) -> Option<CertificateFacts> {
    let CertificateParts { issuer, subject, not_before, not_after, mut rest, .. } = certificate_parts(der)?;
    let mut names = Vec::new();
    while let Some((tag, content, after)) = element(rest) {
        if tag == EXTENSIONS {
            names = alternative_names(content);
        }
        rest = after;
    }
    Some(CertificateFacts { subject: name(subject), issuer: name(issuer), names, not_before, not_after })
}

/// One element: tag, content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let (&first, rest) = rest.split_first()?;
    let (length, rest) = match first {
        0..=0x7f => (usize::from(first), rest),
        // A certificate is far below 4 GiB; indefinite lengths are not DER.
        0x81..=0x84 => {
            let (digits, rest) = rest.split_at_checked(usize::from(first & 0x7f))?;
            (digits.iter().fold(0usize, |n, d| (n << 8) | usize::from(*d)), rest)
        }
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((tag, content, rest))
}

fn expect(bytes: &[u8], wanted: u8) -> Option<(&[u8], &[u8])> {
    element(bytes).filter(|(tag, ..)| *tag == wanted).map(|(_, content, rest)| (content, rest))
}

fn time(bytes: &[u8]) -> Option<(SystemTime, &[u8])> {
    let (tag, content, rest) = element(bytes)?;
    let text = std::str::from_utf8(content).ok()?.strip_suffix('Z')?;
    let full = match tag {
        // Two-digit years turn at 50 (RFC 5280 section 4.1.2.5.1).
        UTC_TIME => format!("{}{text}", if text.get(..2)?.parse::<u8>().ok()? < 50 { "20" } else { "19" }),
        GENERALIZED_TIME => text.to_owned(),
        _ => return None,
    };
    let civil = jiff::civil::DateTime::strptime("%Y%m%d%H%M%S", full).ok()?;
    let zoned = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some((SystemTime::from(zoned.timestamp()), rest))
}

/// `CN=a, O=b`: the attributes people know, in the order of the certificate.
fn name(mut bytes: &[u8]) -> String {
    let mut parts = Vec::new();
    while let Some((mut set, rest)) = expect(bytes, SET) {
        while let Some((pair, after)) = expect(set, SEQUENCE) {
            let shown = expect(pair, OID).and_then(|(oid, value)| {
                let (_, label) = SHOWN.iter().find(|(known, _)| *known == oid)?;
                let (_, text, _) = element(value)?;
                Some(format!("{label}={}", readable(text)))
            });
            parts.extend(shown);
            set = after;
        }
        bytes = rest;
        if parts.len() > 16 {
            break;
        }
    }
    parts.join(", ")
}

fn alternative_names(bytes: &[u8]) -> Vec<String> {
    let mut names = Vec::new();
    let Some((mut list, _)) = expect(bytes, SEQUENCE) else { return names };
    while let Some((extension, rest)) = expect(list, SEQUENCE) {
        list = rest;
        let Some((oid, mut value)) = expect(extension, OID) else { continue };
        if oid != ALTERNATIVE_NAMES {
            continue;
        }
        // The flag "critical" may stand before the value.
        if let Some((tag, _, after)) = element(value)
            && tag != OCTETS
        {
            value = after;
        }
        let Some((mut general, _)) = expect(value, OCTETS).and_then(|(octets, _)| expect(octets, SEQUENCE)) else {
            continue;
        };
        while let Some((tag, content, after)) = element(general) {
            general = after;
            if names.len() == MOST_NAMES {
                break;
            }
            match tag {
                DNS_NAME => names.push(readable(content)),
                IP_ADDRESS => names.extend(address(content)),
                _ => {}
            }
        }
    }
    names
}

fn address(bytes: &[u8]) -> Option<String> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|b| Ipv4Addr::from(b).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|b| Ipv6Addr::from(b).to_string());
    v4().or_else(v6)
}

fn readable(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().filter(|c| !c.is_control()).take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_tells_whom_it_is_for_who_signed_it_and_until_when() {
        let key = rcgen::KeyPair::generate().unwrap();
        let names = vec!["a.example".to_owned(), "127.0.0.1".to_owned()];
        let mut params = rcgen::CertificateParams::new(names).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, "the host");
        params.distinguished_name.push(rcgen::DnType::OrganizationName, "Example");
        params.distinguished_name.push(rcgen::DnType::CountryName, "XX");
        params.not_before = rcgen::date_time_ymd(2024, 1, 2);
        params.not_after = rcgen::date_time_ymd(2055, 3, 4);
        let facts = certificate_facts(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.subject, "CN=the host, O=Example");
        assert!(facts.is_self_signed());
        assert_eq!(facts.names, ["a.example", "127.0.0.1"]);
        let at = |text: &str| SystemTime::from(text.parse::<jiff::Timestamp>().unwrap());
        assert_eq!((facts.not_before, facts.not_after), (at("2024-01-02T00:00:00Z"), at("2055-03-04T00:00:00Z")));
    }

    #[test]
    fn a_damaged_certificate_is_read_without_a_panic() {
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        let der = params.self_signed(&key).unwrap().der().to_vec();
        for at in 0..der.len() {
            let _ = certificate_facts(&der[..at]);
            for value in [0u8, 0x30, 0x80, 0x84, 0xff] {
                let mut damaged = der.clone();
                damaged[at] = value;
                let _ = certificate_facts(&damaged);
            }
        }
        assert!(certificate_facts(b"").is_none());
    }
}
