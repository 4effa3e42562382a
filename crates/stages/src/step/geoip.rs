//! `geoip`: labels from a MaxMind database, for the address in an extracted value.
//!
//! The database is read once, when the pipeline is made. Addresses that are none, or not in it, change nothing.

use std::{net::IpAddr, sync::Arc};

use maxminddb::{Reader, geoip2};
use model::Labels;

use super::{Flow, LineStage, Source};
use crate::{Entry, StageError, StageFault, config::GeoIpConfig, error::Place};

#[derive(Clone)]
pub(crate) struct GeoIp {
    source: Source,
    reader: Arc<Reader<Vec<u8>>>,
    kind: Kind,
}

impl std::fmt::Debug for GeoIp {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GeoIp").field("source", &self.source).field("kind", &self.kind).finish_non_exhaustive()
    }
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    City,
    Asn,
    Country,
}

impl GeoIp {
    pub fn new(config: &GeoIpConfig, place: &Place) -> Result<Self, StageError> {
        if config.db.as_os_str().is_empty() {
            return Err(place.key("db").fault(StageFault::Required));
        }
        let kind = match config.db_type.as_str() {
            "city" => Kind::City,
            "asn" => Kind::Asn,
            "country" => Kind::Country,
            other => {
                let given = other.to_owned();
                return Err(place.key("db_type").fault(StageFault::Choice { given, allowed: "city, asn, country" }));
            }
        };
        let source = Source::new(config.source.as_deref(), place)?;
        let reader = Reader::open_readfile(&config.db).map_err(|error| {
            place.key("db").fault(StageFault::Database { path: config.db.clone(), reason: error.to_string() })
        })?;
        Ok(Self { source, reader: Arc::new(reader), kind })
    }

    fn look_up(&self, address: IpAddr, labels: &mut Labels) -> Result<(), maxminddb::MaxMindDbError> {
        let found = self.reader.lookup(address)?;
        match self.kind {
            Kind::City => {
                if let Some(city) = found.decode::<geoip2::City<'_>>()? {
                    city_labels(&city, labels);
                }
            }
            Kind::Country => {
                if let Some(record) = found.decode::<geoip2::Country<'_>>()? {
                    set(labels, "country_name", record.country.names.english);
                    set(labels, "continent_name", record.continent.names.english);
                    set(labels, "continent_code", record.continent.code);
                }
            }
            Kind::Asn => {
                if let Some(asn) = found.decode::<geoip2::Asn<'_>>()? {
                    let number = asn.autonomous_system_number.filter(|n| *n != 0).map(|n| n.to_string());
                    set(labels, "autonomous_system_number", number.as_deref());
                    set(labels, "autonomous_system_organization", asn.autonomous_system_organization);
                }
            }
        }
        Ok(())
    }
}

/// What the database does not know, or knows as empty, is no label.
fn set(labels: &mut Labels, name: &str, value: Option<&str>) {
    if let Some(value) = value.filter(|v| !v.is_empty()) {
        labels.set(&format!("geoip_{name}"), value);
    }
}

fn city_labels(record: &geoip2::City<'_>, labels: &mut Labels) {
    set(labels, "city_name", record.city.names.english);
    set(labels, "country_name", record.country.names.english);
    set(labels, "continent_name", record.continent.names.english);
    set(labels, "continent_code", record.continent.code);
    set(labels, "postal_code", record.postal.code);
    set(labels, "timezone", record.location.time_zone);
    if let (Some(latitude), Some(longitude)) = (record.location.latitude, record.location.longitude) {
        set(labels, "location_latitude", Some(&latitude.to_string()));
        set(labels, "location_longitude", Some(&longitude.to_string()));
    }
    // The last is the most specific.
    if let Some(subdivision) = record.subdivisions.last() {
        set(labels, "subdivision_name", subdivision.names.english);
        set(labels, "subdivision_code", subdivision.iso_code);
    }
}

impl LineStage for GeoIp {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        // Without a source there is no address: Promtail does nothing then.
        if let Source::Extracted(name) = &self.source
            && let Some(address) = entry.extracted.text(name).and_then(|text| text.parse::<IpAddr>().ok())
        {
            // A record that cannot be read is as good as none.
            let _ = self.look_up(address, &mut entry.labels);
        }
        Flow::Pass
    }
}
