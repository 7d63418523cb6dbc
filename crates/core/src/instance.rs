//! The whole server, for those who run it: what it is, what it works at, and who changed what.

use crate::{
    Core,
    caller::Caller,
    error::{Error, Result},
};
use iglu_api::instance::{AuditPage, AuditQuery, Instance};

/// The methods of the noun.
pub struct InstanceOf<'a>(pub(crate) &'a Core);

impl Core {
    /// The methods of the noun.
    pub fn instance(&self) -> InstanceOf<'_> {
        InstanceOf(self)
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
            work: core.work_list(),
        })
    }

    /// A page of the audit log, the newest rows first.
    pub async fn audit(&self, caller: &Caller, query: &AuditQuery) -> Result<AuditPage> {
        caller.require_instance_admin("reading the audit log")?;
        if query.search.len() > 300 || query.search.contains(char::is_control) {
            return Err(Error::invalid("search", "a search has at most 300 bytes and no control characters"));
        }
        let mut rows = self.0.db.audit_list(query.search.trim(), query.before, AuditPage::ROWS + 1).await?;
        let has_more = rows.len() > AuditPage::ROWS;
        rows.truncate(AuditPage::ROWS);
        Ok(AuditPage { rows, has_more })
    }
}
