//! Labels as the shard's caller sees them: keys of an owner, listed without reading the disk.

use std::borrow::Cow;

use super::Shard;
use super::read::Owner;
use super::write::Refused;
use crate::format::chunked::Chunked;
use crate::format::label::{Label, OWNER_BYTES_MAX};
use crate::index::{Due, Entry};
use crate::key::{Key, hash};
use crate::labels::{Labelled, Place};
use crate::space::LOST;
use crate::units::{Namespace, UnixMillis};

/// A key of an owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Owned {
    /// The key.
    pub key: Box<[u8]>,
    /// Its limit.
    pub limit: Option<UnixMillis>,
    /// When it expires: to the millisecond while its value is in RAM, else up to a second late.
    pub expires_at: Option<UnixMillis>,
    /// It may have expired within this second: only its record, which is not in RAM, knows.
    pub unsure: bool,
}

/// A label with its own owner.
#[derive(Default)]
pub(super) struct OwnedLabel {
    owner: Vec<u8>,
    pub(super) limit: Option<UnixMillis>,
    hidden: bool,
    chunked: Option<Chunked>,
}

impl From<Labelled<'_>> for OwnedLabel {
    fn from(labelled: Labelled<'_>) -> OwnedLabel {
        let Label { owner, limit, hidden, chunked } = labelled.label;
        OwnedLabel { owner: owner.to_vec(), limit, hidden, chunked }
    }
}

impl OwnedLabel {
    pub(super) fn view(&self) -> Label<'_> {
        Label { owner: &self.owner, limit: self.limit, hidden: self.hidden, chunked: self.chunked }
    }
}

/// An expiry, cut at a limit.
pub(super) fn cut(expires_at: Option<UnixMillis>, limit: Option<UnixMillis>) -> Option<UnixMillis> {
    match (expires_at, limit) {
        (Some(at), Some(limit)) => Some(at.min(limit)),
        (at, limit) => at.or(limit),
    }
}

/// The key with its label's extension block behind it.
pub(super) fn name<'a>(key: &Key<'a>, label: &Label<'_>) -> Result<Cow<'a, [u8]>, Refused> {
    let (len, max) = (label.owner.len(), OWNER_BYTES_MAX);
    if len > max {
        return Err(Refused::TooLarge { len, max });
    }
    if label.is_none() {
        return Ok(Cow::Borrowed(key.bytes()));
    }
    let mut name = key.bytes().to_vec();
    label.encode(&mut name);
    Ok(Cow::Owned(name))
}

impl Shard {
    /// The keys of an owner that have not expired, the longest owned first. No I/O; time
    /// proportional to their number.
    pub fn owned(&mut self, namespace: Namespace, owner: &[u8], now: UnixMillis) -> Vec<Owned> {
        let now = self.advance(now);
        let hash = self.owner_hash(owner);
        let Some(space) = self.space(namespace) else { return Vec::new() };
        let living = space.labels.of_owner(owner, hash).filter_map(|labelled| {
            let entry = self.entry_of(namespace, &labelled)?;
            let expires_at = self.expiry_of(namespace, &labelled, &entry);
            let live = entry.location != LOST && expires_at.is_none_or(|at| at > now);
            let limit = labelled.label.limit;
            let unsure = entry.touch == 0
                && entry.expiry.may_have_passed(now)
                && self.hot.peek_at(namespace, labelled.identity, entry.location).is_none();
            live.then(|| Owned { key: labelled.key.into(), limit, expires_at, unsure })
        });
        living.collect()
    }

    /// Number of owners in a namespace; some of their keys may have expired within the last moments.
    pub fn owners_len(&self, namespace: Namespace) -> usize {
        self.space(namespace).map_or(0, |space| space.labels.owners_len())
    }

    /// Number of hidden keys in a namespace.
    pub fn hidden_len(&self, namespace: Namespace) -> usize {
        self.space(namespace).map_or(0, |space| space.labels.hidden_len())
    }

    /// RAM that labels take, in bytes.
    pub fn label_bytes(&self) -> usize {
        self.spaces.iter().map(|space| space.labels.bytes()).sum()
    }

    /// Labels without an entry, or whose entry is lost: there are none, ever.
    pub fn orphaned_labels(&self) -> usize {
        let orphans = |(number, space): (usize, &crate::space::Space)| {
            let namespace = Namespace::of_slot(number);
            let rows = (0..space.labels.rows()).filter_map(|at| space.labels.row(at));
            rows.filter(|labelled| {
                self.entry_of(namespace, labelled).is_none_or(|entry| entry.location == LOST)
            })
            .count()
        };
        self.spaces.iter().enumerate().map(orphans).sum()
    }

    fn entry_of(&self, namespace: Namespace, labelled: &Labelled<'_>) -> Option<Entry> {
        self.space(namespace)?.entry_of(labelled)
    }

    fn expiry_of(
        &self,
        namespace: Namespace,
        labelled: &Labelled<'_>,
        entry: &Entry,
    ) -> Option<UnixMillis> {
        if let Some(hot) = self.hot.peek_at(namespace, labelled.identity, entry.location) {
            return hot.expires_at();
        }
        match entry.expiry.due(self.now) {
            Due::At(seconds) => cut(Some(UnixMillis(seconds * 1000)), labelled.label.limit),
            Due::Never | Due::Far => labelled.label.limit,
        }
    }

    /// The label of a key whose entry `owner` tells.
    pub(super) fn label_of(&self, key: &Key<'_>, owner: Owner) -> Option<Labelled<'_>> {
        let aside = match owner {
            Owner::Key(_) => false,
            Owner::KeyAside(_) => true,
            Owner::Nobody | Owner::Other | Owner::Unknown => return None,
        };
        let place = Place { identity: key.identity, aside, key: key.bytes };
        self.space(key.namespace)?.labels.get(&place)
    }

    /// Whether the entry at `location` is of a hidden key.
    pub(super) fn is_hidden(
        &self,
        namespace: Namespace,
        identity: crate::index::Identity,
        location: crate::units::Location,
    ) -> bool {
        let space = self.space(namespace).filter(|space| space.labels.hidden_len() > 0);
        let labelled = space.and_then(|space| space.labelled_at(identity, location));
        labelled.is_some_and(|labelled| labelled.label.hidden)
    }

    /// The hash of an owner's name under the store's seed.
    pub(super) fn owner_hash(&self, owner: &[u8]) -> u64 {
        if owner.is_empty() { 0 } else { hash(&self.root.hash_seed, owner).0 }
    }
}
