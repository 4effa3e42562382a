//! `json`: takes values out of a JSON object by JMESPath.
//!
//! A path that leads nowhere sets its name to null, as Promtail does: the name is there, but has no text. Plain paths such
//! as `a.b."c-d"` are read straight from the text; anything else goes through a tree. Text that is not a JSON object (or
//! null) leaves the line as it is.

use std::sync::Arc;

use jmespath::Variable;

use super::{Flow, LineStage, Source, json_paths::Paths, mapping};
use crate::{Entry, Name, StageError, StageFault, Value, config::JsonConfig, error::Place, json_text};

#[derive(Debug, Clone)]
pub(crate) struct Json {
    source: Source,
    names: Vec<Name>,
    query: Query,
    drop_malformed: bool,
    found: Vec<Option<Value>>,
}

#[derive(Debug, Clone)]
enum Query {
    Plain(Arc<Paths>),
    Jmespath(Arc<[jmespath::Expression<'static>]>),
}

impl Json {
    pub fn new(config: &JsonConfig, place: &Place) -> Result<Self, StageError> {
        let here = place.key("expressions");
        if config.expressions.is_empty() {
            return Err(here.fault(StageFault::Required));
        }
        let pairs = mapping(&config.expressions);
        let compile = |name: &Name, text: &str| {
            jmespath::compile(text).map_err(|e| here.key(name).fault(StageFault::Jmespath(first_line(&e.to_string()))))
        };
        let expressions =
            pairs.iter().map(|(name, text)| compile(name, text)).collect::<Result<Vec<_>, StageError>>()?;
        let query = match Paths::new(pairs.iter().map(|(_, text)| &**text)) {
            Some(paths) => Query::Plain(Arc::new(paths)),
            None => Query::Jmespath(expressions.into()),
        };
        Ok(Self {
            source: Source::new(config.source.as_deref(), place)?,
            names: pairs.into_iter().map(|(name, _)| name).collect(),
            query,
            drop_malformed: config.drop_malformed,
            found: Vec::new(),
        })
    }

    /// Whether the text was JSON; sets `found`, one for each name.
    fn search(&mut self, text: &str) -> bool {
        self.look(text) || json_text::without_lone_surrogates(text).is_some_and(|text| self.look(&text))
    }

    fn look(&mut self, text: &str) -> bool {
        self.found.clear();
        self.found.resize(self.names.len(), Some(Value::Null));
        match &self.query {
            Query::Plain(paths) => paths.search(text, &mut self.found),
            Query::Jmespath(expressions) => {
                let Ok(data) = Variable::from_json(text) else { return false };
                if !matches!(data, Variable::Object(_) | Variable::Null) {
                    return false;
                }
                let data = jmespath::Rcvar::new(data);
                for (slot, expression) in self.found.iter_mut().zip(expressions.iter()) {
                    // A search that fails (a function given the wrong type) leaves its name as it was.
                    *slot = expression.search(&data).ok().map(|r| json_text::variable_to_value(&r));
                }
                true
            }
        }
    }
}

fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

impl LineStage for Json {
    fn apply(&mut self, entry: &mut Entry, _now_ns: i64) -> Flow {
        let Some(text) = self.source.clone().text(entry).map(|text| match text {
            std::borrow::Cow::Borrowed(text) => self.search(text),
            std::borrow::Cow::Owned(text) => self.search(&text),
        }) else {
            return Flow::Pass;
        };
        if !text {
            return if self.drop_malformed { Flow::Drop } else { Flow::Unread("not_json") };
        }
        for (name, value) in self.names.iter().zip(self.found.drain(..)) {
            if let Some(value) = value {
                entry.extracted.set(name, value);
            }
        }
        Flow::Pass
    }
}
