//! Reads the files in `tests/vectors`: comments, `[parameters]` as `name = value` lines, and any number of messages,
//! each a `[label]` with its `length` and its bytes as `hex`.
//!
//! The files say themselves where their bytes come from. Nothing is checked here but the form.

#![allow(dead_code)]

use std::path::{Path, PathBuf};

/// One file.
pub struct VectorFile {
    /// `name = value` lines, in order.
    pub parameters: Vec<(String, String)>,
    /// Labels and bytes, in order.
    pub messages: Vec<(String, Vec<u8>)>,
}

/// The folder of the files.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors")
}

/// The names of all files but the index, without `.txt`.
pub fn names() -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            name.strip_suffix(".txt")
                .expect("only .txt files")
                .to_owned()
        })
        .filter(|name| name != "INDEX")
        .collect();
    names.sort();
    names
}

/// Opens a file by its name without `.txt`.
pub fn open(name: &str) -> VectorFile {
    let text = std::fs::read_to_string(folder().join(format!("{name}.txt")))
        .unwrap_or_else(|error| panic!("{name}: {error}"));
    parse(name, &text)
}

fn parse(name: &str, text: &str) -> VectorFile {
    let mut file = VectorFile {
        parameters: Vec::new(),
        messages: Vec::new(),
    };
    let mut label: Option<String> = None;
    let mut length = None;
    for line in text.lines().map(str::trim_end) {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(inside) = line
            .strip_prefix('[')
            .and_then(|rest| rest.strip_suffix(']'))
        {
            label = Some(inside.to_owned());
            length = None;
            continue;
        }
        let (key, value) = match line.rsplit_once(" = ") {
            // A formula may stand between a name and its value.
            Some((key, value)) if is_hex(value) => (key, value),
            _ => {
                split_outside_brackets(line).unwrap_or_else(|| panic!("{name}: what is {line:?}?"))
            }
        };
        match label.as_deref() {
            Some("parameters") => file.parameters.push((key.to_owned(), value.to_owned())),
            Some(current) => match key {
                "length" => length = Some(value.parse::<usize>().unwrap()),
                "hex" => {
                    let bytes = unhex(value);
                    assert_eq!(Some(bytes.len()), length, "{name}: length of [{current}]");
                    file.messages.push((current.to_owned(), bytes));
                }
                other => panic!("{name}: what is {other:?} in [{current}]?"),
            },
            None => panic!("{name}: {line:?} stands in no section"),
        }
    }
    file
}

fn split_outside_brackets(line: &str) -> Option<(&str, &str)> {
    line.match_indices(" = ")
        .map(|(at, separator)| (&line[..at], &line[at + separator.len()..]))
        .find(|(before, _)| before.matches('(').count() == before.matches(')').count())
}

fn is_hex(text: &str) -> bool {
    text.len() >= 8
        && text.len().is_multiple_of(2)
        && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Hexadecimal digits to bytes.
pub fn unhex(text: &str) -> Vec<u8> {
    assert!(text.len().is_multiple_of(2), "{text:?}");
    (0..text.len())
        .step_by(2)
        .map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap())
        .collect()
}

impl VectorFile {
    /// The bytes of a message by its label.
    pub fn message(&self, label: &str) -> &[u8] {
        let found = self.messages.iter().find(|(name, _)| name == label);
        &found.unwrap_or_else(|| panic!("no message [{label}]")).1
    }

    /// The value of a parameter by its name, or by the start of its name where brackets or a formula follow.
    pub fn parameter(&self, name: &str) -> &str {
        let found = self.parameters.iter().find(|(key, _)| {
            let rest = key.strip_prefix(name);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.starts_with(" (") || rest.starts_with(" =")
            })
        });
        &found.unwrap_or_else(|| panic!("no parameter {name:?}")).1
    }

    /// The value of a parameter that is hexadecimal.
    pub fn bytes(&self, name: &str) -> Vec<u8> {
        unhex(self.parameter(name))
    }
}
