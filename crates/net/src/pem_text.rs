//! What is wrong with a text that should be PEM, in words that name the line and the way out.
//!
//! Decodes nothing (the TLS library does). Keeps true: no word of the text reaches a message but the names of its sections; any
//! bytes are read in bounded time.

/// What the text should hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wanted {
    Certificate,
    PrivateKey,
}

impl Wanted {
    fn expected(self) -> &'static str {
        match self {
            Self::Certificate => "-----BEGIN CERTIFICATE-----",
            Self::PrivateKey => "-----BEGIN PRIVATE KEY-----, BEGIN RSA PRIVATE KEY or BEGIN EC PRIVATE KEY",
        }
    }

    /// The command of openssl that reads this from DER.
    fn tool(self) -> &'static str {
        match self {
            Self::Certificate => "openssl x509",
            Self::PrivateKey => "openssl pkey",
        }
    }
}

/// A section as far as it is there.
struct Section<'t> {
    label: &'t str,
    line: usize,
}

/// Completes the sentence "the certificate FILE ...", for bytes in which no such thing was found.
pub(crate) fn complaint(bytes: &[u8], wanted: Wanted) -> String {
    if bytes.trim_ascii().is_empty() {
        return format!("is empty; expected {}", wanted.expected());
    }
    // DER begins with a sequence; a PKCS #12 file with one that begins with version 3.
    if let [0x30, rest @ ..] = bytes {
        let inside = match rest {
            [0x82, _, _, inside @ ..] | [0x81, _, inside @ ..] | [_, inside @ ..] => inside,
            [] => &[],
        };
        if inside.starts_with(&[2, 1, 3]) {
            return "is PKCS #12 (.p12, .pfx), not PEM: take certificate and key out with openssl pkcs12 -in FILE -nodes -out FILE.pem"
                .to_owned();
        }
        return format!("is DER, not PEM: convert it with {} -inform der -in FILE -out FILE.pem", wanted.tool());
    }
    let Ok(text) = std::str::from_utf8(bytes) else {
        return format!("is binary, not PEM text; expected {}", wanted.expected());
    };
    let sections = match sections(text) {
        Ok(sections) => sections,
        Err(damage) => return damage,
    };
    of_sections(&sections, wanted)
}

/// The sections of a text, or what is wrong with one.
fn sections(text: &str) -> Result<Vec<Section<'_>>, String> {
    let mut all = Vec::new();
    let mut open: Option<(&str, usize, usize)> = None;
    for (at, line) in text.lines().enumerate() {
        let (number, line) = (at + 1, line.trim());
        let label = |begin: &str| line.strip_prefix(begin)?.strip_suffix("-----");
        match (open, label("-----BEGIN "), label("-----END ")) {
            (None, Some(label), _) => open = Some((label, number, 0)),
            (Some((_, begun, _)), Some(_), _) => {
                return Err(format!(
                    "is damaged: the section that begins at line {begun} has no END line before line {number}"
                ));
            }
            (Some((label, begun, length)), None, Some(end)) => {
                if label != end {
                    return Err(format!(
                        "is damaged: the section that begins at line {begun} ends as another one at line {number}"
                    ));
                }
                if length % 4 != 0 {
                    return Err(format!(
                        "is damaged: characters are missing in the section that begins at line {begun} (its base64 is no multiple of four)"
                    ));
                }
                all.push(Section { label, line: begun });
                open = None;
            }
            // Headers of old encrypted keys.
            (Some(_), None, None) if line.contains(": ") => {}
            (Some((label, begun, length)), None, None) => {
                // The END line itself may be what is cut.
                let is_last = text.lines().count() == number;
                if is_last && line.starts_with('-') {
                    continue;
                }
                let is_base64 = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'+' | b'/' | b'=');
                if !line.bytes().all(is_base64) {
                    return Err(format!("is damaged at line {number}, which is no base64"));
                }
                open = Some((label, begun, length + line.len()));
            }
            (None, None, _) => {}
        }
    }
    match open {
        Some((_, begun, _)) => Err(format!(
            "is cut off: the section that begins at line {begun} has no END line before the file ends (line {})",
            text.lines().count()
        )),
        None => Ok(all),
    }
}

fn of_sections(sections: &[Section<'_>], wanted: Wanted) -> String {
    let find = |label: &str| sections.iter().find(|s| s.label == label);
    let key = sections.iter().find(|s| s.label.ends_with("PRIVATE KEY"));
    let other = match wanted {
        Wanted::PrivateKey => {
            if let Some(encrypted) = find("ENCRYPTED PRIVATE KEY") {
                return format!("is encrypted (line {}), give it without a passphrase", encrypted.line);
            }
            find("CERTIFICATE").or_else(|| find("PUBLIC KEY")).map(|found| (found, "no private key"))
        }
        Wanted::Certificate => key.or_else(|| find("PUBLIC KEY")).map(|found| (found, "no certificate")),
    };
    if let Some(request) = find("CERTIFICATE REQUEST").or_else(|| find("NEW CERTIFICATE REQUEST"))
        && wanted == Wanted::Certificate
    {
        return format!("is a certificate request (line {}): an authority has to sign it first", request.line);
    }
    let expected = wanted.expected();
    match (other, sections.first()) {
        (Some((found, lacks)), _) => {
            let what = found.label.to_ascii_lowercase();
            format!("holds a {what} (line {}) and {lacks}: are two files swapped? expected {expected}", found.line)
        }
        // There is one of the right name, and it does not hold what its name says.
        (None, Some(first)) if key.is_some() || find("CERTIFICATE").is_some() => {
            let at = find("CERTIFICATE").or(key).map_or(first.line, |s| s.line);
            format!("is damaged: what stands in the section that begins at line {at} cannot be decoded")
        }
        (None, Some(first)) => {
            let what: String =
                first.label.chars().filter(|c| c.is_ascii_alphanumeric() || *c == ' ').take(40).collect();
            format!("holds {what} (line {}) and nothing else; expected {expected}", first.line)
        }
        (None, None) => format!("holds no PEM section; expected {expected}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PRIVATE KEY-----\nQUJD\n-----END PRIVATE KEY-----\n";
    const CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----\nQUJD\n-----END CERTIFICATE-----\n";

    #[test]
    fn each_kind_of_damage_is_named_with_its_line() {
        let cut = format!("# mine\n{}", &CERTIFICATE[..34]);
        let nested = format!("{}{CERTIFICATE}", &CERTIFICATE[..33]);
        let table: &[(&[u8], Wanted, &str)] = &[
            (b" \n", Wanted::Certificate, "is empty"),
            (
                &[0x30, 0x82, 1, 0, 0x30, 0x82, 0, 0],
                Wanted::Certificate,
                "is DER, not PEM: convert it with openssl x509",
            ),
            (&[0x30, 0x82, 1, 0, 2, 1, 0, 0x30], Wanted::PrivateKey, "openssl pkey -inform der"),
            (&[0x30, 0x82, 1, 0, 2, 1, 3, 0x30], Wanted::PrivateKey, "is PKCS #12"),
            (&[0xff, 0xfe, 0], Wanted::Certificate, "is binary"),
            (cut.as_bytes(), Wanted::Certificate, "is cut off: the section that begins at line 2"),
            (nested.as_bytes(), Wanted::Certificate, "begins at line 1 has no END line before line 3"),
            (
                b"-----BEGIN CERTIFICATE-----\nQUJ\n-----END CERTIFICATE-----",
                Wanted::Certificate,
                "characters are missing",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nQU\x7fD\n-----END CERTIFICATE-----",
                Wanted::Certificate,
                "damaged at line 2",
            ),
            (
                b"-----BEGIN CERTIFICATE-----\nQUJD\n-----END PRIVATE KEY-----",
                Wanted::Certificate,
                "ends as another one",
            ),
            (CERTIFICATE.as_bytes(), Wanted::PrivateKey, "holds a certificate (line 1) and no private key"),
            (KEY.as_bytes(), Wanted::Certificate, "holds a private key (line 1) and no certificate"),
            (
                b"-----BEGIN CERTIFICATE REQUEST-----\nQUJD\n-----END CERTIFICATE REQUEST-----",
                Wanted::Certificate,
                "request",
            ),
            (
                b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nQUJD\n-----END ENCRYPTED PRIVATE KEY-----",
                Wanted::PrivateKey,
                "without a passphrase",
            ),
            (b"hunter2", Wanted::PrivateKey, "holds no PEM section"),
            (KEY.as_bytes(), Wanted::PrivateKey, "cannot be decoded"),
        ];
        for (bytes, wanted, words) in table {
            let told = complaint(bytes, *wanted);
            assert!(told.contains(words) && !told.contains("QUJ") && !told.contains("hunter2"), "{words}: {told}");
        }
    }

    #[test]
    fn every_beginning_and_every_changed_byte_has_a_complaint() {
        let bundle = format!("{KEY}{CERTIFICATE}");
        let tells = |bytes: &[u8]| {
            for wanted in [Wanted::Certificate, Wanted::PrivateKey] {
                assert!(!complaint(bytes, wanted).is_empty(), "{bytes:?}");
            }
        };
        for at in 0..bundle.len() {
            tells(&bundle.as_bytes()[..at]);
            for byte in [0, b'\n', b'-', b'=', 0x30, 0xff] {
                let mut changed = bundle.clone().into_bytes();
                changed[at] = byte;
                tells(&changed);
            }
        }
        for short in [&[0x30][..], &[0x30, 0x82], &[0x30, 0x81, 1], b"-----BEGIN -----", b"-----END -----"] {
            tells(short);
        }
    }
}
