//! The `sql` block.

use std::borrow::Cow;

use proto::otlp_traces::Span;

use crate::{attributes::Attributes, segment::Sql};

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
pub(crate) fn sql<'a>(span: &'a Span, attributes: &mut Attributes<'a>) -> Option<Sql<'a>> {
    let system = ["db.system", "db.system.name"].into_iter().find_map(|key| attributes.text(key))?;
    if !SQL.contains(&system) {
        return None;
    }
    let mut taken = |old: &str, new: &str| {
        let new = attributes.take_text(new);
        attributes.take_text(old).or(new)
    };
    let name = taken("db.name", "db.namespace").unwrap_or_default();
    let statement = taken("db.statement", "db.query.text");
    taken("db.system", "db.system.name");
    let server = attributes.take_text("db.connection_string").unwrap_or("localhost");
    Some(Sql {
        connection_string: Cow::Owned(format!("{server}/{name}")),
        // The console shows it as the segment's title.
        url: Cow::Borrowed(&span.name),
        sanitized_query: statement.map(Cow::Borrowed),
        database_type: system,
        user: attributes.take_text("db.user").map(Cow::Borrowed),
    })
}
