//! The grammar, line by line, through the cache that uses the parser.

mod cache_support;

use cache_support::{Target, at};
use scrape::{Format, IngestFault};

/// When the bodies in OpenMetrics are scraped.
const NOW: i64 = 2_000_000_000_000;

fn text(body: &str) -> Result<Vec<(String, i64, f64)>, String> {
    read(Format::Text004, body)
}

fn open_metrics(body: &str) -> Result<Vec<(String, i64, f64)>, String> {
    read(Format::OpenMetrics1, body)
}

fn read(format: Format, body: &str) -> Result<Vec<(String, i64, f64)>, String> {
    let mut target = Target { format, ..Target::plain() };
    let (outcome, samples) = target.scrape(body, if format == Format::Text004 { 1000 } else { NOW });
    match outcome.map_err(|error| error.fault) {
        Ok(_) => Ok(samples.into_iter().map(|(s, t, v)| (s, t, f64::from_bits(v))).collect()),
        Err(IngestFault::Parse(error)) => {
            assert!(samples.is_empty());
            Err(error.to_string())
        }
        Err(other) => panic!("{other}"),
    }
}

fn one(series: &str, time: i64, value: f64) -> Result<Vec<(String, i64, f64)>, String> {
    Ok(vec![(series.to_owned(), time, value)])
}

#[test]
fn lines_of_the_text_format_are_read() {
    for (line, series, time, value) in [
        ("m 1", "m{}", 1000, 1.0),
        ("m 1\n", "m{}", 1000, 1.0),
        ("m{} 1\n", "m{}", 1000, 1.0),
        ("m{}1\n", "m{}", 1000, 1.0),
        ("  m \t 1 \t \n", "m{}", 1000, 1.0),
        ("m {a=\"b\"} 1\n", "m{a=\"b\"}", 1000, 1.0),
        ("m\t{a=\"b\"}\t1\t5\n", "m{a=\"b\"}", 5, 1.0),
        ("m{ a = \"b\" , c = \"d\" } 1\n", "m{a=\"b\",c=\"d\"}", 1000, 1.0),
        ("m{c=\"d\",a=\"b\",} 1\n", "m{a=\"b\",c=\"d\"}", 1000, 1.0),
        ("m{a=\"x,y\"} 1\n", "m{a=\"x,y\"}", 1000, 1.0),
        ("m{q=\"a=b\"} 1\n", "m{q=\"a=b\"}", 1000, 1.0),
        ("m{path=\"/a/{id}\"} 1\n", "m{path=\"/a/{id}\"}", 1000, 1.0),
        (r#"m{a="say \"hi\""} 1"#, r#"m{a="say \"hi\""}"#, 1000, 1.0),
        (r#"m{a="C:\\d\n\x"} 1"#, r#"m{a="C:\\d\n\\x"}"#, 1000, 1.0),
        ("m{a=\"two\nlines\"} 1\n", "m{a=\"two\\nlines\"}", 1000, 1.0),
        ("m{a=\"\"} 1\n", "m{}", 1000, 1.0),
        ("job:req:rate5m 1\n", "job:req:rate5m{}", 1000, 1.0),
        (":a 1\n", ":a{}", 1000, 1.0),
        ("_a1 1\n", "_a1{}", 1000, 1.0),
        ("m 0x1p-2\n", "m{}", 1000, 0.25),
        ("m +Inf\n", "m{}", 1000, f64::INFINITY),
        ("m -inf -7\n", "m{}", -7, f64::NEG_INFINITY),
        ("m 1.5e-07\n", "m{}", 1000, 1.5e-7),
        ("m{le=\"1.0\"} 1\n", "m{le=\"1.0\"}", 1000, 1.0),
        ("{\"my.metric\",a=\"b\"} 1\n", "my.metric{a=\"b\"}", 1000, 1.0),
        ("{a=\"b\",\"my.metric\"} 1\n", "my.metric{a=\"b\"}", 1000, 1.0),
        ("{\"m\"} 1\n", "m{}", 1000, 1.0),
        ("m{\"l.x\"=\"b\"} 1\n", "m{l.x=\"b\"}", 1000, 1.0),
        ("{\"quo\\\"ted\",\"\u{65e5}\"=\"\u{672c}\"} 1\n", "quo\"ted{\u{65e5}=\"\u{672c}\"}", 1000, 1.0),
        ("#no blank\n#\n# a remark\n#HELP\n\n \t\nm 1\n", "m{}", 1000, 1.0),
        ("# EOF\nm 1\n", "m{}", 1000, 1.0),
        ("# HELP m\n# TYPE m gauge\n# UNIT of what\nm 1\n", "m{}", 1000, 1.0),
        ("#  TYPE\tm   untyped  \nm 1\n", "m{}", 1000, 1.0),
    ] {
        assert_eq!(text(line), one(series, time, value), "{line:?}");
    }
}

#[test]
fn lines_of_open_metrics_are_read() {
    for (line, series, time, value) in [
        ("m 1", "m{}", NOW, 1.0),
        ("m{a=\"b\"} 1", "m{a=\"b\"}", NOW, 1.0),
        ("m 17.0 1520879607.789", "m{}", 1_520_879_607_789, 17.0),
        ("m 1 -1.5", "m{}", -1500, 1.0),
        ("m 1 1e3", "m{}", 1_000_000, 1.0),
        ("m_bucket{le=\"1\"} 2 # {trace_id=\"x\"} 0.5", "m_bucket{le=\"1\"}", NOW, 2.0),
        ("m_total 2 3 # {} 0.5 1520879607.1", "m_total{}", 3000, 2.0),
        ("m 2 # {a=\"x,} y\",b=\"\\\"\"} 0.5 1", "m{}", NOW, 2.0),
        ("{\"my.metric\",a=\"b\"} 1", "my.metric{a=\"b\"}", NOW, 1.0),
        ("# HELP m x \\\"y\\\"\n# TYPE m gaugehistogram\nm 1", "m{}", NOW, 1.0),
        ("# TYPE m_seconds gauge\n# UNIT m_seconds seconds\nm_seconds 1", "m_seconds{}", NOW, 1.0),
        ("# TYPE m stateset\nm 1", "m{}", NOW, 1.0),
        ("# TYPE m info\nm 1", "m{}", NOW, 1.0),
        ("# TYPE m unknown\n# UNIT m \nm 1", "m{}", NOW, 1.0),
    ] {
        assert_eq!(open_metrics(&format!("{line}\n# EOF\n")), one(series, time, value), "{line:?}");
        assert_eq!(open_metrics(&format!("{line}\n# EOF")), one(series, time, value), "{line:?}");
    }
    assert_eq!(open_metrics("# EOF\n"), Ok(vec![]));
    assert_eq!(open_metrics(""), Ok(vec![]), "an empty answer counts as one without samples");
}

#[test]
fn a_malformed_line_of_the_text_format_fails_the_scrape() {
    for line in [
        "m",
        "m ",
        "m\n",
        "m abc",
        "m 1 12.5",
        "m 1 5 foo",
        "m 1 5x",
        "m 1 99999999999999999999",
        "2xx 1",
        "m{a-b=\"1\"} 1",
        "m{a=b} 1",
        "m{a='b'} 1",
        "m{a} 1",
        "m{a=} 1",
        "m{=\"b\"} 1",
        "m{,} 1",
        "m{a=\"b\",,} 1",
        "m{a=\"b\" c=\"d\"} 1",
        "m{a=\"b\" 1",
        "m{a=\"b} 1",
        "m{a=\"b\\\n\"} 1",
        "m{a=\"1\",a=\"2\"} 1",
        "m{__name__=\"x\"} 1",
        "{a=\"b\"} 1",
        "{} 1",
        "{\"\"} 1",
        "{\"m\",\"n\"} 1",
        "m{\"n\"} 1",
        "m{\"\"=\"x\"} 1",
        "<html>",
        "m 1\r\n",
        "m 1_000",
        "m 1 # {a=\"b\"} 1",
        "m 1e400",
        "m nope",
        "# TYPE m nonsense",
        "# TYPE m unknown",
        "# TYPE 1m gauge",
        "# HELP",
        "# HELP 1 x",
        "# TYPE m",
        "\0",
        "m{a=\"b\"}} 1",
        "-m 1",
        "m{:a=\"b\"} 1",
        "m 1{",
    ] {
        let body = format!("ok 1\n{line}");
        // A comment word that nothing follows is a remark.
        if line == "# HELP" {
            assert_eq!(text(&body), one("ok{}", 1000, 1.0));
            continue;
        }
        let error = text(&body).expect_err(line);
        assert!(error.starts_with("line 2: ") || error.starts_with("line 3: "), "{line:?}: {error}");
    }
    for body in [&b"m{a=\"\xff\"} 1\n"[..], b"# HELP m \xff\nm 1\n", b"\xff\xfe", b"{\"\xff\"} 1\n"] {
        assert!(Target::plain().scrape(body, 1).0.is_err(), "{body:?}");
    }
}

#[test]
fn a_malformed_line_of_open_metrics_fails_the_scrape() {
    for line in [
        "m  1",
        "m\t1",
        "m 1 ",
        "m 1  2",
        "m{ a=\"b\"} 1",
        "m{a=\"b\"}1",
        "m {a=\"b\"} 1",
        " m 1",
        "",
        "m 1 NaN",
        "m 1 Inf",
        "m 1 2 3",
        "m 1 # {a=\"b\"}",
        "m 1 # {a=\"b\"} x",
        "m 1 # {a} 1",
        "m 1 # {\"a\"} 1",
        "m 1 # {a=\"b\"} 1 x",
        "m 1 # {a=\"b\"} 1 2 3",
        "m 1 #",
        "m 1 # x",
        "# a remark",
        "#TYPE m gauge",
        "# HELP",
        "# TYPE m untyped",
        "# TYPE m gauge ",
        "# UNIT m seconds",
        "# UNIT mseconds seconds",
        "# EOF x",
        "#  HELP m x",
        "m{a=\"b\nc\"} 1",
    ] {
        let error = open_metrics(&format!("ok 1\n{line}\n# EOF\n")).expect_err(line);
        assert!(error.starts_with("line 2: "), "{line:?}: {error}");
    }
    assert!(open_metrics("m 1\n").expect_err("no end").contains("does not end with # EOF"));
    assert!(open_metrics("m 1\n# EOF\nm 2\n").expect_err("more").contains("line 3: expected nothing after # EOF"));
    assert!(open_metrics("m 1\n# EOF\n\n").is_err());
}

#[test]
fn an_error_says_where_why_and_what() {
    let body = "# TYPE m gauge\nm{a=\"1\"} 1\nm{a=\"2\"} one\n";
    assert_eq!(text(body).expect_err("no number"), "line 3: expected a number as the value: m{a=\"2\"} one");
    let long = format!("m{{a=\"{}\"}} x", "y".repeat(100_000));
    assert!(text(&long).expect_err("no number").len() < 300);
}

#[test]
fn any_spelling_of_nan_becomes_the_ordinary_one() {
    let samples = Target::plain().samples("a NaN\nb nan\nc NAN\n", 5);
    assert!(samples.iter().all(|(_, _, bits)| *bits == model::NORMAL_NAN_BITS));
}

#[test]
fn families_follow_the_comments() {
    let mut target = Target::plain();
    let body = "# HELP a_total The \\\\ a\\ns.\n# TYPE a_total counter\na_total 1\na_created 2\nstray 1\n\
                # TYPE h histogram\nh_bucket{le=\"1\"} 1\nh_sum 1\nh_count 1\nh_max 1\n# HELP q\n# TYPE s summary\ns{quantile=\"1\"} 1\n";
    target.samples(body, 1);
    let family = |text: &str| text.to_owned();
    let a = family("a_total counter \"The \\\\ a\\ns.\" \"\"");
    let h = family("h histogram \"\" \"\"");
    let none = family(" unknown \"\" \"\"");
    let expected = [
        ("a_created{}", &a),
        ("a_total{}", &a),
        ("h_bucket{le=\"1\"}", &h),
        ("h_count{}", &h),
        ("h_max{}", &none),
        ("h_sum{}", &h),
        ("stray{}", &none),
        ("s{quantile=\"1\"}", &family("s summary \"\" \"\"")),
    ];
    let expected: Vec<_> = expected.iter().map(|(series, family)| ((*series).to_owned(), (*family).clone())).collect();
    assert_eq!(target.families(), expected);
    assert_eq!(
        target.samples(body, 2),
        at(
            2,
            &[
                ("a_created{}", 2.0),
                ("a_total{}", 1.0),
                ("h_bucket{le=\"1\"}", 1.0),
                ("h_count{}", 1.0),
                ("h_max{}", 1.0),
                ("h_sum{}", 1.0),
                ("s{quantile=\"1\"}", 1.0),
                ("stray{}", 1.0),
            ]
        )
    );
}
