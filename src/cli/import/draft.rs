//! A configuration as it is put together: each part is tried on its own, and one that hairpin would refuse is written
//! as a comment.
//!
//! Main types: [`Draft`], [`Block`].

use std::fmt::Write as _;

use crate::config;

/// The tables, in the order of `config/hairpin.toml`; those in two brackets may be there several times.
const ORDER: [&str; 18] = [
    "server",
    "listener",
    "discovery",
    "tcp",
    "tls.certificate",
    "sockets",
    "relay",
    "relay.address",
    "tcp_relay",
    "allocation",
    "auth",
    "auth.user",
    "alternate",
    "stun",
    "peers",
    "limits",
    "bandwidth",
    "log",
];

/// What can be there several times.
#[derive(Clone, Debug)]
pub(super) struct Block {
    pub table: &'static str,
    pub lines: Vec<String>,
    /// Where it comes from.
    pub from: String,
}

/// A configuration under way.
#[derive(Default)]
pub(super) struct Draft {
    values: Vec<Value>,
    blocks: Vec<(Block, Option<String>)>,
}

/// A key of a table, with a value or with elements.
struct Value {
    table: &'static str,
    key: &'static str,
    /// Each with where it comes from, and why it is refused if it is.
    parts: Vec<(String, String, Option<String>)>,
    is_list: bool,
}

/// A text as TOML has it.
pub(super) fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// Why hairpin refuses a configuration, if it does; without any secret.
fn refusal(text: &str) -> Option<String> {
    let invalid = config::parse(text, "").err()?;
    let problem = invalid.problems().first()?;
    Some(problem.message().to_owned())
}

impl Draft {
    /// Sets a key of a table, in place of an earlier value.
    pub(super) fn set(
        &mut self,
        table: &'static str,
        key: &'static str,
        value: &str,
        from: &str,
    ) -> Result<(), String> {
        let refused = refusal(&format!("[{table}]\n{key} = {value}\n"));
        self.put(table, key, value, from, refused.clone());
        refused.map_or(Ok(()), Err)
    }

    /// The same for what is right in the company of others only.
    pub(super) fn put(
        &mut self,
        table: &'static str,
        key: &'static str,
        value: &str,
        from: &str,
        refused: Option<String>,
    ) {
        self.values
            .retain(|old| (old.table, old.key) != (table, key));
        self.values.push(Value {
            table,
            key,
            parts: vec![(value.to_owned(), from.to_owned(), refused)],
            is_list: false,
        });
    }

    /// Adds an element to a list, unless it is there.
    pub(super) fn push(
        &mut self,
        table: &'static str,
        key: &'static str,
        element: &str,
        from: &str,
    ) -> Result<(), String> {
        let refused = refusal(&format!("[{table}]\n{key} = [{element}]\n"));
        self.push_unchecked(table, key, element, from, refused.clone());
        refused.map_or(Ok(()), Err)
    }

    /// Adds an element that is not to be used, for a reason.
    pub(super) fn push_unchecked(
        &mut self,
        table: &'static str,
        key: &'static str,
        element: &str,
        from: &str,
        refused: Option<String>,
    ) {
        let part = (element.to_owned(), from.to_owned(), refused);
        let of_key = |value: &&mut Value| (value.table, value.key) == (table, key);
        match self.values.iter_mut().find(of_key) {
            Some(value) if value.parts.iter().any(|(old, ..)| old == element) => {}
            Some(value) => value.parts.push(part),
            None => self.values.push(Value {
                table,
                key,
                parts: vec![part],
                is_list: true,
            }),
        }
    }

    /// Adds a block, unless it is there; it is tried beside the certificates and those of its kind so far.
    pub(super) fn block(&mut self, block: Block) -> Result<(), String> {
        let is_there = |(old, refused): &(Block, Option<String>)| {
            old.table == block.table && old.lines == block.lines && refused.is_none()
        };
        if self.blocks.iter().any(is_there) {
            return Ok(());
        }
        let mut text = self.text_of("tls.certificate");
        if block.table != "tls.certificate" {
            text += &self.text_of(block.table);
        }
        // Writing to a String cannot fail.
        let _ = writeln!(text, "[[{}]]\n{}", block.table, block.lines.join("\n"));
        let refused = refusal(&text);
        self.block_refused(block, refused.clone());
        refused.map_or(Ok(()), Err)
    }

    /// Adds a block that is not to be used, for a reason.
    pub(super) fn block_refused(&mut self, block: Block, refused: Option<String>) {
        let is_same = |old: &Block| old.table == block.table && old.lines == block.lines;
        if !self.blocks.iter().any(|(old, _)| is_same(old)) {
            self.blocks.push((block, refused));
        }
    }

    /// Whether a table that may be there several times is in use.
    pub(super) fn has(&self, table: &str) -> bool {
        self.blocks
            .iter()
            .any(|(block, refused)| block.table == table && refused.is_none())
    }

    /// Whether a key is in use.
    pub(super) fn has_key(&self, table: &str, key: &str) -> bool {
        self.values.iter().any(|value| {
            (value.table, value.key) == (table, key)
                && value.parts.iter().any(|(.., refused)| refused.is_none())
        })
    }

    fn text_of(&self, table: &str) -> String {
        let mut text = String::new();
        for (block, refused) in &self.blocks {
            if block.table == table && refused.is_none() {
                let _ = writeln!(text, "[[{table}]]\n{}", block.lines.join("\n"));
            }
        }
        text
    }

    /// The whole, with comments.
    pub(super) fn text(&self, origin: &str) -> String {
        let mut text = format!(
            "# Made of {origin} by `hairpin import`. What is not here has its default; config/hairpin.toml has every key.\n\
             # Lines that hairpin would refuse are comments, each with the reason.\n"
        );
        for table in ORDER.into_iter().chain(["metrics"]) {
            self.write_values(table, &mut text);
            for (block, refused) in self.blocks.iter().filter(|(block, _)| block.table == table) {
                let mark = if refused.is_some() { "# " } else { "" };
                let _ = writeln!(text, "\n# {}", block.from);
                if let Some(why) = refused {
                    let _ = writeln!(text, "# not used: {why}");
                }
                let _ = writeln!(text, "{mark}[[{table}]]");
                for line in &block.lines {
                    let _ = writeln!(text, "{mark}{line}");
                }
            }
        }
        text
    }

    fn write_values(&self, table: &str, text: &mut String) {
        let values = || self.values.iter().filter(|value| value.table == table);
        if values().next().is_none() {
            return;
        }
        let _ = writeln!(text, "\n[{table}]");
        for value in values() {
            if value.is_list {
                let _ = writeln!(text, "{} = [", value.key);
            }
            for (part, from, refused) in &value.parts {
                let mark = if refused.is_some() { "# " } else { "" };
                let why = refused
                    .as_ref()
                    .map_or(String::new(), |why| format!("; not used: {why}"));
                let _ = if value.is_list {
                    writeln!(text, "    {mark}{part},    # {from}{why}")
                } else {
                    writeln!(text, "# {from}{why}\n{mark}{} = {part}", value.key)
                };
            }
            if value.is_list {
                text.push_str("]\n");
            }
        }
    }
}
