//! Which words cannot be secrets, whatever key they belong to.
//!
//! Judges by shape alone and knows no YAML. Keeps true: letters mixed with digits, or upper with lower case, in one run are
//! taken for a secret, and so is everything after a word that announces one.

use crate::scalar;

/// Words that announce a secret, or name a key of one.
const SECRETIVE: &[&str] = &[
    "pass", "pwd", "secret", "token", "key", "cred", "auth", "pin", "salt", "sign", "cookie", "priv", "licen", "user",
    "login", "account", "bearer", "basic",
];

/// Longer runs of letters are no words.
const MAX_WORD: usize = 15;
/// Ports, counts and dates have no more digits.
const MAX_DIGITS: usize = 9;

/// Does this name, or announce, a secret?
pub(crate) fn is_secretive(word: &str) -> bool {
    let word = word.to_ascii_lowercase();
    SECRETIVE.iter().any(|part| word.contains(part))
}

/// A number, truth value, duration, size, or a collection of nothing.
pub(crate) fn is_plain_value(text: &str) -> bool {
    let digits = text.chars().filter(char::is_ascii_digit).count();
    let number = text.parse::<f64>().is_ok() && text.starts_with(|c: char| c.is_ascii_digit() || c == '-');
    matches!(text, "" | "{}" | "[]" | "~" | "null" | "|" | ">")
        || scalar::flag(text).is_ok()
        || digits <= MAX_DIGITS && (number || scalar::duration(text).is_ok() || scalar::size(text).is_ok())
}

/// Words, names, host names, versions: runs of letters of one case or of digits, with punctuation between them.
pub(crate) fn is_word(text: &str) -> bool {
    let text = text.trim_matches(|c: char| "\"'`()[]{},;!?|>#&*-".contains(c) && c.is_ascii());
    if is_plain_value(text) {
        return true;
    }
    let (name, port) = text.rsplit_once(':').unwrap_or((text, ""));
    let is_port = port.len() <= 5 && port.chars().all(|c| c.is_ascii_digit());
    is_port && name.split(['.', '_', '-', '/', ',']).all(is_run)
}

/// An http URL; who shows it hides the user, the password and the query in it.
pub(crate) fn is_url(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'', ',', '[', ']']);
    text.strip_prefix("https://").or_else(|| text.strip_prefix("http://")).is_some_and(|rest| {
        let rest = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
        is_word(rest.split('?').next().unwrap_or_default())
    })
}

/// `${NAME}`, closed or not, with an operator and a word after it or not.
pub(crate) fn is_substitution(text: &str) -> bool {
    let text = text.trim_matches(['"', '\'', ',']);
    let Some(inside) = text.strip_prefix("${") else {
        return false;
    };
    let inside = inside.strip_suffix('}').unwrap_or(inside);
    let (name, rest) = inside.split_at(inside.find(|c| !is_name(c)).unwrap_or(inside.len()));
    name.len() <= 64
        && rest.split(|c: char| ":-=?+#%/^,${}".contains(c)).all(|part| is_run(part) || is_plain_value(part))
}

/// Part of a variable's name as people write them.
pub(crate) fn is_name(c: char) -> bool {
    c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'
}

fn is_run(run: &str) -> bool {
    let all = |accept: fn(&char) -> bool| run.chars().all(|c| accept(&c));
    if all(char::is_ascii_digit) {
        return run.len() <= MAX_DIGITS;
    }
    let rest = run.strip_prefix(|c: char| c.is_ascii_uppercase()).unwrap_or(run);
    let is_word = rest.chars().all(|c| c.is_ascii_lowercase()) || all(char::is_ascii_uppercase);
    run.len() <= MAX_WORD && is_word
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn words_of_people_are_shown_and_what_may_be_a_secret_is_not() {
        for word in
            ["text", "the", "Node,", "us-east-1", "localhost:9100", "10.0.0.1:80", "scrape_interval", "15s", "(see"]
        {
            assert!(is_word(word), "{word}");
        }
        for word in [
            "s3cr3tMARKER",
            "AKIAIOSFODNN7EXAMPLE",
            "hunter2",
            "a=b",
            "user:pass",
            "wJalrXUtnFEMI/K7MDENG+bPxRfiCY",
            "3f2a9c1e-77aa-4b2c",
            "correcthorsebatterystaple",
            "a@b",
            "1234567890123",
        ] {
            assert!(!is_word(word), "{word}");
        }
        assert!(is_substitution("${FOO-bar}") && is_substitution("\"${FOO") && is_substitution("${A:-us-east-1}"));
        assert!(!is_substitution("${FOO-s3cr3t}") && !is_substitution("${s3cr3tMARKER}") && !is_substitution("FOO"));
        assert!(is_url("https://h.example/write") && !is_url("https://h.example/s3cr3tMARKER"));
    }
}
