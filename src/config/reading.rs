//! From text to settings: parse, type-check, judge; and say what is wrong in the operator's words.
//!
//! A value of the wrong type does not hide the next one: it is noted, taken out of the tree, and reading goes on. Main
//! function: [`read`].

use std::ops::Range;
use std::path::{Path, PathBuf};
use std::string::FromUtf8Error;

use serde::Deserialize as _;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::check;
use super::document::Document;
use super::error::{Invalid, Problem};
use super::redact::Redacted;
use super::secrets::credential_file;
use super::settings::Settings;

/// More problems than this are not listed.
const MOST: usize = 20;

/// What a text says.
pub(super) struct Reading {
    pub settings: Settings,
    /// Whether a secret is written in the text itself.
    pub inline_secrets: bool,
    /// The files it names, secrets', certificates' and authorities'.
    pub files: Vec<PathBuf>,
}

/// Reads a text; secret files are relative to `base`.
pub(super) fn read(text: &str, origin: &str, base: &Path) -> Result<Reading, Invalid> {
    let mut table = match DeTable::parse(text) {
        Ok(table) => table,
        Err(error) => {
            let problem = syntax(&error, text);
            return Err(invalid(origin, &Redacted::broken(text), vec![problem]));
        }
    };
    let redacted = Redacted::document(text, table.get_ref());
    let mut problems = Vec::new();
    let document = loop {
        match Document::deserialize(toml::Deserializer::from(table.clone())) {
            Ok(document) => break document,
            Err(error) => {
                let span = error.span().unwrap_or(0..0);
                let problem = reword(error.message(), span.clone(), &redacted);
                // A table may only be wrong for want of what was taken out of it.
                let within =
                    |inner: &Problem| span.start < inner.span.start && inner.span.end < span.end;
                if !problems.iter().any(within) {
                    problems.push(problem);
                }
                if problems.len() == MOST || !remove(table.get_mut(), &span) {
                    return Err(invalid(origin, &redacted, problems));
                }
            }
        }
    };
    if !problems.is_empty() {
        return Err(invalid(origin, &redacted, problems));
    }
    let mut files = Vec::new();
    secret_files(&mut |file| files.push(base.join(file)), table.get_ref());
    let (settings, inline_secrets, problems) = check::settings(document, base);
    for certificate in &settings.tls.certificates {
        files.extend([
            certificate.file().to_owned(),
            certificate.key_file().to_owned(),
        ]);
    }
    let acme = settings.tls.acme.as_ref();
    files.extend(acme.and_then(|acme| acme.directory_ca.clone()));
    if problems.is_empty() {
        Ok(Reading {
            settings,
            inline_secrets,
            files,
        })
    } else {
        Err(invalid(origin, &redacted, problems))
    }
}

/// Names the files that values are to be read from: `{ file = "…" }`, `{ credential = "…" }`.
fn secret_files(found: &mut impl FnMut(&Path), table: &DeTable<'_>) {
    for (key, value) in table {
        secret_files_in(found, key.get_ref(), value.get_ref());
    }
}

fn secret_files_in(found: &mut impl FnMut(&Path), key: &str, value: &DeValue<'_>) {
    match value {
        DeValue::String(file) if key == "file" => found(Path::new(file.as_ref())),
        DeValue::String(name) if key == "credential" => {
            if let Ok(file) = credential_file(name) {
                found(&file);
            }
        }
        DeValue::Table(table) => secret_files(found, table),
        DeValue::Array(values) => {
            for value in values {
                secret_files_in(found, "", value.get_ref());
            }
        }
        _ => {}
    }
}

fn invalid(origin: &str, redacted: &Redacted, mut problems: Vec<Problem>) -> Invalid {
    for problem in &mut problems {
        problem.span = redacted.place(&problem.span);
        if let Some((span, _)) = &mut problem.other {
            *span = redacted.place(span);
        }
    }
    problems.sort_by_key(|problem| problem.span.start);
    problems.dedup();
    Invalid {
        origin: origin.to_owned(),
        text: redacted.text.clone(),
        problems,
    }
}

/// What to say of a file that is not even text.
pub(super) fn not_text(error: &FromUtf8Error, origin: &str) -> Invalid {
    let text = String::from_utf8_lossy(error.as_bytes());
    let at = error.utf8_error().valid_up_to();
    invalid(
        origin,
        &Redacted::broken(&text),
        vec![Problem::new(at..at, "this is not UTF-8 text")],
    )
}

/// What the TOML parser says, about a text that is not TOML.
fn syntax(error: &toml::de::Error, text: &str) -> Problem {
    let span = error.span().unwrap_or(0..0);
    let at = text.get(span.clone()).unwrap_or_default();
    let message = match error.message() {
        "duplicate key" => format!("`{at}` is given twice"),
        other => format!("not TOML: {other}"),
    };
    if error.message().starts_with("string values must be quoted") {
        return Problem::new(span, "a text must be in quotes")
            .help("so must durations and sizes: \"10s\", \"4MiB\"");
    }
    Problem::new(span, message)
}

/// Turns what serde says into something an operator can act on, without the value where that may be a secret.
fn reword(message: &str, span: Range<usize>, redacted: &Redacted) -> Problem {
    for (start, what) in [("unknown field `", "key"), ("unknown variant `", "value")] {
        if let Some((found, expected)) = message
            .strip_prefix(start)
            .and_then(|rest| rest.split_once('`'))
        {
            let known: Vec<String> = expected
                .split('`')
                .skip(1)
                .step_by(2)
                .map(str::to_owned)
                .collect();
            let mut problem = Problem::new(span, format!("unknown {what} `{found}`"));
            problem.help = Some(match nearest(found, &known) {
                Some(word) => format!("did you mean `{word}`?"),
                None => format!("known here: {}", list(&known)),
            });
            problem.known = known;
            return problem;
        }
    }
    let Some((found, expected)) = message
        .strip_prefix("invalid type: ")
        .or(message.strip_prefix("invalid value: "))
        .and_then(|rest| rest.rsplit_once(", expected "))
    else {
        return Problem::new(span, message);
    };
    if expected == "a sequence" && found == "map" {
        return Problem::new(
            span,
            "there may be several of this table: write its name in double brackets, `[[ ]]`",
        );
    }
    let found = if redacted.hides(&span) {
        found.split([' ', '`', '"']).next().unwrap_or_default()
    } else {
        found
    };
    let found = found.replace("sequence", "list").replace("map", "table");
    let expected = match expected {
        "u32" => "a whole number from 0 to 4294967295",
        "a sequence" => "a list in [ ]",
        other => other,
    };
    Problem::new(span, format!("expected {expected}, found {found}"))
}

/// The word most like `found`, if any is like it: a letter or three wrong, or the same beginning.
pub(super) fn nearest<'a, W: AsRef<str>>(found: &str, words: &'a [W]) -> Option<&'a str> {
    let found = found.to_lowercase().replace('-', "_");
    let likeness = |word: &str| {
        let wrong = strsim::osa_distance(&found, word);
        let close = wrong <= (word.len() / 3).max(1);
        let alike = strsim::jaro_winkler(&found, word);
        (close || alike > 0.85).then_some(if close {
            2.0 - wrong as f64 / 100.0
        } else {
            alike
        })
    };
    words
        .iter()
        .filter_map(|word| likeness(word.as_ref()).map(|likeness| (likeness, word.as_ref())))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, word)| word)
}

/// Words as a list for a sentence.
pub(super) fn list<W: AsRef<str>>(words: &[W]) -> String {
    words
        .iter()
        .map(|word| format!("`{}`", word.as_ref()))
        .collect::<Vec<_>>()
        .join(", ")
}

/// Takes the innermost thing that `span` is about out of the tree; false where there is none.
fn remove(table: &mut DeTable<'_>, span: &Range<usize>) -> bool {
    let mut found = None;
    for (key, value) in table.iter_mut() {
        if key.span() == *span {
            found = Some(key.clone());
        } else if remove_inside(value, span) {
            return true;
        } else if value.span() == *span {
            found = Some(key.clone());
        }
    }
    found.is_some_and(|key| table.remove(&key).is_some())
}

fn remove_inside(value: &mut Spanned<DeValue<'_>>, span: &Range<usize>) -> bool {
    match value.get_mut() {
        DeValue::Table(table) => remove(table, span),
        DeValue::Array(array) => {
            if array.iter_mut().any(|element| remove_inside(element, span)) {
                return true;
            }
            let before = array.len();
            *array = array
                .iter()
                .filter(|element| element.span() != *span)
                .cloned()
                .collect();
            array.len() < before
        }
        _ => false,
    }
}
