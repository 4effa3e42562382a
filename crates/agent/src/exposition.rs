//! Serves the registry: OpenMetrics as `prometheus-client` writes it, or text 0.0.4 for everybody else.
//!
//! Keeps true: in text 0.0.4 a counter's TYPE line carries the sample's name (with `_total`), HELP is as written, no EOF.

use prometheus_client::{encoding::text::encode, registry::Registry};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The body and its content type for an `Accept` header.
pub fn render(registry: &Registry, accept: Option<&str>) -> (String, &'static str) {
    let mut body = String::with_capacity(16 * 1024);
    // Writing into a String cannot fail; a collector that fails leaves a shorter page, which is still valid text.
    let _ = encode(&mut body, registry);
    match accept {
        Some(accept) if accept.contains("application/openmetrics-text") => (body, OPENMETRICS),
        _ => (text_0_0_4(&body), TEXT),
    }
}

fn text_0_0_4(openmetrics: &str) -> String {
    let mut out = String::with_capacity(openmetrics.len());
    let mut help: Option<(&str, &str)> = None;
    for line in openmetrics.lines() {
        if line == "# EOF" || line.starts_with("# UNIT ") {
            continue;
        }
        if let Some(rest) = line.strip_prefix("# HELP ") {
            help = rest.split_once(' ');
            continue;
        }
        if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|r| r.split_once(' ')) {
            let (suffix, kind) = match kind {
                "counter" => ("_total", "counter"),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                kind => ("", kind),
            };
            if let Some((help_name, text)) = help.take()
                && help_name == name
            {
                let text = text.strip_suffix('.').unwrap_or(text);
                out.push_str(&format!("# HELP {name}{suffix} {text}\n"));
            }
            out.push_str(&format!("# TYPE {name}{suffix} {kind}\n"));
            continue;
        }
        // Exemplars (` # {...}`) exist only in OpenMetrics.
        let line = line.split_once(" # {").map_or(line, |(sample, _)| sample);
        out.push_str(line);
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus_client::metrics::{counter::Counter, gauge::Gauge};

    #[test]
    fn both_formats_are_what_prometheus_reads() {
        let mut registry = Registry::default();
        let (counter, gauge) = (Counter::<u64>::default(), Gauge::<i64>::default());
        counter.inc_by(3);
        gauge.set(-2);
        registry.register("requests", "Requests", counter);
        registry.register("depth", "Depth", gauge);

        let (text, kind) = render(&registry, Some("text/plain;version=0.0.4;q=0.5,*/*;q=0.1"));
        assert_eq!(kind, TEXT);
        assert_eq!(
            text,
            "# HELP requests_total Requests\n# TYPE requests_total counter\nrequests_total 3\n# HELP depth Depth\n# TYPE depth gauge\ndepth -2\n"
        );
        let (open, kind) = render(&registry, Some("application/openmetrics-text;version=1.0.0"));
        assert_eq!(kind, OPENMETRICS);
        assert!(open.ends_with("# EOF\n"));
    }
}
