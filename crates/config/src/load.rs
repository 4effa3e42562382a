//! From text to plan: the one way in.

use std::path::PathBuf;

use crate::{
    Plan, Problems, Severity,
    block::{Field, Reader},
    dialect, key_path,
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
    /// What `{hostname}` stands for in log groups and the like; `None`: `$HOSTNAME`, or `localhost`.
    pub hostname: Option<&'a str>,
}

impl<'a> LoadOptions<'a> {
    /// Without any flag.
    pub fn new(file_name: &'a str, environment: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self {
            file_name,
            expand_env: false,
            environment,
            wal_directory: None,
            extra_scrape_metrics: false,
            hostname: None,
        }
    }
}

/// Reads a configuration file's text. Reads no other file and contacts nobody.
pub fn load(text: &str, options: LoadOptions<'_>) -> Result<Plan, Problems> {
    let (source, expand_error) = Source::new(options.file_name, text, options.expand_env, options.environment);
    let reader = Reader::new(&source, options.environment, options.expand_env);
    if let Some(error) = expand_error {
        let place = source.written_place(error.at);
        let help = "with -config.expand-env, `$${` is a literal `${`".to_owned();
        let path = key_path::path_at(source.written(), error.at);
        reader.report_written(Severity::Error, place, 2, &path, error.message, Some(help));
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
    key_path::report_duplicates(&reader, &root, "");
    let settings = dialect::Settings {
        data_directory: options.wal_directory.map(PathBuf::from),
        extra_scrape_metrics: options.extra_scrape_metrics,
        hostname: options
            .hostname
            .map(Into::into)
            .or_else(|| (options.environment)("HOSTNAME").filter(|name| !name.is_empty()))
            .unwrap_or_else(|| "localhost".into()),
    };
    let plan = dialect::plan(&reader, &Field::root(&root), &settings);
    let (errors, warnings) = reader.finish();
    match plan {
        Some(plan) if errors.is_empty() => Ok(Plan { warnings, ..plan }),
        _ => Err(Problems { errors, warnings }),
    }
}

/// The text of a configuration file's bytes: UTF-8, or UTF-16 or UTF-32 with a byte order mark, as Grafana Agent takes them.
pub fn decode(bytes: &[u8]) -> Result<String, String> {
    let units = |size: usize, big: bool| {
        let unit = move |chunk: &[u8]| {
            chunk.iter().enumerate().fold(0_u32, |unit, (at, byte)| {
                let shift = 8 * if big { chunk.len() - 1 - at } else { at };
                unit | (u32::from(*byte) << shift)
            })
        };
        bytes.get(size..).unwrap_or_default().chunks(size).map(unit)
    };
    let wide = |big: bool| units(4, big).map(char::from_u32).collect::<Option<String>>();
    let narrow = |big: bool| {
        char::decode_utf16(units(2, big).filter_map(|u| u16::try_from(u).ok())).collect::<Result<String, _>>().ok()
    };
    let text = match bytes {
        [0xff, 0xfe, 0, 0, ..] => wide(false),
        [0, 0, 0xfe, 0xff, ..] => wide(true),
        [0xff, 0xfe, ..] => narrow(false),
        [0xfe, 0xff, ..] => narrow(true),
        [0xef, 0xbb, 0xbf, rest @ ..] => std::str::from_utf8(rest).ok().map(Into::into),
        _ => std::str::from_utf8(bytes).ok().map(Into::into),
    };
    text.ok_or_else(|| "this file is not text: write it in UTF-8".into())
}

fn refused(reader: &Reader<'_>) -> Problems {
    let (errors, warnings) = reader.finish();
    Problems { errors, warnings }
}

#[cfg(test)]
mod test {
    use super::*;

    #[test]
    fn files_with_a_byte_order_mark_are_read() {
        let utf16 = |order: fn(u16) -> [u8; 2]| "\u{feff}é: 𝄞".encode_utf16().flat_map(order).collect::<Vec<u8>>();
        let utf32 =
            |order: fn(u32) -> [u8; 4]| "\u{feff}é: 𝄞".chars().flat_map(|c| order(u32::from(c))).collect::<Vec<u8>>();
        for bytes in [
            "é: 𝄞".as_bytes().to_vec(),
            "\u{feff}é: 𝄞".as_bytes().to_vec(),
            utf16(u16::to_le_bytes),
            utf16(u16::to_be_bytes),
            utf32(u32::to_le_bytes),
            utf32(u32::to_be_bytes),
        ] {
            assert_eq!(decode(&bytes).as_deref(), Ok("é: 𝄞"), "{bytes:x?}");
        }
        assert!(decode(&[0x80, 0x81]).is_err());
        assert!(decode(&[0xff, 0xfe, 0x00, 0xd8]).is_err());
    }
}
