//! What the engine gives us, and what we rely on.

use super::*;

fn tree(text: &str) -> Result<Option<Node>, SyntaxError> {
    parse(&Source::new("test", text, false, &|_| None).0)
}

fn show(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".into(),
        Value::Scalar(s) => format!("{s:?}"),
        Value::Sequence(items) => format!("[{}]", items.iter().map(show).collect::<Vec<_>>().join(", ")),
        Value::Mapping(entries) => {
            format!(
                "{{{}}}",
                entries.iter().map(|e| format!("{}: {}", e.key, show(&e.node))).collect::<Vec<_>>().join(", ")
            )
        }
    }
}

fn shown(text: &str) -> String {
    show(&tree(text).unwrap().unwrap())
}

#[test]
fn scalars_keep_the_text_they_were_written_with() {
    assert_eq!(
        shown(
            "a: 1.20\nb: 0755\nc: yes\nd: ~\ne:\nf: '12'\ng: .inf\nh: 1_000\ni: 15s\nj: [80, on, x]\nk: 1e999\nl: -5\nm: 007\n"
        ),
        r#"{a: "1.20", b: "0755", c: "yes", d: null, e: null, f: "12", g: ".inf", h: "1_000", i: "15s", j: ["80", "on", "x"], k: "1e999", l: "-5", m: "007"}"#
    );
    assert_eq!(
        shown("a: |\n  x\n  y\nb: >-\n  x\n  y\n5: z\n? q\n: r\n"),
        r#"{a: "x\ny\n", b: "x y", 5: "z", q: "r"}"#
    );
}

#[test]
fn anchors_and_merge_keys_work_and_keep_the_place_of_the_definition() {
    assert_eq!(
        shown("base: &b {x: 1, y: 2}\nuse:\n  <<: *b\n  y: 3\nagain: *b\n"),
        r#"{base: {x: "1", y: "2"}, use: {y: "3", x: "1"}, again: {x: "1", y: "2"}}"#
    );
    let text = "a: &v 12\nb: *v\n";
    let Value::Mapping(entries) = tree(text).unwrap().unwrap().value else { panic!() };
    assert_eq!(entries[1].node.at, 6..8);
    assert_eq!(&text[entries[1].key_at.clone()], "b");
}

#[test]
fn keys_and_values_know_their_bytes() {
    let text = "é: 1\nkey:   'value' # c\n";
    let Value::Mapping(entries) = tree(text).unwrap().unwrap().value else { panic!() };
    assert_eq!(&text[entries[0].node.at.clone()], "1");
    assert_eq!(&text[entries[1].key_at.clone()], "key");
    assert_eq!(&text[entries[1].node.at.clone()], "'value'");
}

#[test]
fn a_file_of_comments_is_empty() {
    assert_eq!(tree("# nothing\n\n---\n"), Ok(None));
    assert_eq!(tree(""), Ok(None));
}

#[test]
fn broken_yaml_is_refused_at_its_place() {
    for (text, line, needle) in [
        ("a: *nope\n", 1, "no anchor"),
        ("a:\n  - 1\n b: 2\n", 3, "not valid YAML"),
        ("a: [1, 2\nb: 3\n", 1, "not valid YAML: this `[` is not closed"),
        ("a: \"x\n", 2, "not valid YAML"),
        ("a: 1\n---\nb: 2\n", 3, "more than one"),
        ("a: b: c\n", 1, "not valid YAML"),
        ("a:\n\tb: 1\n", 2, "not valid YAML: a tab"),
    ] {
        let error = tree(text).unwrap_err();
        assert!(error.message.contains(needle), "{text:?}: {error:?}");
        let found = text[..error.at].matches('\n').count() + 1;
        assert_eq!(found, line, "{text:?}: {error:?}");
    }
}

#[test]
fn hostile_files_are_refused_quickly() {
    assert!(tree(&"[".repeat(20_000)).is_err());
    let mut laughs = String::from("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n");
    for i in 1..9 {
        let last = format!("*a{}", i - 1);
        laughs.push_str(&format!("a{i}: &a{i} [{}]\n", vec![last; 10].join(",")));
    }
    assert!(tree(&laughs).is_err());
}
