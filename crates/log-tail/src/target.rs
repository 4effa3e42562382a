//! From what discovery found to what is read: a pattern, exclusions and labels.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use discovery::TargetGroup;
use model::Labels;
use relabel::Rule;

use crate::Pattern;

const PATH: &str = "__path__";
const EXCLUDE: &str = "__path_exclude__";
const HOST: &str = "__host__";

/// Files that get the same labels.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Without `filename`, which each file adds.
    pub labels: Labels,
    pub pattern: Pattern,
    pub exclude: Option<Pattern>,
}

/// Why a discovered target is not read; the words are label values.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Dropped {
    /// A rule dropped it, or left no label.
    EmptyLabels,
    /// It is another machine's.
    WrongHost,
    /// It has no `__path__`.
    NoPath,
    /// Its `__path__` or `__path_exclude__` is no pattern.
    BadPattern(String),
}

impl Dropped {
    pub(crate) fn word(&self) -> &'static str {
        match self {
            Self::EmptyLabels => "empty_labels",
            Self::WrongHost => "wrong_host",
            Self::NoPath => "no_path",
            Self::BadPattern(_) => "bad_pattern",
        }
    }
}

impl Target {
    /// Runs the rules over one discovered label set.
    pub(crate) fn make(mut labels: Labels, rules: &[Rule], hostname: &str) -> Result<Self, Dropped> {
        if !relabel::process(&mut labels, rules) || labels.is_empty() {
            return Err(Dropped::EmptyLabels);
        }
        if labels.get(HOST).is_some_and(|host| host != hostname) {
            return Err(Dropped::WrongHost);
        }
        let pattern = |name: &str| labels.get(name).map(|text| Pattern::new(text).map_err(|error| error.to_string()));
        let pattern = |name: &str| pattern(name).transpose().map_err(Dropped::BadPattern);
        let path = pattern(PATH)?.ok_or(Dropped::NoPath)?;
        let exclude = pattern(EXCLUDE)?;
        labels.retain(|name, _| !name.starts_with("__"));
        Ok(Self { labels, pattern: path, exclude })
    }

    /// All targets of some groups, and what was dropped. A group without targets stands for itself.
    pub(crate) fn all(groups: &[TargetGroup], rules: &[Rule], hostname: &str) -> (Vec<Self>, Vec<Dropped>) {
        let (mut targets, mut dropped) = (Vec::<Self>::new(), Vec::new());
        let alone = [Labels::new()];
        for group in groups {
            let each: &[Labels] = if group.targets.is_empty() { &alone } else { &group.targets };
            for own in each {
                let labels: Labels = group.labels.iter().chain(own.iter()).collect();
                match Self::make(labels, rules, hostname) {
                    Ok(target) if targets.contains(&target) => {}
                    Ok(target) => targets.push(target),
                    Err(why) => dropped.push(why),
                }
            }
        }
        (targets, dropped)
    }

    /// Whether a path is one of this target's.
    pub(crate) fn wants(&self, path: &Path) -> bool {
        self.pattern.matches(path) && !self.exclude.as_ref().is_some_and(|exclude| exclude.matches(path))
    }

    /// The paths there are now, and the directories to watch. Blocking.
    pub(crate) fn list(&self, directories: &mut BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
        let mut found = BTreeSet::new();
        self.pattern.list(&mut found, directories);
        if let Some(exclude) = &self.exclude {
            found.retain(|path| !exclude.matches(path));
        }
        found
    }

    /// Whether these are [`labels_of`](Self::labels_of) some path.
    pub(crate) fn covers(&self, labels: &Labels) -> bool {
        labels
            .iter()
            .filter(|(name, _)| *name != "filename")
            .eq(self.labels.iter().filter(|(name, _)| *name != "filename"))
    }

    /// Labels of the lines of one file.
    pub(crate) fn labels_of(&self, path: &str) -> Labels {
        let mut labels = self.labels.clone();
        labels.set("filename", path);
        labels
    }
}

#[cfg(test)]
mod tests {
    use relabel::RuleSource;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs.iter().copied().collect()
    }

    #[test]
    fn names_with_two_underscores_are_dropped_after_they_were_used() {
        let found = labels(&[("__address__", "localhost"), ("__path__", "/v/*log"), ("__host__", "me"), ("job", "j")]);
        let target = Target::make(found, &[], "me").unwrap();
        assert_eq!(target.labels, labels(&[("job", "j")]));
        assert_eq!(target.labels_of("/v/a.log"), labels(&[("job", "j"), ("filename", "/v/a.log")]));
        assert!(target.wants(Path::new("/v/a.log")));
    }

    #[test]
    fn targets_of_other_hosts_without_path_or_dropped_by_rules_say_why() {
        let path = ("__path__", "/v/*");
        assert_eq!(Target::make(labels(&[path, ("__host__", "you")]), &[], "me"), Err(Dropped::WrongHost));
        assert_eq!(Target::make(labels(&[("job", "j")]), &[], "me"), Err(Dropped::NoPath));
        let bad = Target::make(labels(&[("__path__", "{")]), &[], "me");
        assert!(matches!(bad, Err(Dropped::BadPattern(_))), "{bad:?}");
        let rule = RuleSource { action: relabel::Action::Drop, ..RuleSource::default() };
        let rules = [Rule::new(rule).unwrap()];
        assert_eq!(Target::make(labels(&[path]), &rules, "me"), Err(Dropped::EmptyLabels));
    }

    #[test]
    fn a_rule_may_make_the_path() {
        let rule = RuleSource {
            source_labels: vec!["pod".into()],
            replacement: "/pods/$1/*.log".into(),
            target_label: "__path__".into(),
            ..RuleSource::default()
        };
        let groups = [TargetGroup {
            source: "s".into(),
            targets: vec![labels(&[("pod", "p1")]), labels(&[("pod", "p2")]), labels(&[("pod", "p1")])],
            labels: labels(&[("__path_exclude__", "/pods/p1/x.log")]),
        }];
        let (targets, dropped) = Target::all(&groups, &[Rule::new(rule).unwrap()], "me");
        assert_eq!((targets.len(), dropped.len()), (2, 0));
        assert!(targets[0].wants(Path::new("/pods/p1/a.log")));
        assert!(!targets[0].wants(Path::new("/pods/p1/x.log")));
    }
}
