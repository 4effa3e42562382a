//! docs/operations/troubleshooting.md, made from the table of causes.
//!
//! Keeps true: one section a cause, its anchor is the cause's id; a test compares the file with what is made here.

use super::{
    cause::{Cause, Facts, Kind, filled},
    causes::all,
    facts::of_open_permission,
};

const HEAD: &str = "\
# Troubleshooting

<!-- Made from the tables in crates/agent/src/command/doctor/*causes.rs by `SIGPOST_WRITE_DOCS=1 cargo test -p agent
troubleshooting`. Change the tables, not this page. -->

`sigpost doctor -config.file=agent.yaml` finds out by itself which of these it is, and says what to do with the names of
your own case filled in: [doctor.md](doctor.md). Words in CAPITALS stand for what is your own.

";

impl Kind {
    const ALL: [Self; 7] =
        [Self::Network, Self::Credentials, Self::Signature, Self::Permission, Self::Answer, Self::Unproven, Self::Note];

    fn chapter(self) -> &'static str {
        match self {
            Self::Network => "The way there",
            Self::Credentials => "Credentials",
            Self::Signature => "Signatures and addresses",
            Self::Permission => "Permissions",
            Self::Answer => "Other answers",
            Self::Unproven => "What could not be shown (exit code 3)",
            Self::Note => "Worth knowing (nothing is refused)",
        }
    }
}

/// The whole page.
pub fn page() -> String {
    let mut out = HEAD.to_owned();
    out.push_str("| what one sees | cause |\n|---|---|\n");
    for cause in sorted() {
        out.push_str(&format!("| {} | [{}](#{}) |\n", cell(cause.seen), cause.id, cause.id));
    }
    for kind in Kind::ALL {
        out.push_str(&format!("\n## {}\n", kind.chapter()));
        for cause in sorted().filter(|c| c.kind == kind) {
            section(cause, &mut out);
        }
    }
    out
}

fn sorted() -> impl Iterator<Item = &'static Cause> {
    Kind::ALL.into_iter().flat_map(|kind| all().filter(move |c| c.kind == kind))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn section(cause: &Cause, out: &mut String) {
    // What depends on the service is said of any service.
    let general = Facts::from(of_open_permission("").map(|(name, text)| (name, text.to_owned())));
    let text = |t: &str| filled(t, &general);
    let sentence = text(cause.verdict);
    out.push_str(&format!("\n### {}\n\n", cause.id));
    let verb = match cause.kind {
        Kind::Note => "note",
        Kind::Unproven => "not shown",
        _ => "would refuse",
    };
    out.push_str(&format!("**{verb}: {sentence}.**\n\n"));
    out.push_str(&format!("*Seen:* {}\n\n*Cause:* {}\n\n*Do this:*\n\n", text(cause.seen), text(cause.meaning)));
    for (number, step) in cause.steps.iter().enumerate() {
        out.push_str(&format!("{}. {}\n", number + 1, text(step)));
    }
    if !cause.commands.is_empty() {
        out.push_str("\n```sh\n");
        for command in cause.commands {
            out.push_str(&text(command));
            out.push('\n');
        }
        out.push_str("```\n");
    }
    if let Some((action, resource)) = cause.iam {
        out.push_str(&format!("\n*IAM:* `{}` on `{}`\n", text(action), text(resource)));
    }
}

#[cfg(test)]
mod tests {
    /// `SIGPOST_WRITE_DOCS=1` writes the page instead of comparing it.
    #[test]
    fn the_troubleshooting_page_is_the_table() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/operations/troubleshooting.md");
        let wanted = super::page();
        if std::env::var_os("SIGPOST_WRITE_DOCS").is_some() {
            std::fs::create_dir_all(std::path::Path::new(path).parent().unwrap()).unwrap();
            std::fs::write(path, &wanted).unwrap();
        }
        let found = std::fs::read_to_string(path).unwrap_or_default();
        assert!(
            found == wanted,
            "docs/operations/troubleshooting.md is not what the table says: SIGPOST_WRITE_DOCS=1 cargo test -p agent troubleshooting"
        );
    }
}
