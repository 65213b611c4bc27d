//! The caller's rights.

use super::spi::{self, Param};
use crate::error::{Error, Result};
use pgrx::pg_sys;
use pgrx::prelude::*;
use serde::Deserialize;
use std::fmt;

/// A relation that the current user does not own.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NotOwned {
    pub relation: u32,
    /// Schema-qualified; this name and the next two are quoted where they must be.
    pub name: String,
    pub owner: String,
    pub owner_is_superuser: bool,
    /// The current user.
    pub user: String,
}

impl fmt::Display for NotOwned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, owned by {}", self.name, self.owner)
    }
}

impl NotOwned {
    /// The statement that gives the current user the owner's rights over a relation of this kind. Nobody should become a
    /// superuser for it.
    pub fn mend(&self, kind: &str) -> String {
        if self.owner_is_superuser {
            format!("ALTER {kind} {} OWNER TO {};", self.name, self.user)
        } else {
            format!("GRANT {} TO {};", self.owner, self.user)
        }
    }
}

/// Of the given relations, those that the current user does not own.
pub fn not_owned(relations: &[u32]) -> Result<Vec<NotOwned>> {
    spi::fixed::query_json(include_str!("../../sql/queries/not_owned.sql"), &[Param::OidArray(relations)])
}

/// A table whose rows the current user cannot read, all of them.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Unreadable {
    pub relation: u32,
    /// In words that follow the table's name.
    pub reason: String,
}

/// Those of the given tables that cannot be read as a whole by the current user and as their owners.
pub fn unreadable(relations: &[u32]) -> Result<Vec<Unreadable>> {
    spi::fixed::query_json(include_str!("../../sql/queries/unreadable_tables.sql"), &[Param::OidArray(relations)])
}

pub fn may_read_server_files() -> bool {
    has_rights_of(pg_sys::ROLE_PG_READ_SERVER_FILES)
}

pub fn may_write_server_files() -> bool {
    has_rights_of(pg_sys::ROLE_PG_WRITE_SERVER_FILES)
}

/// Returns whether the current user may have the server write all buffers out.
pub fn may_checkpoint() -> bool {
    has_rights_of(pg_sys::ROLE_PG_CHECKPOINT)
}

/// Returns whether the current user may see what the server does.
pub fn may_monitor() -> bool {
    has_rights_of(pg_sys::ROLE_PG_MONITOR)
}

/// Returns whether the current user may open replication connections.
pub fn may_replicate() -> bool {
    // SAFETY: syscache lookups inside a transaction.
    unsafe { pg_sys::has_rolreplication(pg_sys::GetUserId()) || pg_sys::superuser() }
}

fn has_rights_of(role: u32) -> bool {
    // SAFETY: syscache lookups inside a transaction.
    unsafe { pg_sys::has_privs_of_role(pg_sys::GetUserId(), role.into()) }
}

/// Returns whether policies decide which rows of the relation the current user may see and write.
pub fn row_security_applies(relation: u32) -> bool {
    // SAFETY: a syscache look-up; raises where the user wants an error instead of policies.
    let enabled = unsafe { pg_sys::check_enable_rls(relation.into(), pg_sys::Oid::INVALID, false) };
    enabled == pg_sys::CheckEnableRlsResult::RLS_ENABLED as i32
}

/// Returns whether the current user may SELECT these columns of a table.
pub fn may_select(relation: pg_sys::Oid, columns: &[i16]) -> bool {
    // SAFETY: syscache lookups inside a transaction.
    unsafe {
        let (user, mode) = (pg_sys::GetUserId(), pg_sys::AclMode::from(pg_sys::ACL_SELECT));
        let may_read = |column: &i16| {
            pg_sys::pg_attribute_aclcheck(relation, *column, user, mode) == pg_sys::AclResult::ACLCHECK_OK
        };
        pg_sys::pg_class_aclcheck(relation, user, mode) == pg_sys::AclResult::ACLCHECK_OK
            || columns.iter().all(may_read)
    }
}

/// Refuses to start work from code that belongs to a table: it would outlive the restrictions of that code.
pub fn refuse_restricted_operation() -> Result<()> {
    // SAFETY: reads a backend-local variable.
    if !unsafe { pg_sys::InSecurityRestrictedOperation() } {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
        "cannot use pgcopy within security-restricted operation",
    ))
}

/// Refuses every call that replaces rows where `pgcopy.protected` is on.
pub fn refuse_protected() -> Result<()> {
    if !crate::local::parameters::is_protected()? {
        return Ok(());
    }
    Err(Error::new(
        PgSqlErrorCode::ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE,
        "pgcopy.protected is on: this database's rows are not to be replaced",
    )
    .hint("A superuser can change the setting of the database or the role."))
}

/// Returns the statements by which a superuser lifts `pgcopy.protected`, wherever it is set.
pub fn lifts_protection() -> Result<String> {
    let told = spi::extension::query_text(include_str!("../../sql/queries/protecting_settings.sql"), &[])?;
    told.ok_or_else(|| Error::internal("a setting without a source"))
}

/// Returns the tables where code of one owner would run as another: partitions (or tables above them) that belong
/// neither to the role as which rows are stored nor to one that has its rights anyway. `routed` are tables that rows go
/// through to their partitions; `compared` are partitions whose rows are compared with bounds that the tables above
/// them compute.
pub fn foreign_partition_code(routed: &[u32], compared: &[u32]) -> Result<Vec<String>> {
    spi::fixed::query_json(
        include_str!("../../sql/queries/foreign_partition_code.sql"),
        &[Param::OidArray(routed), Param::OidArray(compared)],
    )
}

/// Returns words for the functions and types in an expression whose code would run as the current user and belongs to somebody else,
/// if there are any.
pub fn called_code_of_others(expression: &str) -> Result<Option<String>> {
    let qualified = selection::qualified_names_in(expression);
    let (schemas, names): (Vec<&str>, Vec<&str>) =
        qualified.iter().map(|(schema, name)| (schema.as_str(), name.as_str())).unzip();
    spi::fixed::query_text(
        include_str!("../../sql/queries/called_code_of_others.sql"),
        &[Param::TextArray(&schemas), Param::TextArray(&names)],
    )
}
