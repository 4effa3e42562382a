//! `geoip` against a database made here: one network with one record.

mod support;

use stages::{Entry, Pipeline};
use support::START_NS;

/// A value of the MaxMind DB format.
enum Field<'a> {
    Text(&'a str),
    Double(f64),
    Uint16(u16),
    Uint32(u32),
    Uint64(u64),
    Map(&'a [(&'a str, Field<'a>)]),
    List(&'a [Field<'a>]),
}

fn control(out: &mut Vec<u8>, kind: u8, size: usize) {
    let (low, extra) = if size < 29 { (size as u8, None) } else { (29, Some((size - 29) as u8)) };
    if kind > 7 {
        out.extend([low, kind - 7]);
    } else {
        out.push(kind << 5 | low);
    }
    out.extend(extra);
}

fn number(out: &mut Vec<u8>, kind: u8, bytes: &[u8]) {
    let bytes: Vec<u8> = bytes.iter().copied().skip_while(|b| *b == 0).collect();
    control(out, kind, bytes.len());
    out.extend(bytes);
}

fn encode(out: &mut Vec<u8>, field: &Field<'_>) {
    match field {
        Field::Text(text) => {
            control(out, 2, text.len());
            out.extend(text.as_bytes());
        }
        Field::Double(value) => {
            control(out, 3, 8);
            out.extend(value.to_be_bytes());
        }
        Field::Uint16(n) => number(out, 5, &n.to_be_bytes()),
        Field::Uint32(n) => number(out, 6, &n.to_be_bytes()),
        Field::Uint64(n) => number(out, 9, &n.to_be_bytes()),
        Field::Map(pairs) => {
            control(out, 7, pairs.len());
            for (key, value) in *pairs {
                encode(out, &Field::Text(key));
                encode(out, value);
            }
        }
        Field::List(items) => {
            control(out, 11, items.len());
            items.iter().for_each(|item| encode(out, item));
        }
    }
}

/// A database in which 1.2.3.0/24 has `record` and nothing else is known.
fn database(kind: &str, record: &Field<'_>) -> tempfile::NamedTempFile {
    const NODES: u32 = 24;
    let mut file = Vec::new();
    for node in 0..NODES {
        let next = if node + 1 < NODES { node + 1 } else { NODES + 16 };
        let bit = 0x0102_0300_u32 >> (31 - node) & 1;
        for side in 0..2 {
            let record = if side == bit { next } else { NODES };
            file.extend(&record.to_be_bytes()[1..]);
        }
    }
    file.extend([0; 16]);
    encode(&mut file, record);
    file.extend(b"\xab\xcd\xefMaxMind.com");
    encode(
        &mut file,
        &Field::Map(&[
            ("binary_format_major_version", Field::Uint16(2)),
            ("binary_format_minor_version", Field::Uint16(0)),
            ("build_epoch", Field::Uint64(1_700_000_000)),
            ("database_type", Field::Text(kind)),
            ("description", Field::Map(&[("en", Field::Text("made by a test"))])),
            ("ip_version", Field::Uint16(4)),
            ("languages", Field::List(&[Field::Text("en")])),
            ("node_count", Field::Uint32(NODES)),
            ("record_size", Field::Uint16(24)),
        ]),
    );
    let at = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(at.path(), file).unwrap();
    at
}

fn labels_for(pipeline: &mut Pipeline, address: &str) -> Vec<(String, String)> {
    let labels = support::labels(&format!("{{ip=\"{address}\"}}")).0;
    let mut out = Vec::new();
    pipeline.process(Entry::new(labels, START_NS, "x"), START_NS, &mut |entry| {
        out.extend(entry.labels.iter().map(|(n, v)| (n.to_owned(), v.to_owned())));
    });
    out.retain(|(name, _)| name != "ip");
    out
}

#[test]
fn a_city_becomes_labels() {
    let english = |name| Field::Map(Box::leak(Box::new([("en", Field::Text(name))])));
    let file = database(
        "GeoLite2-City",
        &Field::Map(&[
            ("city", Field::Map(&[("names", english("Testville"))])),
            ("continent", Field::Map(&[("code", Field::Text("OC")), ("names", english("Oceania"))])),
            ("country", Field::Map(&[("iso_code", Field::Text("AU")), ("names", english("Australia"))])),
            (
                "location",
                Field::Map(&[
                    ("latitude", Field::Double(-33.5)),
                    ("longitude", Field::Double(151.0)),
                    ("time_zone", Field::Text("Australia/Sydney")),
                ]),
            ),
            ("postal", Field::Map(&[("code", Field::Text("2000"))])),
            (
                "subdivisions",
                Field::List(&[
                    Field::Map(&[("iso_code", Field::Text("X")), ("names", english("Wide"))]),
                    Field::Map(&[("iso_code", Field::Text("NSW")), ("names", english("New South Wales"))]),
                ]),
            ),
        ]),
    );
    let yaml = format!("- geoip: {{db: {}, source: ip, db_type: city}}", file.path().display());
    let mut pipeline = support::pipeline(&yaml).unwrap();
    let expected = [
        ("geoip_city_name", "Testville"),
        ("geoip_continent_code", "OC"),
        ("geoip_continent_name", "Oceania"),
        ("geoip_country_name", "Australia"),
        ("geoip_location_latitude", "-33.5"),
        ("geoip_location_longitude", "151"),
        ("geoip_postal_code", "2000"),
        ("geoip_subdivision_code", "NSW"),
        ("geoip_subdivision_name", "New South Wales"),
        ("geoip_timezone", "Australia/Sydney"),
    ];
    let found = labels_for(&mut pipeline, "1.2.3.77");
    assert_eq!(found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(), expected);
    for unknown in ["1.2.4.1", "nowhere", "::1", "1.2.3"] {
        assert_eq!(labels_for(&mut pipeline, unknown), [], "{unknown}");
    }
}

#[test]
fn an_autonomous_system_becomes_labels() {
    let file = database(
        "GeoLite2-ASN",
        &Field::Map(&[
            ("autonomous_system_number", Field::Uint32(64_500)),
            ("autonomous_system_organization", Field::Text("Example Networks")),
        ]),
    );
    let yaml = format!("- geoip: {{db: {}, source: ip, db_type: asn}}", file.path().display());
    let mut pipeline = support::pipeline(&yaml).unwrap();
    let found = labels_for(&mut pipeline, "1.2.3.4");
    assert_eq!(
        found.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect::<Vec<_>>(),
        [("geoip_autonomous_system_number", "64500"), ("geoip_autonomous_system_organization", "Example Networks"),]
    );
}
