//! How values of each type are laid out within one record.
//!
//! Owns: the type tags and the encodings of values.
//! Never knows: keys, commands, the store.
//! Invariant: decoding checks every length and never panics; tags and encodings are on disk and
//! never change their meaning.

pub mod dump;
pub mod hash;
pub mod list;
pub mod session;
pub mod set;
mod wire;
pub mod zset;

/// A value that does not fit the layout of its type.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Malformed;

/// Type of a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Bytes.
    String,
    /// Fields and values.
    Hash,
    /// Different members without order.
    Set,
    /// Elements in order.
    List,
    /// Different members ordered by score.
    ZSet,
    /// A session object.
    Session,
    /// What is left of a session that has ended for good. Commands take its key for absent.
    Revoked,
}

impl Kind {
    /// The tag that the store keeps beside the value.
    pub const fn tag(self) -> u8 {
        match self {
            Kind::String => 0,
            Kind::Hash => 1,
            Kind::Set => 2,
            Kind::List => 3,
            Kind::ZSet => 4,
            Kind::Session => 32,
            Kind::Revoked => 33,
        }
    }

    /// The type that `tag` stands for.
    pub fn of_tag(tag: u8) -> Option<Kind> {
        match tag {
            0 => Some(Kind::String),
            1 => Some(Kind::Hash),
            2 => Some(Kind::Set),
            3 => Some(Kind::List),
            4 => Some(Kind::ZSet),
            32 => Some(Kind::Session),
            33 => Some(Kind::Revoked),
            _ => None,
        }
    }

    /// Name as TYPE shows it.
    pub const fn name(self) -> &'static str {
        match self {
            Kind::String => "string",
            Kind::Hash => "hash",
            Kind::Set => "set",
            Kind::List => "list",
            Kind::ZSet => "zset",
            Kind::Session => "session",
            Kind::Revoked => "none",
        }
    }
}
