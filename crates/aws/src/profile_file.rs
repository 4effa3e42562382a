//! The shared files (`~/.aws/config`, `~/.aws/credentials`): sections of keys and values.
//!
//! Knows no key. Keeps true: an error names the file and the line and shows nothing of either; any bytes are read in bounded time.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::fault::Fault;

/// Nobody writes more by hand, and generated files of organisations have some hundred KiB.
const LONGEST: u64 = 16 << 20;

/// A profile's keys, in lower case, with their values.
pub(crate) type Profile = BTreeMap<String, String>;

/// Both files together: where both have a key, the credentials file wins, as in the SDKs.
#[derive(Debug, Default)]
pub(crate) struct Profiles {
    profiles: BTreeMap<String, Profile>,
    /// `[services NAME]`: what is nested under a service, as `sts.endpoint_url`.
    services: BTreeMap<String, Profile>,
}

/// One of the two files.
#[derive(Debug, Clone)]
pub(crate) struct SharedFile {
    pub(crate) path: PathBuf,
    /// Sections are `[profile name]`; in the credentials file they are `[name]`.
    pub(crate) is_config: bool,
    /// Named by the configuration or a variable: it has to be there.
    pub(crate) is_named: bool,
}

/// Why a file gives no profiles.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SharedFileError {
    /// The system does not give it.
    #[error("cannot read {}: {source}", .path.display())]
    Unreadable { path: PathBuf, source: std::io::Error },
    /// It is there and is none.
    #[error("{}{what}", .path.display())]
    Malformed {
        path: PathBuf,
        /// Follows the path: `, line 3: ...`.
        what: String,
    },
}

impl SharedFileError {
    /// The same as a kind.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Unreadable { path, .. } => Fault::FileUnreadable(path.clone()),
            Self::Malformed { path, .. } => Fault::SharedFileMalformed(path.clone()),
        }
    }
}

impl Profiles {
    /// Reads the files now; later ones win.
    pub(crate) fn read(files: &[SharedFile]) -> Result<Self, SharedFileError> {
        let mut all = Self::default();
        for file in files {
            let Some(text) = text_of(file)? else { continue };
            all.add(&text, &file.path, file.is_config)?;
        }
        Ok(all)
    }

    /// Some profile of the files has this key.
    pub(crate) fn any_has(&self, key: &str) -> bool {
        self.profiles.values().any(|profile| profile.get(key).is_some_and(|value| !value.is_empty()))
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// The endpoint that a profile names for STS: that of its `services` section, else its own `endpoint_url`.
    pub(crate) fn sts_endpoint(&self, name: &str) -> Option<&str> {
        let profile = self.get(name)?;
        let value = |key: &str| profile.get(key).map(|v| v.trim()).filter(|v| !v.is_empty());
        if value("ignore_configured_endpoint_urls").is_some_and(|v| v.eq_ignore_ascii_case("true")) {
            return None;
        }
        let of_service = value("services")
            .and_then(|section| self.services.get(section)?.get("sts.endpoint_url"))
            .map(|v| v.trim())
            .filter(|v| !v.is_empty());
        of_service.or_else(|| value("endpoint_url"))
    }

    fn add(&mut self, text: &str, path: &Path, is_config: bool) -> Result<(), SharedFileError> {
        let mut here: BTreeMap<String, Profile> = BTreeMap::new();
        let mut section: Section = Section::None;
        let mut last_key: Option<String> = None;
        // `[profile default]` is the stricter spelling and wins over `[default]`.
        let mut plain_default = Profile::new();
        for (at, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let bad = |what: &str| {
                Err(SharedFileError::Malformed { path: path.to_owned(), what: format!(", line {}: {what}", at + 1) })
            };
            let trimmed = line.trim();
            if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
                continue;
            }
            if line.starts_with([' ', '\t'])
                && let Some(above) = &last_key
            {
                // The rest of a value of several lines, or a nested key, which only `services` has any use for here.
                if let (Section::Services(name), Some((key, value))) = (&section, trimmed.split_once('=')) {
                    let key = format!("{above}.{}", key.trim().to_ascii_lowercase());
                    let value = without_comment(value.trim()).to_owned();
                    self.services.entry(name.clone()).or_default().insert(key, value);
                }
                continue;
            }
            if let Some(rest) = trimmed.strip_prefix('[') {
                let Some((inside, _)) = rest.split_once(']') else {
                    return bad("a section begins with [ and has no ]");
                };
                section = Section::of(inside.trim(), is_config);
                last_key = None;
                if let Section::Profile(name) = &section {
                    here.entry(name.clone()).or_default();
                }
                continue;
            }
            let Some((key, value)) = trimmed.split_once('=') else {
                return bad("this is neither [section] nor `key = value` nor a comment (#)");
            };
            let key = key.trim().to_ascii_lowercase();
            if key.is_empty() {
                return bad("there is no key before `=`");
            }
            let target = match &section {
                Section::None => return bad("a key stands before the first [section]"),
                Section::Other | Section::Services(_) => None,
                Section::PlainDefault => Some(&mut plain_default),
                Section::Profile(name) => here.get_mut(name),
            };
            if let Some(profile) = target {
                profile.insert(key.clone(), without_comment(value.trim()).to_owned());
            }
            last_key = Some(key);
        }
        if !plain_default.is_empty() {
            here.entry("default".to_owned()).or_insert(plain_default);
        }
        for (name, profile) in here {
            self.profiles.entry(name).or_default().extend(profile);
        }
        Ok(())
    }
}

enum Section {
    None,
    Profile(String),
    /// `[default]` in the config file.
    PlainDefault,
    /// `[services x]` in the config file.
    Services(String),
    /// `[sso-session x]` and what the SDKs ignore.
    Other,
}

impl Section {
    fn of(name: &str, is_config: bool) -> Self {
        let unquoted = |text: &str| text.trim().trim_matches(['"', '\'']).to_owned();
        let of_profile = name.strip_prefix("profile").filter(|rest| rest.starts_with([' ', '\t', '"', '\'']));
        if let Some(rest) = name.strip_prefix("services").filter(|rest| is_config && rest.starts_with([' ', '\t'])) {
            return Self::Services(unquoted(rest));
        }
        match (is_config, of_profile) {
            (true, Some(rest)) => Self::Profile(unquoted(rest)),
            (true, None) if name == "default" => Self::PlainDefault,
            (true, None) | (false, Some(_)) => Self::Other,
            (false, None) => Self::Profile(unquoted(name)),
        }
    }
}

/// A comment after a value begins with a blank.
fn without_comment(value: &str) -> &str {
    let cut = value
        .match_indices(['#', ';'])
        .find(|(at, _)| *at == 0 || value.get(..*at).is_some_and(|before| before.ends_with([' ', '\t'])));
    cut.map_or(value, |(at, _)| value.get(..at).unwrap_or_default().trim_end())
}

fn text_of(file: &SharedFile) -> Result<Option<String>, SharedFileError> {
    let unreadable = |source| Err(SharedFileError::Unreadable { path: file.path.clone(), source });
    let malformed = |what| Err(SharedFileError::Malformed { path: file.path.clone(), what });
    match net::read_small(&file.path, LONGEST) {
        Ok(bytes) => match std::str::from_utf8(&bytes) {
            Ok(text) => Ok(Some(text.to_owned())),
            Err(e) => {
                let good = bytes.get(..e.valid_up_to()).unwrap_or_default();
                let line = good.iter().filter(|b| **b == b'\n').count() + 1;
                malformed(format!(", line {line}: this is not text (UTF-8)"))
            }
        },
        Err(e) if e.kind() == std::io::ErrorKind::NotFound && !file.is_named => Ok(None),
        Err(e) if e.kind() == std::io::ErrorKind::InvalidData => {
            malformed(format!(" has more than {} MiB; it cannot be a file of profiles", LONGEST >> 20))
        }
        Err(e) => unreadable(e),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn profiles(config: &str, credentials: &str) -> Result<Profiles, SharedFileError> {
        let mut all = Profiles::default();
        all.add(config, Path::new("/c/config"), true)?;
        all.add(credentials, Path::new("/c/credentials"), false)?;
        Ok(all)
    }

    #[test]
    fn sections_comments_and_nested_keys_are_read_as_the_sdks_do() {
        let all = profiles(
            "\u{feff}# a comment\n[default]\nregion = plain\n[profile default]\nregion=strict ; why\n\
             [profile a b]\r\nROLE_ARN = arn:x#y # z\ns3 =\n  max_concurrent_requests = 20\n\
             [profile \"quoted\"]\nregion=q\n[unprefixed]\nregion=x\n[sso-session s]\nsso_region=y\n",
            "[a b]\naws_access_key_id = AKIA\n[profile no]\nx=y\n",
        )
        .unwrap();
        let value = |profile: &str, key: &str| all.get(profile).and_then(|p| p.get(key)).map(String::as_str);
        assert_eq!(value("default", "region"), Some("strict"));
        assert_eq!(value("a b", "role_arn"), Some("arn:x#y"));
        assert_eq!(value("a b", "aws_access_key_id"), Some("AKIA"));
        assert_eq!(value("a b", "max_concurrent_requests"), None);
        assert_eq!(value("quoted", "region"), Some("q"));
        assert!(all.get("unprefixed").is_none() && all.get("no").is_none() && all.get("s").is_none());
        let both = profiles("[profile a]\nregion=c\nx=1\n", "[a]\nregion=k\n").unwrap();
        assert_eq!(both.get("a").unwrap()["region"], "k");
    }

    #[test]
    fn the_services_section_of_a_profile_names_the_endpoint_of_sts() {
        let all = profiles(
            "[profile a]\nservices = local\nendpoint_url = https://all.example\n\
             [services local]\nlogs =\n  endpoint_url = https://logs.example\nsts = \n  endpoint_url = https://sts.example # why\n\
             [profile b]\nendpoint_url = https://all.example\nservices = nowhere\n\
             [profile c]\nservices = local\nignore_configured_endpoint_urls = true\n[profile d]\nregion = x\n",
            "",
        )
        .unwrap();
        for (name, wanted) in
            [("a", Some("https://sts.example")), ("b", Some("https://all.example")), ("c", None), ("d", None)]
        {
            assert_eq!(all.sts_endpoint(name), wanted, "{name}");
        }
    }

    #[test]
    fn malformed_files_are_named_with_their_line_and_show_nothing() {
        for (text, line) in
            [("[a]\nhunter2\n", 2), ("x=hunter2\n", 1), ("[a]\n\n[hunter2\n", 3), ("[a]\n=hunter2\n", 2)]
        {
            let error = profiles("", text).unwrap_err().to_string();
            assert!(error.contains(&format!("/c/credentials, line {line}:")) && !error.contains("hunter2"), "{error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in any::<String>()) {
            let _ = profiles(&text, &text);
        }
    }
}
