//! `template`: an extracted value becomes what a Go template makes of all of them.
//!
//! The template sees every extracted value as text, the source's also as `.Value`, and the line as `.Entry`. An empty
//! result takes the name away; a template that fails changes nothing.
//!
//! Keeps true: one execution writes at most [`MAX_OUTPUT`] bytes, runs through at most [`MAX_ITERATIONS`] rounds of
//! `range`, and calls named templates at most [`MAX_CALLS`] times.

use std::{collections::BTreeMap, fmt, sync::Arc};

use gotmpl::{
    Value as GoValue,
    parse::{CommandNode, Expr, ListNode, Node, PipeNode},
};

use super::{Flow, LineStage, required};
use crate::{
    Entry, Extracted, Name, StageError, StageFault, Value,
    config::TemplateConfig,
    error::Place,
    functions::{Clock, PATTERN_FIRST, Patterns, functions},
};

pub(crate) const MAX_OUTPUT: usize = 16 << 20;
const MAX_ITERATIONS: u64 = 10_000;
const MAX_CALLS: u64 = 1_000;

/// A checked template.
pub(crate) struct Compiled {
    template: gotmpl::Template,
    clock: Clock,
}

impl fmt::Debug for Compiled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Compiled")
    }
}

impl Compiled {
    pub fn new(text: &str) -> Result<Self, StageFault> {
        let clock = Clock::default();
        let known = functions(&clock, &Patterns::default());
        let parse = || {
            gotmpl::Template::new("pipeline_template")
                .funcs(known.clone())
                .max_range_iters(MAX_ITERATIONS)
                .parse(text)
                .map_err(|e| StageFault::Template(e.to_string()))
        };
        let template = parse()?;
        // The parser gives the tree of the main template only through a definition.
        let body = gotmpl::parse::Parser::new(text, "{{", "}}")
            .and_then(gotmpl::parse::Parser::parse)
            .map_err(|e| StageFault::Template(e.to_string()))?;
        let mut check = Check { known: &known, calls: BTreeMap::new() };
        check.list("", &body.0)?;
        for name in template.templates() {
            if let Some(list) = template.lookup(name) {
                check.list(name, list)?;
            }
        }
        check.count_calls()?;
        Ok(Self { template, clock })
    }

    /// What the template makes of the data; nothing if it fails.
    pub fn execute(&self, data: &GoValue, now_ns: i64) -> Option<String> {
        self.clock.set(now_ns);
        let mut out = Bounded(String::new());
        self.template.execute_fmt(&mut out, data).ok().map(|()| out.0)
    }
}

/// A text that refuses to grow without end.
struct Bounded(String);

impl fmt::Write for Bounded {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.0.len() + text.len() > MAX_OUTPUT {
            return Err(fmt::Error);
        }
        self.0.push_str(text);
        Ok(())
    }
}

/// Walks a template at load: Go refuses unknown functions when it parses, this parser only when it executes.
struct Check<'a> {
    known: &'a gotmpl::FuncMap,
    /// Which named templates a template calls, how often in its text.
    calls: BTreeMap<String, Vec<String>>,
}

/// Functions the engine brings along.
const BUILTIN: [&str; 19] = [
    "eq", "ne", "lt", "le", "gt", "ge", "and", "or", "not", "print", "println", "printf", "len", "index", "slice",
    "call", "html", "js", "urlquery",
];

impl Check<'_> {
    fn list(&mut self, owner: &str, list: &ListNode) -> Result<(), StageFault> {
        self.calls.entry(owner.to_owned()).or_default();
        for node in &list.nodes {
            self.node(owner, node)?;
        }
        Ok(())
    }

    fn node(&mut self, owner: &str, node: &Node) -> Result<(), StageFault> {
        match node {
            Node::List(list) => self.list(owner, list),
            Node::Action(action) => self.pipe(&action.pipe),
            Node::If(branch) | Node::Range(branch) | Node::With(branch) => {
                self.pipe(&branch.pipe)?;
                self.list(owner, &branch.body)?;
                branch.else_body.as_ref().map_or(Ok(()), |body| self.list(owner, body))
            }
            Node::Template(call) => {
                self.calls.entry(owner.to_owned()).or_default().push(call.name.to_string());
                call.pipe.as_ref().map_or(Ok(()), |pipe| self.pipe(pipe))
            }
            Node::Define(_) | Node::Text(_) | Node::Break(_) | Node::Continue(_) => Ok(()),
        }
    }

    fn pipe(&self, pipe: &PipeNode) -> Result<(), StageFault> {
        pipe.commands.iter().try_for_each(|command| self.command(command))
    }

    fn command(&self, command: &CommandNode) -> Result<(), StageFault> {
        // A pattern written out is checked now; Go would panic on it with every line.
        if let [Expr::Identifier(_, function), Expr::String(_, pattern), ..] = command.args.as_slice()
            && PATTERN_FIRST.contains(&function.as_str())
        {
            relabel::GoRegex::unanchored(pattern)?;
        }
        command.args.iter().try_for_each(|e| self.expression(e))
    }

    fn expression(&self, expression: &Expr) -> Result<(), StageFault> {
        match expression {
            Expr::Identifier(_, name)
                if !self.known.contains_key(name.as_str()) && !BUILTIN.contains(&name.as_str()) =>
            {
                Err(StageFault::UnknownFunction(name.to_string()))
            }
            Expr::Pipe(_, pipe) => self.pipe(pipe),
            Expr::Chain(_, inner, _) => self.expression(inner),
            _ => Ok(()),
        }
    }

    /// Calls of calls, added up from the leaves; a circle never gets there.
    fn count_calls(&self) -> Result<(), StageFault> {
        let mut cost: BTreeMap<&str, u64> = BTreeMap::new();
        for _ in 0..=self.calls.len() {
            for (name, callees) in &self.calls {
                if cost.contains_key(name.as_str()) {
                    continue;
                }
                // A template that is not defined fails when it is called.
                let of = |callee: &String| match self.calls.contains_key(callee) {
                    true => cost.get(callee.as_str()).copied(),
                    false => Some(0),
                };
                let total = callees.iter().try_fold(0_u64, |sum, callee| Some(sum.saturating_add(of(callee)? + 1)));
                if let Some(total) = total {
                    cost.insert(name, total);
                }
            }
        }
        match self.calls.keys().find(|name| cost.get(name.as_str()).is_none_or(|c| *c > MAX_CALLS)) {
            Some(name) => Err(StageFault::TemplateCalls { name: name.clone(), limit: MAX_CALLS }),
            None => Ok(()),
        }
    }
}

/// All extracted values as texts.
pub(crate) fn template_data(extracted: &Extracted) -> BTreeMap<Arc<str>, GoValue> {
    extracted.iter().filter_map(|(name, value)| Some((Arc::clone(name), GoValue::String(value.to_shared()?)))).collect()
}

/// The stage.
#[derive(Debug, Clone)]
pub(crate) struct Template {
    source: Name,
    compiled: Arc<Compiled>,
}

impl Template {
    pub fn new(config: &TemplateConfig, place: &Place) -> Result<Self, StageError> {
        let source = Name::from(required(&config.source, place, "source")?);
        let compiled = Compiled::new(&config.template).map_err(|fault| place.key("template").fault(fault))?;
        let compiled = Arc::new(compiled);
        Ok(Self { source, compiled })
    }
}

impl LineStage for Template {
    fn apply(&mut self, entry: &mut Entry, now_ns: i64) -> Flow {
        let mut data = template_data(&entry.extracted);
        if let Some(value) = data.get(&self.source).cloned() {
            data.insert(Arc::from("Value"), value);
        }
        data.insert(Arc::from("Entry"), GoValue::String(Arc::from(entry.line.as_str())));
        match self.compiled.execute(&GoValue::Map(Arc::new(data)), now_ns) {
            Some(text) if text.is_empty() => entry.extracted.remove(&self.source),
            Some(text) => entry.extracted.set(&self.source, Value::text(&text)),
            None => return Flow::Unread("template_failed"),
        }
        Flow::Pass
    }
}
