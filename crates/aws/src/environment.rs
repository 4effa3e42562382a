//! Keys in the environment: `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`.
//!
//! Our own, because aws-config calls half a pair nothing at all. Keeps true: a variable of blanks is none, as in the SDKs.

use aws_credential_types::Credentials;

use crate::{error::FetchError, fault::Fault};

const KEY: &str = "AWS_ACCESS_KEY_ID";
const SECRET: &str = "AWS_SECRET_ACCESS_KEY";
/// What the oldest SDKs called it.
const OLD_SECRET: &str = "SECRET_ACCESS_KEY";

/// The keys as they are now. Absent where there are none, or only half of them.
pub(crate) fn fetch() -> Result<Credentials, FetchError> {
    read(&|name| std::env::var(name).ok())
}

fn read(variable: &dyn Fn(&str) -> Option<String>) -> Result<Credentials, FetchError> {
    let value = |name: &str| variable(name).map(|v| v.trim().to_owned()).filter(|v| !v.is_empty());
    let half = |there: &str, missing: &'static str| {
        let words = format!("{there} is set and {missing} is not; set both, or neither");
        Err(FetchError::absent(words).of(Fault::EnvironmentHalf { missing }))
    };
    let secret = value(SECRET).map(|s| (SECRET, s)).or_else(|| value(OLD_SECRET).map(|s| (OLD_SECRET, s)));
    match (value(KEY), secret) {
        (Some(key), Some((_, secret))) => {
            Ok(Credentials::new(key, secret, value("AWS_SESSION_TOKEN"), None, "environment"))
        }
        (Some(_), None) => half(KEY, SECRET),
        // The old name may be anybody's.
        (None, Some((SECRET, _))) => half(SECRET, KEY),
        (None, _) => Err(FetchError::absent(format!("{KEY} is not set (environment variable not set)"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(pairs: &[(&str, &str)]) -> Result<Credentials, FetchError> {
        read(&|name| pairs.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned()))
    }

    #[test]
    fn half_a_pair_is_told_as_half_a_pair_and_blanks_as_nothing() {
        let whole = of(&[(KEY, "AKIA1 "), (SECRET, "s"), ("AWS_SESSION_TOKEN", " ")]).unwrap();
        assert_eq!((whole.access_key_id(), whole.session_token()), ("AKIA1", None));
        assert!(of(&[(KEY, "AKIA1"), (OLD_SECRET, "s")]).is_ok());
        for (pairs, missing) in
            [(&[(KEY, "AKIA1")][..], SECRET), (&[(KEY, "AKIA1"), (SECRET, " ")], SECRET), (&[(SECRET, "hunter2")], KEY)]
        {
            let error = of(pairs).unwrap_err();
            assert!(error.absent && error.fault.as_deref() == Some(&Fault::EnvironmentHalf { missing }), "{error:?}");
            assert!(error.message.contains(&format!("{missing} is not")) && !error.message.contains("hunter2"));
        }
        assert_eq!(of(&[(OLD_SECRET, "x")]).unwrap_err().fault, None);
        assert_eq!(of(&[]).unwrap_err().fault, None);
    }
}
