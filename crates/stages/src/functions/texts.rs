//! Functions over texts.

use gotmpl::Value;

use super::{MAX_RESULT, Table, text, to_int, to_text};

pub(super) fn fill(table: &mut Table) {
    promtail(table);
    trimming(table);
    cutting(table);
    writing(table);
}

/// Go's `strings` functions under Promtail's names: the text comes first.
fn promtail(table: &mut Table) {
    table.add("ToLower", 1, |a| text(a.text(0)?.to_lowercase()));
    table.add("ToUpper", 1, |a| text(a.text(0)?.to_uppercase()));
    table.add("Replace", 4, |a| {
        let (whole, from, to) = (a.text(0)?, a.text(1)?, a.text(2)?);
        bounded_replace(whole, from, to, a.int(3)?)
    });
    let trim_set = |set: &str| {
        let set: Vec<char> = set.chars().collect();
        move |c: char| set.contains(&c)
    };
    table.add("Trim", 2, move |a| text(a.text(0)?.trim_matches(trim_set(a.text(1)?))));
    table.add("TrimLeft", 2, move |a| text(a.text(0)?.trim_start_matches(trim_set(a.text(1)?))));
    table.add("TrimRight", 2, move |a| text(a.text(0)?.trim_end_matches(trim_set(a.text(1)?))));
    table.add("TrimPrefix", 2, |a| text(a.text(0)?.strip_prefix(a.text(1)?).unwrap_or(a.text(0)?)));
    table.add("TrimSuffix", 2, |a| text(a.text(0)?.strip_suffix(a.text(1)?).unwrap_or(a.text(0)?)));
    table.add("TrimSpace", 1, |a| text(a.text(0)?.trim()));
}

/// Go's `strings.Replace`: a negative count means all.
fn bounded_replace(whole: &str, from: &str, to: &str, count: i64) -> super::Outcome {
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    // An empty text is found before every character and at the end.
    let found = if from.is_empty() { whole.chars().count() + 1 } else { whole.matches(from).count() }.min(count);
    if found.saturating_mul(to.len()) > MAX_RESULT {
        return text("x".repeat(MAX_RESULT + 1));
    }
    text(whole.replacen(from, to, count))
}

/// sprig's: the text comes last, for pipelines.
fn trimming(table: &mut Table) {
    table.add("trim", 1, |a| text(a.text(0)?.trim()));
    table.add("trimAll", 2, |a| {
        let set: Vec<char> = a.text(0)?.chars().collect();
        text(a.text(1)?.trim_matches(|c| set.contains(&c)))
    });
    table.alias("trimall", "trimAll");
    table.add("trimPrefix", 2, |a| text(a.text(1)?.strip_prefix(a.text(0)?).unwrap_or(a.text(1)?)));
    table.add("trimSuffix", 2, |a| text(a.text(1)?.strip_suffix(a.text(0)?).unwrap_or(a.text(1)?)));
    table.add("nospace", 1, |a| text(a.text(0)?.split_whitespace().collect::<String>()));
    table.add("lower", 1, |a| text(a.text(0)?.to_lowercase()));
    table.add("upper", 1, |a| text(a.text(0)?.to_uppercase()));
    table.add("title", 1, |a| text(each_word(a.text(0)?, separates, |c| c.to_uppercase().collect())));
    table.add("untitle", 1, |a| text(each_word(a.text(0)?, char::is_whitespace, |c| c.to_lowercase().collect())));
    table.add("swapcase", 1, |a| {
        let swap = |c: char| -> String {
            if c.is_uppercase() { c.to_lowercase().collect() } else { c.to_uppercase().collect() }
        };
        text(a.text(0)?.chars().map(swap).collect::<String>())
    });
}

fn cutting(table: &mut Table) {
    table.add("trunc", 2, |a| {
        let whole = a.text(1)?;
        let length = whole.chars().count();
        let cut = a.int(0)?;
        let asked = usize::try_from(cut.unsigned_abs()).unwrap_or(usize::MAX).min(length);
        let (skip, take) = if cut < 0 { (length - asked, asked) } else { (0, asked) };
        text(whole.chars().skip(skip).take(take).collect::<String>())
    });
    table.add("substr", 3, |a| {
        let whole = a.text(2)?;
        let start = a.size(0)?;
        let end = if a.int(1)? < 0 { usize::MAX } else { a.size(1)? };
        text(whole.chars().skip(start).take(end.saturating_sub(start)).collect::<String>())
    });
    table.add("abbrev", 2, |a| {
        let (width, whole) = (a.size(0)?, a.text(1)?);
        if width < 4 || whole.chars().count() <= width {
            return text(whole);
        }
        text(format!("{}...", whole.chars().take(width - 3).collect::<String>()))
    });
    table.add("initials", 1, |a| {
        text(a.text(0)?.split_whitespace().filter_map(|w| w.chars().next()).collect::<String>())
    });
    table.add("contains", 2, |a| Ok(Value::Bool(a.text(1)?.contains(a.text(0)?))));
    table.add("hasPrefix", 2, |a| Ok(Value::Bool(a.text(1)?.starts_with(a.text(0)?))));
    table.add("hasSuffix", 2, |a| Ok(Value::Bool(a.text(1)?.ends_with(a.text(0)?))));
}

fn writing(table: &mut Table) {
    table.add("repeat", 2, |a| {
        let (count, unit) = (a.size(0)?, a.text(1)?);
        if count.saturating_mul(unit.len()) > MAX_RESULT {
            return a.fail("the result is too long");
        }
        text(unit.repeat(count))
    });
    table.add("replace", 3, |a| bounded_replace(a.text(2)?, a.text(0)?, a.text(1)?, -1));
    table.at_least("cat", 1, |a| {
        let kept = a.all().iter().filter(|v| !matches!(v, Value::Nil)).map(to_text);
        text(kept.collect::<Vec<_>>().join(" "))
    });
    table.at_least("quote", 1, |a| {
        let kept = a.all().iter().filter(|v| !matches!(v, Value::Nil));
        text(kept.map(|v| quoted(&to_text(v))).collect::<Vec<_>>().join(" "))
    });
    table.at_least("squote", 1, |a| {
        let kept = a.all().iter().filter(|v| !matches!(v, Value::Nil));
        text(kept.map(|v| format!("'{}'", to_text(v))).collect::<Vec<_>>().join(" "))
    });
    table.add("indent", 2, |a| indented(a.size(0)?, a.text(1)?, ""));
    table.add("nindent", 2, |a| indented(a.size(0)?, a.text(1)?, "\n"));
    table.add("plural", 3, |a| text(if to_int(a.value(2)) == 1 { a.text(0)? } else { a.text(1)? }));
    table.add("snakecase", 1, |a| text(words(a.text(0)?).join("_")));
    table.add("kebabcase", 1, |a| text(words(a.text(0)?).join("-")));
    table.add("camelcase", 1, |a| {
        let capital = |word: &String| each_word(word, separates, |c| c.to_uppercase().collect());
        text(words(a.text(0)?).iter().map(capital).collect::<String>())
    });
    table.add("toString", 1, |a| text(to_text(a.value(0))));
}

/// What Go's `strings.Title` takes for the end of a word.
fn separates(c: char) -> bool {
    if c.is_ascii() { !(c.is_ascii_alphanumeric() || c == '_') } else { c.is_whitespace() }
}

/// Changes the first character of each word.
fn each_word(whole: &str, separates: impl Fn(char) -> bool, change: impl Fn(char) -> String) -> String {
    let mut start = true;
    let mut out = String::with_capacity(whole.len());
    for c in whole.chars() {
        if start {
            out.push_str(&change(c));
        } else {
            out.push(c);
        }
        start = separates(c);
    }
    out
}

/// `FirstName`, `first-name` and `first name` are the words first and name, in lower case.
fn words(whole: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut word = String::new();
    let mut before: Option<char> = None;
    let mut chars = whole.chars().peekable();
    while let Some(c) = chars.next() {
        if !c.is_alphanumeric() {
            words.extend(Some(std::mem::take(&mut word)).filter(|w| !w.is_empty()));
            before = None;
            continue;
        }
        let next_is_lower = chars.peek().is_some_and(|n| n.is_lowercase());
        let starts = c.is_uppercase() && before.is_some_and(|b| !b.is_uppercase() || next_is_lower);
        if starts && !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        word.extend(c.to_lowercase());
        before = Some(c);
    }
    words.extend(Some(word).filter(|w| !w.is_empty()));
    words
}

/// Go's `%q`, for the characters that need it.
fn quoted(whole: &str) -> String {
    let mut out = String::from("\"");
    for c in whole.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\u{b}' => out.push_str("\\v"),
            c if u32::from(c) < 0x20 || c == '\u{7f}' => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

fn indented(spaces: usize, whole: &str, before: &str) -> super::Outcome {
    let lines = whole.split('\n').count();
    if spaces.saturating_mul(lines).saturating_add(whole.len()) > MAX_RESULT {
        return Err(gotmpl::TemplateError::Exec("indent: the result is too long".to_owned()));
    }
    let pad = " ".repeat(spaces);
    text(format!("{before}{pad}{}", whole.replace('\n', &format!("\n{pad}"))))
}
