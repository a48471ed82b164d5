//! Judging labels: the keys of every owner against the model; and that none is left without an
//! entry.

use std::collections::BTreeSet;
use std::rc::Rc;

use super::World;
use crate::sim::faults::Profile;
use crate::sim::model::label::{OWNERS, owner_name};
use crate::sim::model::{ModelKey, name};
use crate::units::Namespace;

impl World {
    /// Lists every owner's keys and compares.
    pub(super) fn check_owners(&mut self) -> Result<(), String> {
        self.counts.owner_checks += 1;
        match self.shard().orphaned_labels() {
            0 => {}
            orphans => return Err(format!("{orphans} labels have no entry")),
        }
        if self.profile == Profile::Beyond {
            // What was lost to faults has no owner any more.
            return Ok(());
        }
        for namespace in World::namespaces() {
            for owner in 1..=OWNERS {
                self.check_owner(namespace, owner)?;
            }
        }
        Ok(())
    }

    fn check_owner(&mut self, namespace: u16, owner: u8) -> Result<(), String> {
        let now = self.wall();
        let listed = self.shard().owned(Namespace(namespace), owner_name(owner), now);
        let count = listed.len();
        self.counts.owned += count as u64;
        let listed: BTreeSet<ModelKey> =
            listed.into_iter().map(|owned| (namespace, Rc::from(&owned.key[..]))).collect();
        if listed.len() != count {
            return Err(format!("owner {owner} of namespace {namespace} has a key twice"));
        }
        let now = self.now();
        let (must, may) = self.model.owned(namespace, owner, now);
        if let Some(key) = listed.iter().find(|key| !may.contains(*key)) {
            return Err(format!("owner {owner} is said to have {}", name(key)));
        }
        match must.iter().find(|key| !listed.contains(*key)) {
            Some(key) => Err(format!("{} is missing among the keys of owner {owner}", name(key))),
            None => Ok(()),
        }
    }
}
