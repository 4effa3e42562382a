//! From text to plan: the one way in.

use std::path::PathBuf;

use crate::{
    Plan, Problems, Severity,
    block::{Field, Reader},
    dialect,
    node::{self, Node, Value},
    source::Source,
};

/// What besides the text decides the plan.
#[derive(Clone, Copy)]
pub struct LoadOptions<'a> {
    /// As it is to appear in messages.
    pub file_name: &'a str,
    /// `-config.expand-env`.
    pub expand_env: bool,
    /// The process's environment.
    pub environment: &'a dyn Fn(&str) -> Option<String>,
    /// `-metrics.wal-directory`; wins over the file.
    pub wal_directory: Option<&'a str>,
    /// `-enable-features=extra-scrape-metrics`.
    pub extra_scrape_metrics: bool,
}

impl<'a> LoadOptions<'a> {
    /// Without any flag.
    pub fn new(file_name: &'a str, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { file_name, expand_env: false, environment, wal_directory: None, extra_scrape_metrics: false }
    }
}

/// Reads a configuration file's text. Reads no other file and contacts nobody.
pub fn load(text: &str, options: LoadOptions<'_>) -> Result<Plan, Problems> {
    let (source, expand_error) = Source::new(options.file_name, text, options.expand_env, options.environment);
    let reader = Reader::new(&source, options.environment, options.expand_env);
    if let Some(error) = expand_error {
        let place = source.written_place(error.at);
        let help = "with -config.expand-env, `$${` is a literal `${`".to_owned();
        reader.report_written(Severity::Error, place, 2, "", error.message, Some(help));
        return Err(refused(&reader));
    }
    let root = match node::parse(&source) {
        Ok(Some(root)) => root,
        Ok(None) => Node { value: Value::Null, at: 0..0 },
        Err(error) => {
            reader.report(Severity::Error, error.at..error.at + 1, "", error.message, None);
            return Err(refused(&reader));
        }
    };
    let settings = dialect::Settings {
        data_directory: options.wal_directory.map(PathBuf::from),
        extra_scrape_metrics: options.extra_scrape_metrics,
    };
    let plan = dialect::plan(&reader, &Field::root(&root), &settings);
    let (errors, warnings) = reader.finish();
    match plan {
        Some(plan) if errors.is_empty() => Ok(Plan { warnings, ..plan }),
        _ => Err(Problems { errors, warnings }),
    }
}

fn refused(reader: &Reader<'_>) -> Problems {
    let (errors, warnings) = reader.finish();
    Problems { errors, warnings }
}
