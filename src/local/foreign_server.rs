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

/// A foreign server with what one role finds there. It may hold a password.
#[derive(Deserialize)]
pub struct ForeignServer {
    pub name: String,
    pub wrapper_name: String,
    validator: Option<String>,
    pub owner_is_superuser: bool,
    /// Whether the role has USAGE on it.
    usable: bool,
    /// Of the wrapper, then of the server.
    pub options: Vec<(String, String)>,
    /// The role's own user mapping, or else the public one.
    pub mapping: Option<Vec<(String, String)>>,
}

impl ForeignServer {
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

    /// Wrappers can be renamed and made anew; what they accept is up to their validator.
    pub fn wrapper(&self) -> Option<Wrapper> {
        match self.validator.as_deref()? {
            "fdw_validator" => Some(Wrapper::Pgcopy),
            "postgres_fdw_validator" => Some(Wrapper::Postgres),
            "dblink_fdw_validator" => Some(Wrapper::Dblink),
            _ => None,
        }
    }
}

/// The server of that name, as the given role would use it.
pub fn find(name: &str, role: u32) -> Result<Option<ForeignServer>> {
    // Options of user mappings are not for everybody's eyes, so that the statement needs more rights than the role's.
    let servers: Vec<ForeignServer> = spi::extension::query_json(
        "SELECT coalesce(json_agg(r), '[]'::json)::text
             FROM (
                 SELECT s.srvname AS name, w.fdwname AS wrapper_name, v.proname AS validator,
                        o.rolsuper AS owner_is_superuser,
                        has_server_privilege($2, s.oid, 'USAGE') AS usable,
                        (SELECT coalesce(json_agg(json_build_array(x.option_name, coalesce(x.option_value, ''))
                                                  ORDER BY x.rank), '[]'::json)
                         FROM (SELECT 1 AS rank, * FROM pg_options_to_table(w.fdwoptions)
                               UNION ALL SELECT 2, * FROM pg_options_to_table(s.srvoptions)) x) AS options,
                        (SELECT (SELECT coalesce(json_agg(json_build_array(x.option_name, coalesce(x.option_value, ''))),
                                                 '[]'::json)
                                 FROM pg_options_to_table(u.umoptions) x)
                         FROM pg_user_mapping u
                         WHERE u.umserver = s.oid AND u.umuser IN ($2, 0)
                         ORDER BY u.umuser DESC LIMIT 1) AS mapping
                 FROM pg_foreign_server s
                 JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
                 JOIN pg_roles o ON o.oid = s.srvowner
                 LEFT JOIN pg_proc v ON v.oid = w.fdwvalidator
                 WHERE s.srvname = $1
             ) r",
        &[Param::Text(name), Param::Oid(role)],
    )?;
    Ok(servers.into_iter().next())
}
