//! The options of foreign servers and user mappings of our own wrapper.

use super::origin::hint_at_values;
use crate::error::{Error, Result};
use crate::local::foreign_server::TRUSTED;
use crate::local::identity::Caller;
use crate::local::rights;
use conninfo::{ConnInfo, ConnInfoError, Place};
use pgrx::pg_sys;
use pgrx::prelude::*;

/// The option that lets a user do without a password. Only superusers may set it, as in postgres_fdw.
const PASSWORD_REQUIRED: &str = "password_required";

/// Checks options, given as `name=value`. The catalog tells the kind of the object.
pub fn refuse_wrong_options(options: &[Option<String>], catalog: pg_sys::Oid) -> Result<()> {
    let place = match catalog {
        pg_sys::ForeignServerRelationId => Some(Place::Server),
        pg_sys::UserMappingRelationId => Some(Place::UserMapping),
        pg_sys::ForeignTableRelationId | pg_sys::AttributeRelationId => {
            return Err(Error::new(
                PgSqlErrorCode::ERRCODE_FEATURE_NOT_SUPPORTED,
                "foreign-data wrapper \"pgcopy\" has no foreign tables",
            )
            .hint("Its servers are sources for pgcopy.pull; foreign tables are what postgres_fdw is for."));
        }
        _ => None,
    };
    let mut parameters = Vec::new();
    for option in options.iter().flatten() {
        let (name, value) = option.split_once('=').unwrap_or((option, ""));
        refuse_misplaced(name, place)?;
        match name {
            PASSWORD_REQUIRED => refuse_wrong_password_required(value)?,
            TRUSTED => refuse_wrong_trust(value)?,
            _ => parameters.push((name.to_owned(), value.to_owned())),
        }
    }
    let info = ConnInfo::from_parameters(parameters).map_err(|error| {
        let raised = Error::new(PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE, error.to_string());
        match &error {
            ConnInfoError::InvalidValue(name) if conninfo::valid_values(name).is_some() => {
                raised.hint(hint_at_values(name))
            }
            _ => raised,
        }
    })?;
    refuse_unreadable_files(&info)
}

fn refuse_misplaced(name: &str, place: Option<Place>) -> Result<()> {
    let belongs_to = match name {
        PASSWORD_REQUIRED => Some(Place::UserMapping),
        TRUSTED => Some(Place::Server),
        _ => conninfo::place_of(name),
    };
    if belongs_to.is_some() && belongs_to == place {
        return Ok(());
    }
    let error = |message: String| Error::new(PgSqlErrorCode::ERRCODE_FDW_INVALID_OPTION_NAME, message);
    let hint = match (belongs_to, place, conninfo::closest(name)) {
        (Some(Place::Server), ..) => format!("\"{name}\" belongs in the options of a server: CREATE or ALTER SERVER."),
        (Some(Place::UserMapping), ..) => {
            format!("\"{name}\" belongs in the options of a user mapping: CREATE or ALTER USER MAPPING.")
        }
        (None, Some(_), Some(meant)) => format!("Perhaps you meant the option \"{meant}\"."),
        (None, Some(place), None) => {
            let names = conninfo::parameters_of(place).collect::<Vec<_>>().join(", ");
            format!("Valid options in this context are: {names}.")
        }
        (None, None, _) => "Options belong to servers and user mappings.".to_owned(),
    };
    let message = if belongs_to.is_none() && conninfo::is_known(name) {
        format!("option \"{name}\" is not supported")
    } else {
        format!("invalid option \"{name}\"")
    };
    Err(error(message).hint(hint))
}

fn refuse_wrong_password_required(value: &str) -> Result<()> {
    match value {
        "true" => Ok(()),
        "false" if Caller::of_this_session().is_superuser() => Ok(()),
        "false" => Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            "password_required=false is superuser-only",
        )
        .hint("User mappings with the password_required option set to false may only be created or modified by the superuser.")),
        _ => Err(Error::new(
            PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE,
            "password_required takes true or false",
        )),
    }
}

/// Refuses everybody but superusers, also where the option stays and another one changes: the server would be another one.
fn refuse_wrong_trust(value: &str) -> Result<()> {
    match value {
        "false" => Ok(()),
        "true" if Caller::of_this_session().is_superuser() => Ok(()),
        "true" => Err(Error::new(PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE, "trusted=true is superuser-only")
            .detail("Only superusers may set it, or change other options beside it.")
            .hint("Drop the option trusted, or have a superuser change the server.")),
        _ => Err(Error::new(PgSqlErrorCode::ERRCODE_FDW_INVALID_ATTRIBUTE_VALUE, "trusted takes true or false")),
    }
}

/// Refuses names of files from a user who may not read files. Users of the server need not have that right later.
fn refuse_unreadable_files(info: &ConnInfo) -> Result<()> {
    let is_superuser = Caller::of_this_session().is_superuser();
    for parameter in info.files() {
        let is_identity = matches!(parameter, "sslcert" | "sslkey");
        if is_superuser || (!is_identity && rights::may_read_server_files()) {
            continue;
        }
        let who = if is_identity { "superusers" } else { "superusers and members of pg_read_server_files" };
        return Err(Error::new(
            PgSqlErrorCode::ERRCODE_INSUFFICIENT_PRIVILEGE,
            format!("permission denied to set option \"{parameter}\""),
        )
        .detail(format!("Only {who} may set it, or change other options beside it.")));
    }
    Ok(())
}
