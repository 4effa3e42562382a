//! Each row of the dialect's table.

use super::*;

fn environment(name: &str) -> Option<String> {
    let value = match name {
        "A" => "alpha",
        "EMPTY" => "",
        "PATH_LIKE" => "/usr/local/bin/tool.tar.gz",
        "MIXED" => "hELLO",
        "ÜBER" => "unicode",
        "B" => "beta",
        _ => return None,
    };
    Some(value.to_owned())
}

fn run(input: &str) -> Result<String, String> {
    expand(input, &environment).map(|e| e.text).map_err(|e| format!("{}: {}", e.at, e.message))
}

#[test]
fn every_accepted_form_gives_what_the_agent_gives() {
    let rows = [
        ("no dollar", "no dollar"),
        ("${A}", "alpha"),
        ("x${A}y${B}z", "xalphaybetaz"),
        ("${UNSET}|", "|"),
        ("$A stays", "$A stays"),
        ("$", "$"),
        ("cost: 5$", "cost: 5$"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$$$", "$$"),
        ("$$${A}", "$alpha"),
        ("${UNSET:-d}", "d"),
        ("${UNSET:=d}", "d"),
        ("${UNSET=d}", "d"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY=d}", "d"),
        ("${A:-d}", "alpha"),
        ("${UNSET:?d}", "d"),
        ("${A:?d}", "alpha"),
        ("${UNSET:+d}", "d"),
        ("${A:+d}", "alpha"),
        ("${UNSET:-}|", "|"),
        ("${UNSET:-x${B}y}", "xbetay"),
        ("${UNSET:-x${ALSO:-${A}}y}", "xalphay"),
        ("${UNSET:-a$$b}", "a$$b"),
        ("${UNSET:-a:b=c d}", "a:b=c d"),
        ("${1}", "${1}"),
        ("${12}", "${12}"),
        ("${1:-x}", "${1}"),
        ("${ÜBER}", "unicode"),
        ("# ${A} in a comment", "# alpha in a comment"),
        ("${#A}", "5"),
        ("${#UNSET}", "0"),
        ("${A^}", "Alpha"),
        ("${A^^}", "ALPHA"),
        ("${MIXED,}", "hELLO"),
        ("${MIXED,,}", "hello"),
        ("${A:2}", "pha"),
        ("${A:1:3}", "lph"),
        ("${A:-2}", "alpha"),
        ("${A:9}", ""),
        ("${A:2:99}", "pha"),
        ("${A:x}", "alpha"),
        ("${PATH_LIKE#*/}", "usr/local/bin/tool.tar.gz"),
        ("${PATH_LIKE##*/}", "tool.tar.gz"),
        ("${PATH_LIKE%.*}", "/usr/local/bin/tool.tar"),
        ("${PATH_LIKE%%.*}", "/usr/local/bin/tool"),
        ("${A#z}", "alpha"),
        ("${A##a?p}", "ha"),
        ("${A/a/o}", "olpha"),
        ("${A//a/o}", "olpho"),
        ("${A/a/}", "lpha"),
        ("${A/#al/AL}", "ALpha"),
        ("${A/%ha/HA}", "alpHA"),
        ("${A/#pha/X}", "alpha"),
        (r"${PATH_LIKE/\/usr/\\}", r"\/local/bin/tool.tar.gz"),
        (r"\/ \\ plain", r"\/ \\ plain"),
    ];
    for (input, expected) in rows {
        assert_eq!(run(input).as_deref(), Ok(expected), "{input}");
    }
}

#[test]
fn every_refused_form_is_refused_where_it_starts() {
    for (input, at) in [
        ("ab ${}", 3),
        ("${a-b}", 0),
        ("${UNSET-d}", 0),
        ("${UNSET+d}", 0),
        ("${UNSET?d}", 0),
        ("x: ${A", 3),
        ("x: ${", 3),
        ("${A:-d", 0),
        ("${A b}", 0),
        ("${ A}", 0),
        ("${A#}", 0),
        ("${A:}", 0),
        ("${A/b}", 0),
        ("${{A}}", 0),
    ] {
        let error = expand(input, &environment).map(|e| e.text).unwrap_err();
        assert_eq!(error.at, at, "{input}: {}", error.message);
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = "${U:-".repeat(5000);
    assert!(run(&deep).unwrap_err().contains("nested"));
}

#[test]
fn positions_lead_back_to_the_text_as_written() {
    let e = expand("a: ${A}\nb: $$x\nc: ${UNSET}\n", &environment).unwrap();
    assert_eq!(e.text, "a: alpha\nb: $x\nc: \n");
    assert_eq!(e.origin(0), 0);
    assert_eq!(e.origin(3), 3);
    assert_eq!(e.origin(7), 3, "inside a value: where its substitution starts");
    assert_eq!(e.origin(9), 8, "the line after");
    assert_eq!(e.origin(e.text.find("x").unwrap()), 13);
    let c = e.text.find("c:").unwrap();
    assert_eq!(e.origin(c), 15);
    assert_eq!(e.variables(c + 2..c + 3).collect::<Vec<_>>(), ["UNSET"]);
    assert_eq!(e.variables(0..4).collect::<Vec<_>>(), ["A"]);
}
