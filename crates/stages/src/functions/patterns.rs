//! Functions with regular expressions, in Go's syntax. Compiled patterns are kept, a bounded number of them.

use std::sync::Arc;

use gotmpl::{TemplateError, Value};
use parking_lot::Mutex;
use relabel::{GoRegex, Template};

use super::{Args, MAX_ITEMS, MAX_RESULT, Table, text, texts};
use crate::generations::Generations;

/// Most patterns that are remembered, twice.
const REMEMBERED: usize = 64;

/// Compiled patterns of a template.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(Arc<Mutex<Generations<String, Option<Arc<GoRegex>>>>>);

impl Default for Patterns {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Generations::new(REMEMBERED))))
    }
}

impl Patterns {
    fn get(&self, pattern: &str) -> Option<Arc<GoRegex>> {
        let mut known = self.0.lock();
        let compile = || GoRegex::unanchored(pattern).ok().map(Arc::new);
        known.get_or_insert(pattern, || pattern.to_owned(), compile).0.clone()
    }

    fn of(&self, args: &Args<'_>) -> Result<Arc<GoRegex>, TemplateError> {
        let pattern = args.text(0)?;
        match self.get(pattern) {
            Some(regex) => Ok(regex),
            None => args.fail(&format!("not a regular expression: {pattern:?}")),
        }
    }
}

/// Names of functions whose first argument is a pattern.
pub(crate) const PATTERN_FIRST: [&str; 12] = [
    "regexReplaceAll",
    "regexReplaceAllLiteral",
    "regexMatch",
    "regexFind",
    "regexFindAll",
    "regexSplit",
    "mustRegexReplaceAll",
    "mustRegexReplaceAllLiteral",
    "mustRegexMatch",
    "mustRegexFind",
    "mustRegexFindAll",
    "mustRegexSplit",
];

pub(super) fn fill(table: &mut Table, patterns: &Patterns) {
    let p = patterns.clone();
    table.add("regexReplaceAll", 3, move |a| {
        let regex = p.of(&a)?;
        let (whole, replacement) = (a.text(1)?, Template::new(a.text(2)?, &regex));
        replace_all(&a, &regex, whole, |captures| replacement.expand(captures))
    });
    let p = patterns.clone();
    table.add("regexReplaceAllLiteral", 3, move |a| {
        let regex = p.of(&a)?;
        let (whole, replacement) = (a.text(1)?, a.text(2)?);
        replace_all(&a, &regex, whole, |_| replacement.to_owned())
    });
    let p = patterns.clone();
    table.add("regexMatch", 2, move |a| Ok(Value::Bool(p.of(&a)?.regex().is_match(a.text(1)?))));
    let p = patterns.clone();
    table.add("regexFind", 2, move |a| text(p.of(&a)?.regex().find(a.text(1)?).map_or("", |m| m.as_str())));
    let p = patterns.clone();
    table.add("regexFindAll", 3, move |a| {
        let regex = p.of(&a)?;
        let most = usize::try_from(a.int(2)?).unwrap_or(MAX_ITEMS);
        texts(regex.regex().find_iter(a.text(1)?).take(most).map(|m| m.as_str()))
    });
    let p = patterns.clone();
    table.add("regexSplit", 3, move |a| {
        let regex = p.of(&a)?;
        match usize::try_from(a.int(2)?) {
            Ok(0) => texts(std::iter::empty::<&str>()),
            Ok(most) => texts(regex.regex().splitn(a.text(1)?, most)),
            Err(_) => texts(regex.regex().split(a.text(1)?)),
        }
    });
    table.add("regexQuoteMeta", 1, |a| text(regex::escape(a.text(0)?)));
    for name in ["ReplaceAll", "ReplaceAllLiteral", "Match", "Find", "FindAll", "Split"] {
        table.alias(&format!("mustRegex{name}"), &format!("regex{name}"));
    }
}

fn replace_all(
    args: &Args<'_>,
    regex: &GoRegex,
    whole: &str,
    replacement: impl Fn(&regex::Captures<'_>) -> String,
) -> super::Outcome {
    let mut out = String::new();
    let mut last = 0;
    for captures in regex.regex().captures_iter(whole) {
        let Some(found) = captures.get(0) else { continue };
        out.push_str(whole.get(last..found.start()).unwrap_or_default());
        out.push_str(&replacement(&captures));
        last = found.end();
        if out.len() > MAX_RESULT {
            return args.fail("the result is too long");
        }
    }
    out.push_str(whole.get(last..).unwrap_or_default());
    text(out)
}
