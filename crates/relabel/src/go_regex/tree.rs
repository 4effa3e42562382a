//! The small tree between the two dialects: what a Go pattern means, with flags resolved into its nodes.

/// A parsed pattern.
pub(super) struct Tree {
    pub root: Node,
    /// Group names by number, beginning with the whole match.
    pub names: Vec<Option<Box<str>>>,
}

pub(super) struct Node {
    pub kind: Kind,
    /// How many levels there are from here down.
    pub height: usize,
}

pub(super) enum Kind {
    Empty,
    Literal {
        code: u32,
        fold: bool,
    },
    Class {
        negated: bool,
        fold: bool,
        items: Vec<ClassItem>,
    },
    AnyChar,
    AnyCharNotNewline,
    BeginText,
    BeginLine,
    EndText,
    EndLine,
    WordBoundary,
    NotWordBoundary,
    Concat(Vec<Node>),
    Alternate(Vec<Node>),
    /// `None`: only the number matters.
    Capture {
        name: Option<Box<str>>,
        inner: Box<Node>,
    },
    Repeat {
        inner: Box<Node>,
        min: u32,
        max: Option<u32>,
        counted: bool,
        greedy: bool,
    },
}

pub(super) enum ClassItem {
    /// Code points, both ends included; may touch surrogates.
    Range(u32, u32),
    Perl {
        letter: char,
        negated: bool,
    },
    Posix {
        name: &'static str,
        negated: bool,
    },
    Unicode {
        property: Property,
        negated: bool,
    },
}

/// What `\p{…}` names, resolved.
pub(super) enum Property {
    Any,
    /// `gc=` or `sc=` and the name, as the other crate spells an exact property.
    Exact(String),
    /// A category that no character of a text can have.
    Nothing,
}
