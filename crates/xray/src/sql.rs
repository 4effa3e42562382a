//! The `sql` block.

use std::{borrow::Cow, ops::Range};

use crate::{
    attributes::{Attributes, shown},
    known::{Key, key, keys},
    read::Span,
    segment::Sql,
};

/// Database systems whose spans have the block, under their old and stable names.
const SQL: [&str; 15] = [
    "db2",
    "derby",
    "hive",
    "ibm.db2",
    "mariadb",
    "microsoft.sql_server",
    "mssql",
    "mysql",
    "oracle",
    "oracle.db",
    "other_sql",
    "postgresql",
    "sap.hana",
    "sqlite",
    "teradata",
];

/// The block, whose attributes are taken; those of other databases stay metadata.
pub(crate) fn sql<'a>(span: &Span<'a>, attributes: &mut Attributes<'a>) -> Option<Sql<'a>> {
    let system = keys!["db.system", "db.system.name"].into_iter().find_map(|key| attributes.text(key))?;
    if !SQL.contains(&system) {
        return None;
    }
    let mut taken = |old: Key, new: Key| {
        let new = attributes.take_text(new);
        attributes.take_text(old).or(new)
    };
    let name = taken(key!("db.name"), key!("db.namespace")).unwrap_or_default();
    let statement = taken(key!("db.statement"), key!("db.query.text"));
    taken(key!("db.system"), key!("db.system.name"));
    let server = match attributes.take_text(key!("db.connection_string")) {
        Some(given) => without_password(given),
        None => server(attributes).unwrap_or(Cow::Borrowed("localhost")),
    };
    Some(Sql {
        connection_string: Cow::Owned(format!("{server}/{name}")),
        // The console shows it as the segment's title.
        url: Cow::Borrowed(span.name),
        sanitized_query: statement.map(Cow::Borrowed),
        database_type: system,
        user: attributes.take_text(key!("db.user")).map(Cow::Borrowed),
    })
}

/// What the stable conventions have in place of a connection string.
fn server<'a>(attributes: &Attributes<'a>) -> Option<Cow<'a, str>> {
    let address = attributes.text(key!("server.address"))?;
    let Some(port) = attributes.get(key!("server.port")).and_then(shown) else { return Some(Cow::Borrowed(address)) };
    // A bare IPv6 address needs its brackets.
    let is_bare = address.parse::<std::net::Ipv6Addr>().is_ok();
    Some(Cow::Owned(if is_bare { format!("[{address}]:{port}") } else { format!("{address}:{port}") }))
}

/// A connection string as X-Ray wants it ("segment documents", `sql`: without passwords), whatever driver wrote it.
fn without_password(text: &str) -> Cow<'_, str> {
    let mut left = Cow::Borrowed(text);
    if let Some(range) = in_user(text) {
        left.to_mut().replace_range(range, "");
    }
    while let Some(range) = in_parts(&left) {
        left.to_mut().replace_range(range, "");
    }
    left
}

/// The password behind a user's name and what parts them: `user:password@host`, in an address, alone, or as Oracle has it.
fn in_user(text: &str) -> Option<Range<usize>> {
    const ORACLE: &str = "jdbc:oracle:";
    let (start, end, between): (_, _, &[char]) =
        if text.get(..ORACLE.len()).is_some_and(|start| start.eq_ignore_ascii_case(ORACLE)) {
            // jdbc:oracle:<driver>:<user>/<password>@<where>
            (ORACLE.len() + text.get(ORACLE.len()..)?.find(':')? + 1, text.find('@')?, &['/'])
        } else if let Some(at) = text.find("://") {
            let start = at + 3;
            let authority = text.get(start..)?.split(['/', '?', '#', ';']).next()?;
            (start, start + authority.rfind('@')?, &[':'])
        } else {
            // user:password@host, or user/password@//host:port/name
            (0, text.rfind('@')?, &[':', '/'])
        };
    let user = text.get(start..end)?;
    // Else it is a list of parts, in one of which there is an `@`.
    if user.contains(['=', ';']) {
        return None;
    }
    Some(start + user.find(between)?..end)
}

/// The first `password=...` among parts, with what ends it; the last one with what stands before it.
fn in_parts(text: &str) -> Option<Range<usize>> {
    const NAMES: [&str; 5] = ["password", "passwd", "pwd", "accountkey", "sharedaccesskey"];
    let is_border = |byte: &u8| matches!(byte, b';' | b'&' | b'?' | b' ' | b',');
    let bytes = text.as_bytes();
    let starts = (0..bytes.len()).filter(|at| at.checked_sub(1).and_then(|at| bytes.get(at)).is_none_or(is_border));
    for start in starts {
        let rest = text.get(start..).unwrap_or_default();
        let is_named = |name: &&&str| rest.get(..name.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(name));
        let Some(name) = NAMES.iter().find(is_named) else { continue };
        let after = rest.get(name.len()..).unwrap_or_default();
        let Some(value) = after.trim_start_matches(' ').strip_prefix('=') else { continue };
        let value = value.trim_start_matches(' ');
        let quoted = match value.as_bytes().first() {
            Some(b'"') => Some('"'),
            Some(b'\'') => Some('\''),
            Some(b'{') => Some('}'),
            _ => None,
        };
        let closed =
            quoted.map(|quote| value.get(1..).and_then(|inner| inner.find(quote)).map_or(value.len(), |at| at + 2));
        let unquoted = closed.and_then(|at| value.get(at..)).unwrap_or(value);
        // Where parts end with semicolons, a value may have spaces in it.
        let ends: &[char] = if text.contains(';') { &[';'] } else { &['&', ' '] };
        let left = unquoted.find(ends).and_then(|at| unquoted.get(at + 1..));
        return Some(match left {
            Some(left) => start..text.len() - left.len(),
            None => start.saturating_sub(1)..text.len(),
        });
    }
    None
}
