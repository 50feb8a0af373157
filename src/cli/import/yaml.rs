//! YAML as a tree that knows its lines.
//!
//! Only what configurations have: maps with texts as keys, lists and scalars. Anchors are refused. Main types: [`Node`],
//! [`Content`].

use saphyr_parser::{Event, Parser, ScalarStyle, Span};

/// Deeper files are no configurations.
const DEEPEST: usize = 32;

#[derive(Clone, Debug)]
pub(super) struct Node {
    pub line: usize,
    pub content: Content,
}

#[derive(Clone, Debug)]
pub(super) enum Content {
    /// A text, number or flag, as it is written.
    Scalar(String),
    /// Nothing at all, or `null`.
    Nothing,
    List(Vec<Node>),
    /// Each with the line of its key.
    Map(Vec<(String, usize, Node)>),
}

impl Node {
    pub(super) fn scalar(&self) -> Option<&str> {
        match &self.content {
            Content::Scalar(text) => Some(text),
            _ => None,
        }
    }

    /// The elements of a list; something else is a list of one.
    pub(super) fn elements(&self) -> Vec<&Node> {
        match &self.content {
            Content::List(nodes) => nodes.iter().collect(),
            Content::Nothing => Vec::new(),
            _ => vec![self],
        }
    }

    pub(super) fn map(&self) -> &[(String, usize, Node)] {
        match &self.content {
            Content::Map(pairs) => pairs,
            _ => &[],
        }
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let mut pairs = self.map().iter();
        pairs.find(|(name, ..)| name == key).map(|(.., node)| node)
    }
}

/// Reads the first document of a text; else what is wrong with it, and where. Nothing of the text is in that.
pub(super) fn read(text: &str) -> Result<Node, String> {
    let mut events = Vec::new();
    for event in Parser::new_from_str(text) {
        let event =
            event.map_err(|error| format!("line {}: it is not YAML", error.marker().line()))?;
        match event.0 {
            Event::DocumentEnd => break,
            Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::Nothing => {}
            _ => events.push(event),
        }
    }
    let mut events = events.into_iter();
    let first = events.next().ok_or("it is empty")?;
    node(first, &mut events, 0)
}

type Events<'t> = std::vec::IntoIter<(Event<'t>, Span)>;

fn node(
    (event, span): (Event<'_>, Span),
    rest: &mut Events<'_>,
    depth: usize,
) -> Result<Node, String> {
    let line = span.start.line();
    if depth > DEEPEST {
        return Err(format!("line {line}: it is nested too deeply"));
    }
    let cut = || format!("line {line}: it ends too soon");
    let content = match event {
        Event::Scalar(text, ScalarStyle::Plain, ..)
            if text.is_empty() || text == "null" || text == "~" =>
        {
            Content::Nothing
        }
        Event::Scalar(text, ..) => Content::Scalar(text.into_owned()),
        Event::SequenceStart(..) => {
            let mut nodes = Vec::new();
            loop {
                match rest.next().ok_or_else(cut)? {
                    (Event::SequenceEnd, _) => break Content::List(nodes),
                    next => nodes.push(node(next, rest, depth + 1)?),
                }
            }
        }
        Event::MappingStart(..) => {
            let mut pairs = Vec::new();
            loop {
                let (key, span) = match rest.next().ok_or_else(cut)? {
                    (Event::MappingEnd, _) => break Content::Map(pairs),
                    (Event::Scalar(key, ..), span) => (key.into_owned(), span),
                    (_, span) => {
                        return Err(format!("line {}: this key is no text", span.start.line()));
                    }
                };
                let value = node(rest.next().ok_or_else(cut)?, rest, depth + 1)?;
                pairs.push((key, span.start.line(), value));
            }
        }
        _ => return Err(format!("line {line}: anchors are not understood")),
    };
    Ok(Node { line, content })
}
