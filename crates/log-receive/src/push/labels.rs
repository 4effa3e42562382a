//! Stream labels as Loki's push API writes them: `{job="varlogs", host="a"}`, values quoted as in Go.
//!
//! Keeps true: linear time, no more labels than a batch takes, a message that says where it went wrong.

use model::{Labels, MAX_LOG_LABELS};

/// Reads a label set.
pub(super) fn parse(text: &str) -> Result<Labels, String> {
    let whole = text;
    let at = |rest: &str| whole.len() - rest.len();
    let mut rest = text.trim().strip_prefix('{').ok_or("stream labels do not begin with '{'")?;
    let mut pairs: Vec<(&str, String)> = Vec::new();
    loop {
        rest = rest.trim_start();
        if let Some(after) = rest.strip_prefix('}') {
            if !after.trim().is_empty() {
                return Err(format!("stream labels go on after '}}' at byte {}", at(after)));
            }
            break;
        }
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
        let (name, after) = rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(format!("stream labels: a label name is expected at byte {}", at(rest)));
        }
        let after =
            after.trim_start().strip_prefix('=').ok_or_else(|| format!("stream labels: no '=' after {name}"))?;
        let (value, after) = quoted(after.trim_start()).map_err(|why| format!("stream labels: {name}: {why}"))?;
        if pairs.len() >= MAX_LOG_LABELS {
            return Err(format!("stream labels: more than {MAX_LOG_LABELS} labels"));
        }
        pairs.push((name, value));
        rest = after.trim_start();
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None if rest.starts_with('}') => {}
            None => return Err(format!("stream labels: ',' or '}}' is expected at byte {}", at(rest))),
        }
    }
    let count = pairs.len();
    let labels: Labels = pairs.into_iter().filter(|(_, value)| !value.is_empty()).collect();
    if count == 0 { Err("a stream without labels".to_owned()) } else { Ok(labels) }
}

/// A Go string literal, and what follows it.
fn quoted(text: &str) -> Result<(String, &str), &'static str> {
    if let Some(raw) = text.strip_prefix('`') {
        let (value, after) = raw.split_once('`').ok_or("a value without its closing quote")?;
        return Ok((value.to_owned(), after));
    }
    let body = text.strip_prefix('"').ok_or("a value is not quoted")?;
    let mut bytes = Vec::new();
    let mut chars = body.char_indices();
    while let Some((at, c)) = chars.next() {
        match c {
            '"' => {
                let value = String::from_utf8(bytes)
                    .unwrap_or_else(|broken| String::from_utf8_lossy(broken.as_bytes()).into_owned());
                return Ok((value, body.get(at + 1..).unwrap_or_default()));
            }
            '\n' => return Err("a line break in a value"),
            '\\' => escape(&mut chars, &mut bytes)?,
            c => bytes.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    Err("a value without its closing quote")
}

fn escape(chars: &mut std::str::CharIndices<'_>, out: &mut Vec<u8>) -> Result<(), &'static str> {
    const BAD: &str = "an escape that Go does not know";
    let (_, kind) = chars.next().ok_or(BAD)?;
    let mut number = |digits: usize, radix: u32, first: u32| {
        let mut n = first;
        for _ in 0..digits {
            let digit = chars.next().and_then(|(_, c)| c.to_digit(radix)).ok_or(BAD)?;
            n = n.checked_mul(radix).and_then(|n| n.checked_add(digit)).ok_or(BAD)?;
        }
        Ok::<u32, &'static str>(n)
    };
    match kind {
        'a' => out.push(7),
        'b' => out.push(8),
        'f' => out.push(12),
        'n' => out.push(b'\n'),
        'r' => out.push(b'\r'),
        't' => out.push(b'\t'),
        'v' => out.push(11),
        '\\' | '"' | '\'' => out.extend_from_slice(kind.encode_utf8(&mut [0; 4]).as_bytes()),
        'x' => out.push(u8::try_from(number(2, 16, 0)?).map_err(|_| BAD)?),
        'u' | 'U' => {
            let code = number(if kind == 'u' { 4 } else { 8 }, 16, 0)?;
            let c = char::from_u32(code).ok_or(BAD)?;
            out.extend_from_slice(c.encode_utf8(&mut [0; 4]).as_bytes());
        }
        '0'..='7' => {
            let first = kind.to_digit(8).ok_or(BAD)?;
            out.push(u8::try_from(number(2, 8, first)?).map_err(|_| BAD)?);
        }
        _ => return Err(BAD),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn pairs(text: &str) -> Vec<(String, String)> {
        parse(text).unwrap().iter().map(|(n, v)| (n.to_owned(), v.to_owned())).collect()
    }

    #[test]
    fn label_sets_are_read_as_go_writes_them() {
        assert_eq!(pairs(r#"{job="a"}"#), [("job".to_owned(), "a".to_owned())]);
        assert_eq!(
            pairs(r#" { b = "x\"\n\t\\\u00e9\x41\101" , a="", c=`raw\n`, } "#),
            [("b".to_owned(), "x\"\n\t\\éAA".to_owned()), ("c".to_owned(), r"raw\n".to_owned())]
        );
        assert_eq!(pairs("{path=\"/var/ü\"}"), [("path".to_owned(), "/var/ü".to_owned())]);
    }

    #[test]
    fn what_is_no_label_set_is_refused_with_its_place() {
        for (text, part) in [
            ("", "do not begin"),
            ("{}", "without labels"),
            ("{a}", "no '=' after a"),
            ("{a=1}", "not quoted"),
            ("{a=\"x}", "closing quote"),
            ("{a=\"x\" b=\"y\"}", "byte 7"),
            ("{1a=\"x\"}", "byte 1"),
            ("{a=\"x\"} tail", "go on after"),
            (r#"{a="\q"}"#, "escape"),
            (r#"{a="\777"}"#, "escape"),
            ("{a=\"x\"", "expected at byte 6"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_value_quoted_by_go_rules_comes_back(value in "\\PC*") {
            prop_assume!(!value.is_empty());
            let text = format!("{{a=\"{}\"}}", value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n"));
            prop_assert_eq!(pairs(&text), vec![("a".to_owned(), value)]);
        }

        #[test]
        fn no_text_panics(text in "\\{?[a-z=\"\\\\`,{} ü0-9xuU]*") {
            let _ = parse(&text);
        }
    }
}
