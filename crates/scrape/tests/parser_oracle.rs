//! The parser against `prometheus-parse`: equal where that crate is right, and a list of where it is not.

mod cache_support;

use std::{collections::BTreeMap, fmt::Write};

use cache_support::Target;
use prometheus_parse::{Scrape, Value};
use proptest::prelude::*;

type Read = BTreeMap<String, (i64, u64)>;

const NOW: i64 = 1_700_000_000_000;

fn ours(body: &str) -> Option<Read> {
    let (outcome, samples) = Target::plain().scrape(body, NOW);
    outcome.ok().map(|_| samples.into_iter().map(|(series, time, bits)| (series, (time, bits))).collect())
}

/// What the crate makes of a body; a sample without a timestamp gets the time of the scrape.
fn theirs(body: &str) -> Option<Read> {
    let lines = body.lines().map(|line| Ok(line.to_owned()));
    let read = Scrape::parse(lines).ok()?;
    let mut samples = Read::new();
    for sample in read.samples {
        let value = match sample.value {
            Value::Counter(value) | Value::Gauge(value) | Value::Untyped(value) => value,
            other => {
                samples.insert(format!("{} as {other:?}", sample.metric), (0, 0));
                continue;
            }
        };
        let labels: BTreeMap<&String, &String> = sample.labels.iter().collect();
        let mut series = format!("{}{{", sample.metric);
        for (at, (name, value)) in labels.into_iter().enumerate() {
            let _ = write!(series, "{}{name}={value:?}", if at > 0 { "," } else { "" });
        }
        series.push('}');
        let bits = if value.is_nan() { model::NORMAL_NAN_BITS } else { value.to_bits() };
        let time = sample.timestamp.timestamp_millis();
        // Its clock is the wall clock of this test, well after the timestamps used here.
        samples.insert(series, (if time > NOW + 1_000_000 { NOW } else { time }, bits));
    }
    Some(samples)
}

fn any_value() -> impl Strategy<Value = String> {
    prop_oneof![
        any::<i32>().prop_map(|v| v.to_string()),
        any::<f64>().prop_filter("a number", |v| v.is_finite()).prop_map(|v| format!("{v:e}")),
        (-1e9f64..1e9).prop_map(|v| v.to_string()),
        (any::<i32>(), 0u32..6).prop_map(|(m, s)| format!("{}", f64::from(m) / 10f64.powi(s as i32))),
        Just("+Inf".to_owned()),
        Just("-Inf".to_owned()),
        Just("NaN".to_owned()),
    ]
}

proptest! {
    #[test]
    fn both_read_plain_bodies_alike(
        families in proptest::collection::vec(
            (
                "[a-z_][a-z0-9_]{0,12}",
                proptest::option::of(prop_oneof![Just("counter"), Just("gauge"), Just("untyped")]),
                proptest::collection::btree_map(
                    proptest::collection::btree_map("[a-z_][a-z0-9_]{0,5}", "[a-zA-Z0-9 ./:;_\u{e9}\u{65e5}-]{1,10}", 0..4),
                    (any_value(), proptest::option::of(1i64..NOW)),
                    1..5,
                ),
            ),
            0..6,
        ),
        ends: bool,
    ) {
        let mut body = String::new();
        let mut names = std::collections::BTreeSet::new();
        for (name, kind, series) in families {
            if !names.insert(name.clone()) {
                continue;
            }
            if let Some(kind) = kind {
                let _ = writeln!(body, "# HELP {name} words\n# TYPE {name} {kind}");
            }
            for (labels, (value, time)) in series {
                body.push_str(&name);
                let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}=\"{value}\"")).collect();
                if !labels.is_empty() {
                    let _ = write!(body, "{{{}}}", labels.join(","));
                }
                let _ = write!(body, " {value}");
                if let Some(time) = time {
                    let _ = write!(body, " {time}");
                }
                body.push('\n');
            }
        }
        if ends {
            body.truncate(body.trim_end().len());
        }
        prop_assert_eq!(ours(&body), theirs(&body), "{}", body);
    }
}

/// Series, milliseconds, value.
type Right<'a> = Option<(&'a str, i64, f64)>;

/// Input, and what the format says: the samples, or `None` for "the scrape must fail". Each entry is one where
/// `prometheus-parse` 0.2.5 says something else; should a later version be right, the entry goes.
#[test]
fn where_the_oracle_is_wrong_we_follow_the_format() {
    let differences: &[(&str, Right<'_>)] = &[
        ("m{a=\"x,y\"} 1\n", Some(("m{a=\"x,y\"}", NOW, 1.0))),
        ("m{q=\"a=b\"} 1\n", Some(("m{q=\"a=b\"}", NOW, 1.0))),
        ("m{path=\"/a/{id}\"} 1\n", Some(("m{path=\"/a/{id}\"}", NOW, 1.0))),
        ("m{a=\"say \\\"hi\\\"\"} 1\n", Some(("m{a=\"say \\\"hi\\\"\"}", NOW, 1.0))),
        ("m{a=\"C:\\\\d\"} 1\n", Some(("m{a=\"C:\\\\d\"}", NOW, 1.0))),
        ("m{a=\"two\\nlines\"} 1\n", Some(("m{a=\"two\\nlines\"}", NOW, 1.0))),
        ("job:req:rate5m 1\n", Some(("job:req:rate5m{}", NOW, 1.0))),
        ("m{} 1\n", Some(("m{}", NOW, 1.0))),
        ("m {a=\"b\"} 1\n", Some(("m{a=\"b\"}", NOW, 1.0))),
        ("m\t{a=\"b\"}\t1\t5\n", Some(("m{a=\"b\"}", 5, 1.0))),
        ("m{ a = \"b\" , c = \"d\" } 1\n", Some(("m{a=\"b\",c=\"d\"}", NOW, 1.0))),
        ("m 0x1p-2\n", Some(("m{}", NOW, 0.25))),
        ("{\"my.metric\",a=\"b\"} 1\n", Some(("my.metric{a=\"b\"}", NOW, 1.0))),
        ("m{\"l.x\"=\"b\"} 1\n", Some(("m{l.x=\"b\"}", NOW, 1.0))),
        ("# TYPE h histogram\nh_bucket{le=\"1.0\"} 1\n", Some(("h_bucket{le=\"1.0\"}", NOW, 1.0))),
        ("m 1 12.5\n", None),
        ("m 1 5 foo\n", None),
        ("m abc\n", None),
        ("2xx 1\n", None),
        ("m{a-b=\"1\"} 1\n", None),
        ("m{a=b} 1\n", None),
        ("<html><body>not found</body></html>\n", None),
        ("m{a=\"1\",a=\"2\"} 1\n", None),
        ("m 1e400\n", None),
    ];
    for (body, right) in differences {
        let right = right.map(|(series, time, value)| Read::from([(series.to_owned(), (time, value.to_bits()))]));
        assert_eq!(ours(body), right, "{body:?}");
        assert_ne!(theirs(body), right, "the oracle is right about {body:?}; take it off the list");
    }
}

/// Inputs that the oracle reads rightly and that are easy to get wrong.
#[test]
fn where_the_oracle_is_right_we_agree() {
    for body in [
        "m NaN\n",
        "m +Inf\n",
        "m -Inf\n",
        "m 1.5e-07\n",
        "m{a=\"b\",} 1\n",
        "m 1",
        "m{a=\"\u{65e5}\u{672c}\"} 1\n",
        "m 1 -5\n",
    ] {
        assert_eq!(ours(body), theirs(body), "{body:?}");
    }
}
