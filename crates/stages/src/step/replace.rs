//! `replace`: the captured groups of every match become what a template makes of them.
//!
//! Text around the groups stays, also within a match. A group inside another that was replaced is not replaced again, but
//! its name is extracted; nor is a group that begins where the last one ended (Promtail's rule). A pattern without groups
//! replaces whole matches.

use std::{collections::HashMap, sync::Arc};

use gotmpl::Value as GoValue;
use regex::Regex;

use super::{
    Flow, LineStage, Source, pattern,
    template::{Compiled, MAX_OUTPUT, template_data},
};
use crate::{Entry, Name, StageError, Value, config::ReplaceConfig, error::Place};

#[derive(Debug, Clone)]
pub(crate) struct Replace {
    source: Source,
    regex: Arc<Regex>,
    names: Vec<(usize, Name)>,
    template: Arc<Compiled>,
}

impl Replace {
    pub fn new(config: &ReplaceConfig, place: &Place) -> Result<Self, StageError> {
        let compiled = pattern(&config.expression, place, "expression")?;
        let names = compiled.names().enumerate().filter_map(|(i, name)| Some((i, Name::from(name?)))).collect();
        Ok(Self {
            source: Source::new(config.source.as_deref(), place)?,
            regex: Arc::new(compiled.regex().clone()),
            names,
            template: Arc::new(Compiled::new(&config.replace).map_err(|fault| place.key("replace").fault(fault))?),
        })
    }

    /// The new text and the values of the named groups; nothing if there is no match or the template fails.
    fn replaced(&self, entry: &Entry, text: &str, now_ns: i64) -> Option<(String, Vec<(Name, Value)>)> {
        let first = self.regex.captures(text)?;
        let data = template_data(&entry.extracted);
        let value = Arc::<str>::from("Value");
        let mut made: HashMap<&str, Arc<str>> = HashMap::new();
        let mut result = String::with_capacity(text.len());
        let mut done = 0;
        let whole = usize::from(self.regex.captures_len() > 1);
        for captures in self.regex.captures_iter(text) {
            for group in captures.iter().skip(whole).flatten() {
                let captured = group.as_str();
                let replacement = match made.get(captured) {
                    Some(known) => Arc::clone(known),
                    None => {
                        let mut data = data.clone();
                        data.insert(Arc::clone(&value), GoValue::String(Arc::from(captured)));
                        let text = self.template.execute(&GoValue::Map(Arc::new(data)), now_ns)?;
                        let text: Arc<str> = Arc::from(text);
                        made.insert(captured, Arc::clone(&text));
                        text
                    }
                };
                // `done` is 0 also after an empty group at the very start, as in Promtail.
                if done == 0 || done < group.start() || (whole == 0 && done == group.start()) {
                    result.push_str(text.get(done..group.start()).unwrap_or_default());
                    result.push_str(&replacement);
                    done = group.end();
                }
                if result.len() > MAX_OUTPUT {
                    return None;
                }
            }
        }
        result.push_str(text.get(done..).unwrap_or_default());
        let named = self.names.iter().filter_map(|(at, name)| {
            let captured = first.get(*at).map_or("", |m| m.as_str());
            Some((Name::clone(name), Value::Text(Arc::clone(made.get(captured)?))))
        });
        Some((result, named.collect()))
    }
}

impl LineStage for Replace {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let replaced = match self.source.text(entry) {
            Some(text) => self.replaced(entry, &text, now_ns),
            None => None,
        };
        let Some((text, named)) = replaced else { return Flow::Pass };
        match &self.source {
            Source::Line => entry.line = text,
            Source::Extracted(name) => entry.extracted.set(name, Value::text(&text)),
        }
        for (name, value) in named {
            entry.extracted.set(&name, value);
        }
        Flow::Pass
    }
}
