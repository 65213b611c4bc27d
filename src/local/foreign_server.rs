//! Foreign servers and user mappings.

use super::identity::role_name;
use super::spi::{self, Param};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use plan::quote_identifier;
use serde::Deserialize;

/// The foreign-data wrappers whose servers are PostgreSQL servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapper {
    Pgcopy,
    Postgres,
    Dblink,
}

/// A foreign server with the options that one role uses. It may hold a password.
#[derive(Deserialize)]
pub struct ForeignServer {
    pub name: String,
    pub wrapper_name: String,
    validator: Option<String>,
    pub owner_is_superuser: bool,
    /// Whether the role has USAGE on the server.
    usable: bool,
    /// The options of the wrapper, then of the server.
    pub options: Vec<(String, String)>,
    /// The options of the role's own user mapping, or else of the public one.
    pub mapping: Option<Vec<(String, String)>>,
    /// Whom that user mapping is for, as a statement names them.
    pub mapped_as: Option<String>,
}

/// The option of a server that a superuser sets who vouches for what the server sends.
pub const TRUSTED: &str = "trusted";

impl ForeignServer {
    /// Returns whether a superuser has declared the server trusted. The validator of our own wrapper lets nobody else set the
    /// option, nor change others beside it.
    pub fn is_trusted(&self) -> bool {
        self.wrapper() == Some(Wrapper::Pgcopy)
            && self.options.iter().any(|(name, value)| name == TRUSTED && value == "true")
    }

    pub fn refuse_without_usage(&self, role: u32) -> Result<()> {
        if self.usable {
            return Ok(());
        }
        Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign server {}", self.name),
        )
        .hint(format!(
            "GRANT USAGE ON FOREIGN SERVER {} TO {};",
            quote_identifier(&self.name),
            quote_identifier(&role_name(role))
        )))
    }

    /// Returns the kind of the wrapper, which its validator tells: wrappers can be renamed and made anew.
    pub fn wrapper(&self) -> Option<Wrapper> {
        match self.validator.as_deref()? {
            "fdw_validator" => Some(Wrapper::Pgcopy),
            "postgres_fdw_validator" => Some(Wrapper::Postgres),
            "dblink_fdw_validator" => Some(Wrapper::Dblink),
            _ => None,
        }
    }
}

/// Returns the server of that name, as the given role would use it.
pub fn find(name: &str, role: u32) -> Result<Option<ForeignServer>> {
    // Options of user mappings are not visible to everybody, so that the statement needs more rights than the role's.
    let servers: Vec<ForeignServer> = spi::extension::query_json(
        include_str!("../../sql/queries/foreign_server.sql"),
        &[Param::Text(name), Param::Oid(role)],
    )?;
    Ok(servers.into_iter().next())
}
