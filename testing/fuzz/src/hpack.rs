//! Header blocks: any is decoded or refused, and what is encoded is decoded to the same.

use arbitrary::Arbitrary;
use pingora_core::protocols::http::v2::fuzzing::{Hpack, decode_hpack};

/// The blocks of a peer and the size of the table it was told, and messages of ours.
#[derive(Arbitrary, Debug)]
pub struct Blocks {
    table_size: u16,
    blocks: Vec<Vec<u8>>,
    messages: Vec<Message>,
}

/// A size the peer sets before a message, and its fields: name, value, whether nobody may keep it.
#[derive(Arbitrary, Debug)]
struct Message {
    table_size: Option<u16>,
    fields: Vec<(Name, Vec<u8>, bool)>,
}

/// A name: many are the same, as on real connections.
#[derive(Arbitrary, Debug)]
enum Name {
    Usual(u8),
    Any(Vec<u8>),
}

const USUAL: [&str; 16] = [
    ":authority",
    ":method",
    ":path",
    ":status",
    "accept",
    "Accept-Encoding",
    "authorization",
    "content-length",
    "Content-Type",
    "cookie",
    "date",
    "etag",
    "last-modified",
    "server",
    "x-a",
    "X-Long-Name-Of-Ours",
];

/// Decodes the blocks, then sends the messages.
pub fn hpack(input: &Blocks) {
    decode_hpack(input.table_size.into(), &input.blocks);
    let mut hpack = Hpack::new();
    for message in &input.messages {
        if let Some(size) = message.table_size {
            hpack.set_max_table_size(size.into());
        }
        let fields: Vec<_> = message.fields.iter().map(field).collect();
        let received = hpack.send(&fields);
        assert_eq!(received.len(), fields.len());
        for ((name, value, is_sensitive), got) in fields.iter().zip(received) {
            assert_eq!(got.0, name.to_ascii_lowercase());
            assert_eq!(got.1, *value);
            assert!(got.2 >= *is_sensitive);
        }
    }
}

fn field((name, value, is_sensitive): &(Name, Vec<u8>, bool)) -> (&[u8], &[u8], bool) {
    let name = match name {
        Name::Usual(number) => USUAL[usize::from(*number) % USUAL.len()].as_bytes(),
        Name::Any(name) => name,
    };
    (name, value, *is_sensitive)
}
