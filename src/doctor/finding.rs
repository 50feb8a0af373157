//! What was found out about a server: what it is, why it matters, how to mend it.
//!
//! The same for the log, a terminal and programs. Main types: [`Finding`], [`Severity`].

use serde::Serialize;

/// How much a finding matters, the least first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It was looked at and is as it should be.
    Ok,
    /// Worth knowing; nothing is wrong. Also what could not be looked at.
    Note,
    /// Something will go wrong at some time, or for some.
    Warning,
    /// Calls fail.
    Problem,
}

impl Severity {
    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "warning",
            Self::Problem => "problem",
        }
    }
}

/// One thing that was found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Stable, for programs: `relay.private-address`. The same may be found several times, of several addresses say.
    pub id: &'static str,
    /// How much it matters.
    pub severity: Severity,
    /// What is so.
    pub what: String,
    /// What follows from it; empty where that needs no saying.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub why: String,
    /// How to mend it; empty where there is nothing to mend.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mend: String,
    /// Commands to type or lines of the configuration to write, for [`mend`](Self::mend).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub lines: Vec<String>,
}

impl Finding {
    /// Something of this severity.
    pub fn new(id: &'static str, severity: Severity, what: impl Into<String>) -> Self {
        Self {
            id,
            severity,
            what: what.into(),
            why: String::new(),
            mend: String::new(),
            lines: Vec::new(),
        }
    }

    /// Something that is as it should be.
    pub fn ok(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Severity::Ok, what)
    }

    /// Something worth knowing.
    pub fn note(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Severity::Note, what)
    }

    /// Something that will go wrong at some time, or for some.
    pub fn warning(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Severity::Warning, what)
    }

    /// Something for which calls fail.
    pub fn problem(id: &'static str, what: impl Into<String>) -> Self {
        Self::new(id, Severity::Problem, what)
    }

    /// What follows from it.
    #[must_use]
    pub fn why(self, why: impl Into<String>) -> Self {
        Self {
            why: why.into(),
            ..self
        }
    }

    /// How to mend it.
    #[must_use]
    pub fn mend(self, mend: impl Into<String>) -> Self {
        Self {
            mend: mend.into(),
            ..self
        }
    }

    /// What to type or to write for that.
    #[must_use]
    pub fn lines<L: Into<String>>(self, lines: impl IntoIterator<Item = L>) -> Self {
        Self {
            lines: lines.into_iter().map(Into::into).collect(),
            ..self
        }
    }

    /// All of it but the lines as one sentence, for the log.
    pub fn sentence(&self) -> String {
        let mut sentence = self.what.clone();
        for (mark, part) in [(": ", &self.why), ("; ", &self.mend)] {
            if !part.is_empty() {
                sentence.push_str(mark);
                sentence.push_str(part);
            }
        }
        sentence
    }
}
