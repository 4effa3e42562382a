//! The few facts of an X.509 certificate that Roles Anywhere needs: serial number, validity, who issued whom.
//!
//! Not a verifier. Keeps true: any bytes are read in bounded time and never panic.

use std::time::SystemTime;

use net::CertificateParts;

/// Facts of one certificate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Facts {
    /// In decimal, as AWS wants it.
    pub(crate) serial: String,
    /// The names' very bytes, which is how issuers are found (RFC 5280 section 7.1).
    pub(crate) issuer: Vec<u8>,
    pub(crate) subject: Vec<u8>,
    pub(crate) not_before: SystemTime,
    pub(crate) not_after: SystemTime,
    /// Whom it is for, as people write it.
    pub(crate) whom: String,
}

/// Reads a DER certificate.
pub(crate) fn facts(der: &[u8]) -> Option<Facts> {
    let CertificateParts { serial, issuer, subject, not_before, not_after, .. } = net::certificate_parts(der)?;
    let whom = net::certificate_facts(der)?.whom();
    let (issuer, subject) = (issuer.to_vec(), subject.to_vec());
    Some(Facts { serial: decimal(serial)?, issuer, subject, not_before, not_after, whom })
}

/// A big-endian number in decimal. At most 20 octets are allowed by RFC 5280; some authorities use a few more.
fn decimal(bytes: &[u8]) -> Option<String> {
    if bytes.is_empty() || bytes.len() > 64 {
        return None;
    }
    const BASE: u64 = 1_000_000_000;
    let mut limbs: Vec<u64> = vec![0];
    for byte in bytes {
        let mut carry = u64::from(*byte);
        for limb in &mut limbs {
            let value = *limb * 256 + carry;
            *limb = value % BASE;
            carry = value / BASE;
        }
        if carry > 0 {
            limbs.push(carry);
        }
    }
    let mut text = String::new();
    for (at, limb) in limbs.iter().rev().enumerate() {
        text.push_str(&if at == 0 { limb.to_string() } else { format!("{limb:09}") });
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn numbers_of_any_size_are_written_in_decimal() {
        assert_eq!(decimal(&[0]).unwrap(), "0");
        assert_eq!(decimal(&[0, 255]).unwrap(), "255");
        assert_eq!(decimal(&[0x3b, 0x9a, 0xca, 0x00]).unwrap(), "1000000000");
        assert_eq!(decimal(&[0xff; 20]).unwrap(), "1461501637330902918203684832716283019655932542975");
        assert_eq!(decimal(&[]), None);
    }

    #[test]
    fn a_certificate_tells_its_serial_and_validity() {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["a.example".to_owned()]).unwrap();
        params.serial_number = Some(rcgen::SerialNumber::from_slice(&[1, 0, 0, 0, 0, 0, 0, 0, 0]));
        params.not_before = rcgen::date_time_ymd(2024, 1, 2);
        params.not_after = rcgen::date_time_ymd(2055, 3, 4);
        let facts = facts(params.self_signed(&key).unwrap().der()).unwrap();
        assert_eq!(facts.serial, "18446744073709551616");
        let at = |t: &str| crate::json::parse_time(t).unwrap();
        assert_eq!((facts.not_before, facts.not_after), (at("2024-01-02T00:00:00Z"), at("2055-03-04T00:00:00Z")));
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_without_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = facts(&bytes);
            let mut wrapped = vec![0x30, 0x82, 1, 0x2c, 0x30, 0x82, 1, 0];
            wrapped.extend(bytes);
            let _ = facts(&wrapped);
        }
    }
}
