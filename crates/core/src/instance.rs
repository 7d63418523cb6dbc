//! The whole server, for those who run it: what it is, what it works at, and who changed what.

use crate::{
    Core,
    caller::{Caller, Discretion},
    error::{Error, Result},
};
use iglu_api::{
    cache::Permission,
    instance::{AuditPage, AuditQuery, Instance},
};

/// The methods of the noun.
pub struct InstanceOf<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn instance(&self) -> InstanceOf<'_> {
        InstanceOf(self)
    }
}

impl Core {
    async fn audit_page(&self, query: &AuditQuery, cache_id: Option<i64>) -> Result<AuditPage> {
        if query.search.len() > 300 || query.search.contains(char::is_control) {
            return Err(Error::invalid("search", "a search has at most 300 bytes and no control characters"));
        }
        let mut rows = self.db.audit_list(query, cache_id, AuditPage::ROWS + 1).await?;
        let has_more = rows.len() > AuditPage::ROWS;
        rows.truncate(AuditPage::ROWS);
        Ok(AuditPage { rows, has_more })
    }
}

impl InstanceOf<'_> {
    /// Version, database, storage and background work of this server.
    pub async fn get(&self, caller: &Caller) -> Result<Instance> {
        caller.require_instance_admin("looking at the server")?;
        let core = self.0;
        Ok(Instance {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            database: core.db.engine().to_owned(),
            public_url: core.public_url(),
            storage: core.storage_status().await?,
            work: core.work_everywhere().await?,
            replicas: core.replica_list(),
            configuration: core.configuration.get().cloned().unwrap_or_default(),
        })
    }

    /// A page of the audit log, the newest rows first.
    pub async fn audit(&self, caller: &Caller, query: &AuditQuery) -> Result<AuditPage> {
        caller.require_instance_admin("reading the audit log")?;
        self.0.audit_page(query, None).await
    }

    /// A page of what was changed about one cache, the newest first.
    pub async fn audit_of_cache(&self, caller: &Caller, cache: &str, query: &AuditQuery) -> Result<AuditPage> {
        let cache = self.0.cache().open(caller, cache, Permission::Admin, Discretion::Hide).await?;
        self.0.audit_page(query, Some(cache.id)).await
    }
}
