//! What became of each line of the other server's configuration. No value of a secret gets here.

use std::fmt::Write as _;

/// What became of a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It is in hairpin's configuration.
    Taken,
    /// It is, and means something else.
    Changed,
    /// It meant something that is not here: somebody has to look at it.
    Missing,
    /// It has no meaning here.
    LeftOut,
    /// The other server has no such option.
    Unknown,
}

impl Fate {
    const fn name(self) -> &'static str {
        match self {
            Self::Taken => "taken",
            Self::Changed => "changed",
            Self::Missing => "missing",
            Self::LeftOut => "left out",
            Self::Unknown => "unknown",
        }
    }
}

struct Remark {
    line: usize,
    option: String,
    fate: Fate,
    words: String,
}

/// All that is to be said.
#[derive(Default)]
pub(super) struct Report {
    remarks: Vec<Remark>,
    defaults: Vec<String>,
}

impl Report {
    pub(super) fn say(&mut self, line: usize, option: &str, fate: Fate, words: impl Into<String>) {
        self.remarks.push(Remark {
            line,
            option: option.to_owned(),
            fate,
            words: words.into(),
        });
    }

    /// Something that is not in the file, and is not the same here.
    pub(super) fn by_default(&mut self, words: impl Into<String>) {
        self.defaults.push(words.into());
    }

    /// How many lines were missing or unknown.
    pub(super) fn open(&self) -> usize {
        let is_open = |remark: &&Remark| matches!(remark.fate, Fate::Missing | Fate::Unknown);
        self.remarks.iter().filter(is_open).count()
    }

    /// Line by line.
    pub(super) fn text(&mut self, origin: &str) -> String {
        self.remarks.sort_by_key(|remark| remark.line);
        let mut text = format!("{origin}, line by line:\n");
        for Remark {
            line,
            option,
            fate,
            words,
        } in &self.remarks
        {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "  {line:4}  {:8}  {option}: {words}", fate.name());
        }
        if !self.defaults.is_empty() {
            text.push_str("\nDiffers by default:\n");
            for words in &self.defaults {
                let _ = writeln!(text, "  {words}");
            }
        }
        text
    }
}
