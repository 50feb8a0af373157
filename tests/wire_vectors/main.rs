//! The codec against every byte string in `tests/vectors`: samples printed in RFCs, messages captured from browsers
//! and other servers, and values worked out from the RFCs' texts by other code than ours.
//!
//! Test names start with the id of the rule they prove.

#![allow(clippy::unwrap_used)]

#[path = "../vector_file/mod.rs"]
mod vector_file;

mod captured;
mod channel_data;
mod credentials;
mod malformed;
mod rfc5769;
mod values;

use hairpin::wire::{AttributeType, Message, MessageType, Writer};

/// A message that has to be well-formed.
fn parsed(bytes: &[u8]) -> Message<'_> {
    Message::parse(bytes).unwrap_or_else(|error| panic!("{error}: {bytes:02x?}"))
}

/// The types of the attributes a message shows.
fn shown(message: &Message<'_>) -> Vec<AttributeType> {
    message
        .attributes()
        .map(|attribute| attribute.kind)
        .collect()
}

/// Writes the header and the visible attributes of a message again, and lets `tail` add what is hidden.
fn rewritten(message: &Message<'_>, tail: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    // Not zero, so that bytes the writer leaves out show up.
    let mut buffer = vec![0xEE; 0x1_0000];
    let kind = MessageType::new(message.method(), message.class());
    let mut writer = Writer::new(&mut buffer, kind, message.transaction());
    for attribute in message.attributes() {
        writer.attribute(attribute.kind, attribute.value);
    }
    tail(&mut writer);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

/// The text of an attribute that has to be there.
fn text<'a>(message: &Message<'a>, kind: AttributeType) -> &'a str {
    let attribute = message
        .attribute(kind)
        .unwrap_or_else(|| panic!("no {kind:?}"));
    std::str::from_utf8(attribute.value).unwrap()
}

/// A folder of vectors is only worth what its tests read: each file and each message has to be named in one of them.
#[test]
fn every_vector_file_and_every_message_in_it_is_used() {
    let tests = [
        include_str!("captured.rs"),
        include_str!("channel_data.rs"),
        include_str!("credentials.rs"),
        include_str!("malformed.rs"),
        include_str!("rfc5769.rs"),
        include_str!("values.rs"),
    ]
    .concat();
    let names = vector_file::names();
    assert!(names.len() >= 21, "vectors are missing: {names:?}");
    for name in &names {
        assert!(
            tests.contains(&format!("\"{name}\"")),
            "no test opens {name}"
        );
        for (label, _) in vector_file::open(name).messages {
            let literal = format!("{label:?}");
            assert!(tests.contains(&literal), "no test uses [{label}] of {name}");
        }
    }
}

#[test]
fn the_index_names_every_vector_file_and_counts_its_messages() {
    let index = std::fs::read_to_string(vector_file::folder().join("INDEX.txt")).unwrap();
    let names = vector_file::names();
    for name in &names {
        let count = vector_file::open(name).messages.len();
        let line = format!("{name}.txt  ({count} messages)");
        assert!(index.contains(&line), "the index lacks {line:?}");
    }
    assert_eq!(index.matches(" messages)").count(), names.len());
}
