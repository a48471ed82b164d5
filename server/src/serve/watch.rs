//! Which keys some transaction watches.
//!
//! Owns: the directory from key to watching clients.
//! Never knows: what happens to a client whose key changed.
//! Invariant: empty while nobody watches, so that writes pay one comparison.

use std::collections::HashMap;
use std::sync::Arc;

use super::client::ClientKey;

/// Directory of watched keys, by database.
#[derive(Debug, Default)]
pub struct Watched {
    databases: HashMap<u16, HashMap<Arc<[u8]>, Vec<ClientKey>>>,
}

impl Watched {
    /// Whether nobody watches anything.
    pub fn is_empty(&self) -> bool {
        self.databases.is_empty()
    }

    /// Adds a watching client. Returns the shared bytes of the key.
    pub fn add(&mut self, db: u16, key: &[u8], client: ClientKey) -> Arc<[u8]> {
        let keys = self.databases.entry(db).or_default();
        if let Some((shared, watchers)) = keys.get_key_value(key).map(|(k, w)| (k.clone(), w)) {
            if !watchers.contains(&client)
                && let Some(watchers) = keys.get_mut(key)
            {
                watchers.push(client);
            }
            return shared;
        }
        let shared: Arc<[u8]> = key.into();
        keys.insert(shared.clone(), vec![client]);
        shared
    }

    /// Removes a watching client.
    pub fn remove(&mut self, db: u16, key: &[u8], client: ClientKey) {
        let Some(keys) = self.databases.get_mut(&db) else { return };
        if let Some(watchers) = keys.get_mut(key) {
            watchers.retain(|other| *other != client);
            if watchers.is_empty() {
                keys.remove(key);
            }
        }
        if keys.is_empty() {
            self.databases.remove(&db);
        }
    }

    /// Who watches `key`.
    pub fn of(&self, db: u16, key: &[u8]) -> &[ClientKey] {
        self.databases.get(&db).and_then(|keys| keys.get(key)).map_or(&[], Vec::as_slice)
    }

    /// Who watches any key of `db`.
    pub fn of_database(&self, db: u16) -> Vec<ClientKey> {
        self.databases.get(&db).into_iter().flat_map(HashMap::values).flatten().copied().collect()
    }
}
