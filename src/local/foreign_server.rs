//! Foreign servers and user mappings, as the caller may use them.

use super::identity::{Caller, Role, run_as};
use super::{settings, spi};
use crate::error::{Error, Result};
use pgrx::prelude::*;
use pgrx::spi::quote_literal;
use serde::Deserialize;
use std::collections::BTreeMap;

#[derive(Deserialize)]
pub struct ForeignServer {
    pub wrapper: String,
    pub options: BTreeMap<String, String>,
    oid: u32,
    usable: bool,
}

/// A server that the caller has the right to use.
pub fn find(name: &str) -> Result<ForeignServer> {
    let server: Option<ForeignServer> = settings::with_catalog_search_path(|| {
        spi::query_json(&format!(
            "SELECT coalesce((
                 SELECT json_build_object('oid', s.oid::bigint, 'wrapper', w.fdwname,
                                          'usable', has_server_privilege(s.oid, 'USAGE'), 'options', {})
                 FROM pg_foreign_server s JOIN pg_foreign_data_wrapper w ON w.oid = s.srvfdw
                 WHERE s.srvname = {}), 'null'::json)::text",
            options_of("s.srvoptions"),
            quote_literal(name)
        ))
    })?;
    let Some(server) = server else {
        return Err(Error::new(PgSqlErrorCode::ERRCODE_UNDEFINED_OBJECT, format!("server \"{name}\" does not exist")));
    };
    if !server.usable {
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied for foreign server {name}"),
        ));
    }
    Ok(server)
}

impl ForeignServer {
    /// The options of the caller's user mapping, else of that for PUBLIC; empty without either.
    pub fn mapping_options(&self) -> Result<BTreeMap<String, String>> {
        let caller = Caller::of_this_session().current;
        // Only superusers can read the catalog, because it holds secrets; these are the caller's own.
        run_as(Role::Extension, || {
            settings::use_catalog_search_path()?;
            spi::query_json(&format!(
                "SELECT coalesce((
                     SELECT {} FROM pg_user_mapping m WHERE m.umserver = {} AND m.umuser IN ({caller}, 0)
                     ORDER BY m.umuser = 0 LIMIT 1), '{{}}'::json)::text",
                options_of("m.umoptions"),
                self.oid
            ))
        })
    }
}

fn options_of(column: &str) -> String {
    format!(
        "(SELECT coalesce(json_object_agg(o.option_name, o.option_value), '{{}}'::json)
          FROM pg_options_to_table({column}) o)"
    )
}
