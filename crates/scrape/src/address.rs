//! `host:port` as Go's `net.SplitHostPort` reads it.

/// Host (without brackets) and port (possibly empty); `None` when there is no port or the text is not an address.
pub(crate) fn split(address: &str) -> Option<(&str, &str)> {
    let (before, port) = address.rsplit_once(':')?;
    let host = match address.strip_prefix('[') {
        Some(_) => before.strip_prefix('[')?.strip_suffix(']')?,
        None if before.contains(':') => return None,
        None => before,
    };
    if host.contains(['[', ']']) || port.contains(['[', ']']) {
        return None;
    }
    Some((host, port))
}

/// Whether a port could be appended: there is none, and with one the address is valid.
pub(crate) fn lacks_port(address: &str) -> bool {
    split(address).is_none() && split(&format!("{address}:1234")).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_split_as_go_splits_them() {
        let table = [
            ("a:1", Some(("a", "1")), false),
            ("a", None, true),
            ("a:", Some(("a", "")), false),
            (":80", Some(("", "80")), false),
            ("[::1]:80", Some(("::1", "80")), false),
            ("[::1]", None, true),
            ("::1", None, false),
            ("a:b:1", None, false),
            ("[a]b:1", None, false),
            ("a]:1", None, false),
            ("", None, true),
        ];
        for (address, want, lacks) in table {
            assert_eq!(split(address), want, "{address}");
            assert_eq!(lacks_port(address), lacks, "{address}");
        }
    }
}
