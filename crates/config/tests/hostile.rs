//! Whatever the text, reading it ends, panics nowhere, and gives places that exist.

use config::{LoadOptions, load};
use proptest::prelude::*;

fn environment(name: &str) -> Option<String> {
    match name {
        "A" => Some("x: [".into()),
        "B" => Some("line\nline".into()),
        "C" => Some(String::new()),
        _ => None,
    }
}

fn read(text: &str) {
    for expand_env in [false, true] {
        let options = LoadOptions { expand_env, ..LoadOptions::new("f", &environment) };
        match load(text, options) {
            Ok(plan) => {
                let rendered = plan.render_masked();
                let again = load(&rendered, LoadOptions::new("rendered", &environment));
                assert!(again.is_ok(), "{rendered}\n{}", again.unwrap_err());
            }
            Err(problems) => {
                assert!(!problems.errors.is_empty());
                let lines = text.lines().count().max(1);
                for problem in problems.errors.iter().chain(&problems.warnings) {
                    assert!(problem.line >= 1 && problem.line <= lines + 1 && problem.column >= 1, "{problem:?}");
                }
                let _ = problems.to_string();
            }
        }
    }
}

const GOOD: &str = include_str!("../../../config/examples/two-destinations.yaml");

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_text_is_read_or_refused(text in any::<String>()) {
        read(&text);
    }

    #[test]
    fn any_yaml_like_text_is_read_or_refused(text in "([ ]{0,6}(- )?(metrics|configs|name|url|sigv4|queue|<<|&a|\\*a|remote_write|é)?(: )?(\\$\\{[ABCD]?(:-[ab])?\\}?|[\\[\\]{}\"'|>#,]|\\$\\$|1|\t|x){0,3}\n){0,12}") {
        read(&text);
    }

    #[test]
    fn any_damage_to_a_good_file_is_read_or_refused(at in 0..GOOD.len(), length in 0..40_usize, put in "[ \n:\\[\\]{}\"'|>#*&$\\-a-z0-9]{0,6}") {
        let start = GOOD.floor_char_boundary(at);
        let end = GOOD.floor_char_boundary((at + length).min(GOOD.len()));
        read(&format!("{}{put}{}", &GOOD[..start], &GOOD[end..]));
    }
}

#[test]
fn deep_wide_and_endless_files_are_refused() {
    for text in [
        "[".repeat(100_000),
        "{a: ".repeat(100_000),
        "- ".repeat(100_000),
        "a:\n".repeat(10_000),
        "${A:-".repeat(10_000),
        "*a".into(),
        "a: &a *a".into(),
    ] {
        read(&text);
    }
}
