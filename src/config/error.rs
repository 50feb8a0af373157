//! What is wrong with a configuration, said so that it can be put right: file, line, the text with a caret, a proposal.
//!
//! Everything kept here is free of secrets already. Main types: [`ConfigError`], [`Problem`].

use std::fmt;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

/// Why a configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read configuration `{path}`: {source}", path = path.display())]
    Unreadable {
        /// The file asked for.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file's content is wrong.
    #[error(transparent)]
    Invalid(#[from] Invalid),
}

impl ConfigError {
    /// Each thing that is wrong as a text of its own, several lines long, without a line's end.
    pub fn reports(&self) -> Vec<String> {
        match self {
            Self::Unreadable { .. } => vec![self.to_string()],
            Self::Invalid(invalid) => invalid.reports(),
        }
    }
}

/// A configuration with at least one [`Problem`]. Displays all of them.
#[derive(Debug)]
pub struct Invalid {
    pub(super) origin: String,
    pub(super) text: String,
    pub(super) problems: Vec<Problem>,
}

impl Invalid {
    /// What is wrong, in the order of the text.
    pub fn problems(&self) -> &[Problem] {
        &self.problems
    }

    /// Each problem as a text of its own, several lines long, without a line's end.
    pub fn reports(&self) -> Vec<String> {
        self.problems
            .iter()
            .map(|problem| problem.render(&self.origin, &self.text))
            .collect()
    }
}

impl fmt::Display for Invalid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reports().join("\n\n"))
    }
}

impl std::error::Error for Invalid {}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub(super) message: String,
    /// Place in the text, in bytes.
    pub(super) span: Range<usize>,
    /// Another place that belongs to it, and what it is.
    pub(super) other: Option<(Range<usize>, String)>,
    pub(super) help: Option<String>,
    /// The words that would be right, where there is a fixed set.
    pub(super) known: Vec<String>,
}

impl Problem {
    pub(super) fn new(span: Range<usize>, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            span,
            other: None,
            help: None,
            known: Vec::new(),
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    pub(super) fn other(mut self, span: Range<usize>, label: impl Into<String>) -> Self {
        self.other = Some((span, label.into()));
        self
    }

    /// What is wrong, in one line.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What to do about it.
    pub fn proposal(&self) -> Option<&str> {
        self.help.as_deref()
    }

    /// For an unknown key or word: those that exist in its place.
    pub fn known(&self) -> &[String] {
        &self.known
    }

    fn render(&self, origin: &str, text: &str) -> String {
        let clip = |span: &Range<usize>| {
            let start = floor(text, span.start);
            // A table's place reaches over all of its lines; its first line is enough.
            let line_end = text
                .get(start..)
                .and_then(|rest| rest.find('\n'))
                .map_or(text.len(), |at| start + at);
            start..floor(text, span.end).clamp(start, line_end)
        };
        let mut snippet = Snippet::source(text)
            .path(origin)
            .annotation(AnnotationKind::Primary.span(clip(&self.span)));
        if let Some((span, label)) = &self.other {
            snippet = snippet.annotation(
                AnnotationKind::Context
                    .span(clip(span))
                    .label(label.as_str()),
            );
        }
        let mut group =
            Group::with_title(Level::ERROR.no_name().primary_title(self.message.as_str()))
                .element(snippet);
        if let Some(help) = &self.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        Renderer::plain().render(&[group])
    }
}

/// The nearest place at or before `at` where a character starts.
fn floor(text: &str, at: usize) -> usize {
    text.floor_char_boundary(at.min(text.len()))
}
