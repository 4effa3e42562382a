//! An error for a person: each cause once.

use std::error::Error;

/// The error and its causes, joined by colons; a cause whose words the text already has is left out.
pub fn complaint(error: &(dyn Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use anyhow::Context;

    #[test]
    fn a_cause_is_said_once() {
        let inner = std::io::Error::other("no room");
        let outer = Err::<(), _>(anyhow::anyhow!(inner).context("writing a: no room")).context("starting").unwrap_err();
        assert_eq!(super::complaint(outer.as_ref()), "starting: writing a: no room");
    }
}
