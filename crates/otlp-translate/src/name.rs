//! Names of metrics and labels as Prometheus wants them.
//!
//! Source: the OpenTelemetry specification, "Prometheus and OpenMetrics Compatibility": units, `_total`, `_ratio`, sanitizing.

/// What the rules ask of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A monotonic sum: ends in `_total`.
    Counter,
    /// A gauge, of which one without a dimension is a ratio.
    Gauge,
    Other,
}

/// The name of a metric: words of letters and digits, its unit behind them if it does not say it already.
pub(crate) fn metric_name(name: &str, unit: &str, kind: Kind) -> String {
    let mut words: Vec<&str> = words(name).collect();
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(main, per)| (main, per));
    let plain = |unit: &str| unit.trim().to_owned();
    let main = Some(plain(main)).filter(|unit| !unit.contains(['{', '}'])).map(|unit| cleaned(of_unit(&unit)));
    let per = Some(plain(per)).filter(|unit| !unit.contains(['{', '}'])).map(|unit| cleaned(of_per(&unit)));
    if let Some(main) = main.as_deref().filter(|main| !main.is_empty() && !words.contains(main)) {
        words.push(main);
    }
    if let Some(per) = per.as_deref().filter(|per| !per.is_empty() && !words.contains(per)) {
        words.extend(["per", per]);
    }
    let last = match kind {
        Kind::Counter => Some("total"),
        Kind::Gauge if unit == "1" => Some("ratio"),
        _ => None,
    };
    if let Some(last) = last {
        words.retain(|word| *word != last);
        words.push(last);
    }
    let joined = words.join("_");
    if joined.starts_with(|first: char| first.is_ascii_digit()) { format!("_{joined}") } else { joined }
}

/// The unit as it stands in names and metadata.
pub(crate) fn unit_name(unit: &str) -> String {
    let (main, per) = unit.split_once('/').map_or((unit, ""), |(main, per)| (main, per));
    let known = |unit: &str| !unit.is_empty() && !unit.contains(['{', '}']);
    let (main, per) = (main.trim(), per.trim());
    match (known(main), known(per)) {
        (true, true) => format!("{}_per_{}", cleaned(of_unit(main)), cleaned(of_per(per))),
        (false, true) => format!("per_{}", cleaned(of_per(per))),
        (true, false) => cleaned(of_unit(main)),
        (false, false) => String::new(),
    }
}

/// The name of a label: other characters become `_`; `key` goes before a digit or a single `_`.
pub(crate) fn label_name(name: &str) -> String {
    let clean: String = name.chars().map(|c| if c.is_ascii_alphanumeric() || c == '_' { c } else { '_' }).collect();
    if clean.starts_with(|first: char| first.is_ascii_digit()) {
        format!("key_{clean}")
    } else if clean.starts_with('_') && !clean.starts_with("__") {
        format!("key{clean}")
    } else {
        clean
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty())
}

fn cleaned(text: &str) -> String {
    words(text).collect::<Vec<_>>().join("_")
}

/// UCUM's units, in the plural.
fn of_unit(unit: &str) -> &str {
    match unit {
        "d" => "days",
        "h" => "hours",
        "min" => "minutes",
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "KiBy" => "kibibytes",
        "MiBy" => "mebibytes",
        "GiBy" => "gibibytes",
        "TiBy" => "tibibytes",
        "KBy" | "kBy" => "kilobytes",
        "MBy" => "megabytes",
        "GBy" => "gigabytes",
        "TBy" => "terabytes",
        "m" => "meters",
        "V" => "volts",
        "A" => "amperes",
        "J" => "joules",
        "W" => "watts",
        "g" => "grams",
        "Cel" => "celsius",
        "Hz" => "hertz",
        "%" => "percent",
        "1" => "",
        other => other,
    }
}

fn of_per(unit: &str) -> &str {
    match unit {
        "s" => "second",
        "m" => "minute",
        "h" => "hour",
        "d" => "day",
        "w" => "week",
        "mo" => "month",
        "y" => "year",
        other => other,
    }
}
