//! Placeholder crate root; filled by the pieces that live here.
